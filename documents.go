package distributed

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The documents of an app have names below one prefix:
//
//	epoch             a random value, written once for all
//	nodes/<id>        the life of a session: its heartbeat, and how it ended
//	claims/<id>/<k>   what a session claims, a few dozen jobs a document, k from 0
//	info/<id>         what a node tells the others about itself
//	lists/<hash>      a piece of a list of jobs, for all nodes that have the same
//	state/<job>       that a job has failed, or is done: written by its leaders
//	saved/<job>       what the job's leaders have saved
//	orders/…          what operators want: see orders.go
//
// Nobody but its session writes a document with
// an id, apart from tombstones (see stateBuried); ids are random and never used
// again. A value is a JSON object that begins with the version of the format and a
// checksum over the name of the document and all that follows:
//
//	{"v":1,"sum":"0f8a…","ttl":10000,…}
type keys struct {
	prefix string // ends in "/"
}

func (k keys) epoch() string           { return k.prefix + "epoch" }
func (k keys) node(id string) string   { return k.prefix + "nodes/" + id }
func (k keys) info(id string) string   { return k.prefix + "info/" + id }
func (k keys) list(hash string) string { return k.prefix + "lists/" + hash }
func (k keys) state(job string) string { return k.prefix + "state/" + job }
func (k keys) saved(job string) string { return k.prefix + "saved/" + job }
func (k keys) claims(id string, n int) string {
	return k.prefix + "claims/" + id + "/" + strconv.Itoa(n)
}

type documentKind int

const (
	otherDocument documentKind = iota // of no concern here
	epochDocument
	nodeDocument
	claimsDocument
	infoDocument
	listDocument
	stateDocument
	orderDocument
)

// parse takes a key apart. id is the hash of a list, the name of a job, or that of an
// order. What has been saved is of no concern: who needs it reads it.
func (k keys) parse(key string) (kind documentKind, id string, n int) {
	name, ok := strings.CutPrefix(key, k.prefix)
	if !ok {
		return otherDocument, "", 0
	}
	dir, rest, _ := strings.Cut(name, "/")
	switch {
	case name == "epoch":
		return epochDocument, "", 0
	case rest == "":
		return otherDocument, "", 0
	case dir == "claims":
		id, number, _ := strings.Cut(rest, "/")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n >= maxClaimDocuments || id == "" || strconv.Itoa(n) != number {
			return otherDocument, "", 0
		}
		return claimsDocument, id, n
	case dir == "orders":
		return orderDocument, rest, 0
	case dir == "state":
		return stateDocument, rest, 0
	case strings.Contains(rest, "/"):
		return otherDocument, "", 0
	case dir == "nodes":
		return nodeDocument, rest, 0
	case dir == "info":
		return infoDocument, rest, 0
	case dir == "lists":
		return listDocument, rest, 0
	}
	return otherDocument, "", 0
}

const (
	formatVersion = 1

	maxDocument       = 64 << 10 // bytes
	maxSaved          = 64 << 10 // bytes that a job saves, which take a third more in JSON
	maxSavedDocument  = 96 << 10
	maxClaimDocuments = 1 << 16 // of a session; that is more than two million jobs

	minTTL   = 200 * time.Millisecond
	maxTTL   = 300 * time.Second
	maxDrift = 0.1
)

// epochValue is random: an app whose documents were deleted, all of them, gets
// another one.
type epochValue struct {
	Value string `json:"value"`
}

// nodeValue is a heartbeat of a session, or its end. Beat is never used for
// another content, so it tells who sees it again what was written.
type nodeValue struct {
	Instance string  `json:"instance"`
	TTL      int64   `json:"ttl"` // milliseconds
	Drift    float64 `json:"drift"`
	Beat     int64   `json:"beat"`
	State    string  `json:"state,omitempty"`

	Documents int   `json:"documents"` // claim documents that are registered: those with k below it
	Made      int64 `json:"made"`      // the sum of the revisions at which those were made
}

// The states of a session, once it has ended: nothing that it claims counts.
const (
	stateDrained = "drained" // its owner says that nothing runs any more
	stateBuried  = "buried"  // a tombstone, written by another node: it has been silent for too long
)

func (v *nodeValue) valid() bool {
	return validTiming(v.TTL, v.Drift) && v.Beat >= 0 && v.Documents >= 0 && v.Documents <= maxClaimDocuments
}

// claimsValue is a document of claims. A number of 0 stands for the revision of the
// write with this Seq.
type claimsValue struct {
	TTL     int64   `json:"ttl"` // as in nodeValue, for whoever finds no node document
	Drift   float64 `json:"drift"`
	Seq     int64   `json:"seq"`               // of this write, from 1
	Made    int64   `json:"made"`              // the revision of the first write; 0 in that
	Guard   int64   `json:"guard"`             // the revision of the document that this write replaces
	Jobs    string  `json:"jobs,omitempty"`    // names in order, one a line: far quicker to read than an array
	Numbers []int64 `json:"numbers,omitempty"` // of the jobs; the last one is that of all that follow, too
}

func (v *claimsValue) valid() bool {
	return validTiming(v.TTL, v.Drift) && v.Seq > 0 && v.Made >= 0 && v.Guard >= 0 && v.validClaims()
}

// validClaims reports whether each job is there once, and has a number.
func (v *claimsValue) validClaims() bool {
	jobs, last := 0, ""
	for job := range v.names() {
		if job <= last {
			return false
		}
		jobs, last = jobs+1, job
	}
	return len(v.Numbers) <= jobs && (len(v.Numbers) > 0 || jobs == 0) && !slices.ContainsFunc(v.Numbers, func(n int64) bool { return n < 0 })
}

func (v *claimsValue) names() iter.Seq[string] {
	if v.Jobs == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(v.Jobs, "\n")
}

// claims returns what is claimed, in the order of the names.
func (v *claimsValue) claims() positions {
	all := make(positions, 0, strings.Count(v.Jobs, "\n")+1)
	for job := range v.names() {
		all = append(all, position{job, v.Numbers[min(len(all), len(v.Numbers)-1)]})
	}
	return all
}

// claim has v claim what is in p, and nothing else.
func (v *claimsValue) claim(p positions) *claimsValue {
	var names []string
	v.Numbers = nil
	for _, c := range p {
		names = append(names, c.job)
		v.Numbers = append(v.Numbers, c.number)
	}
	v.Jobs = strings.Join(names, "\n")
	for n := len(v.Numbers); n > 1 && v.Numbers[n-1] == v.Numbers[n-2]; n-- {
		v.Numbers = v.Numbers[:n-1]
	}
	return v
}

func validTiming(ttl int64, drift float64) bool {
	return ttl > 0 && ttl <= maxTTL.Milliseconds() && drift >= 0 && drift <= maxDrift
}

// position is a job with its place in the queue.
type position struct {
	job    string
	number int64
}

// positions are in the order of the names.
type positions []position

// infoValue is what a node tells, in its info document.
type infoValue struct {
	Version  string            `json:"version,omitempty"`
	Started  int64             `json:"started"` // Unix time in milliseconds
	Labels   map[string]string `json:"labels,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Capacity int               `json:"capacity,omitempty"`
	Draining bool              `json:"draining,omitempty"`
	Warming  map[string]Warmth `json:"warming,omitempty"`
	Listed   bool              `json:"listed"` // it says which jobs it can run: those of Lists
	Lists    []string          `json:"lists,omitempty"`
}

func (v *infoValue) valid() bool { return v.Capacity >= 0 }

// listValue is a piece of a list of jobs; or of a list of such pieces, which is cut
// as well when it is long.
type listValue struct {
	Jobs  []jobValue `json:"jobs,omitempty"`
	Lists []string   `json:"lists,omitempty"`
}

// jobValue is a job in a list.
type jobValue struct {
	Name   string   `json:"n"`
	Weight int      `json:"w,omitempty"` // 0 for 1
	Prefer []string `json:"p,omitempty"`
	Avoid  []string `json:"a,omitempty"`
}

// stateValue is what is on record of a job.
type stateValue struct {
	Token    int64  `json:"token"`    // of the leadership that it is about
	Instance string `json:"instance"` // of the node that led
	At       int64  `json:"at"`       // Unix time in milliseconds, by the clock of that node
	Done     bool   `json:"done,omitempty"`
	Failures int    `json:"failures,omitempty"` // in a row
	Pause    int64  `json:"pause,omitempty"`    // milliseconds until Work is called again
	Error    string `json:"error,omitempty"`    // the last one
}

func (v *stateValue) valid() bool { return v.Token > 0 && v.Failures >= 0 && v.Pause >= 0 }

// savedValue is what a job has saved.
type savedValue struct {
	Token int64  `json:"token"` // of the leadership that has saved it, or taken it over
	Data  []byte `json:"data"`
}

func (v *savedValue) valid() bool { return v.Token > 0 && len(v.Data) <= maxSaved }

func (v *epochValue) valid() bool { return v.Value != "" }
func (v *listValue) valid() bool  { return true }

// value is what a document holds.
type value interface{ valid() bool }

// encode returns v as the value of the document called key. It fails if it is too
// long.
func (k keys) encode(key string, v value) ([]byte, error) {
	body, err := marshal(v)
	if err != nil {
		return nil, fmt.Errorf("distributed: encode %s: %w", key, err)
	}
	size := len(valueStart) + sumLength + len(valueMiddle) + len(body) - 1
	if limit := k.limit(key); size > limit {
		return nil, fmt.Errorf("distributed: document %s has %d bytes, at most %d are allowed", key, size, limit)
	}
	b := make([]byte, 0, size)
	b = append(b, valueStart...)
	b = append(b, k.sum(key, body[1:])...)
	b = append(b, valueMiddle...)
	return append(b, body[1:]...), nil
}

// limit is how long the document called key may be.
func (k keys) limit(key string) int {
	if strings.HasPrefix(key, k.saved("")) {
		return maxSavedDocument
	}
	return maxDocument
}

// decode reads the value of the document called key into v. It returns
// errUnreadable for what was not written as it is under that name, and an
// errVersion for what was written in another version of the format.
func (k keys) decode(key string, b []byte, v value) error {
	rest, ok := bytes.CutPrefix(b, []byte(valueStart))
	if !ok || len(rest) < sumLength+len(valueMiddle) || len(b) > k.limit(key) {
		return k.refuse(key, b)
	}
	sum, body := rest[:sumLength], rest[sumLength+len(valueMiddle):]
	if string(rest[sumLength:sumLength+len(valueMiddle)]) != valueMiddle || string(sum) != k.sum(key, body) {
		return k.refuse(key, b)
	}
	if err := json.Unmarshal(b, v); err != nil || !v.valid() {
		return errUnreadable
	}
	return nil
}

// refuse says what is wrong with a value.
func (k keys) refuse(key string, b []byte) error {
	var other struct {
		Version int `json:"v"`
	}
	if json.Unmarshal(b, &other) == nil && other.Version > formatVersion {
		return &versionError{key, other.Version}
	}
	return errUnreadable
}

const (
	valueStart  = `{"v":1,"sum":"`
	valueMiddle = `",`
	sumLength   = 16
)

// sum is over the name below the prefix and the rest of the value.
func (k keys) sum(key string, rest []byte) string {
	h := sha256.New()
	h.Write([]byte(strings.TrimPrefix(key, k.prefix)))
	h.Write([]byte{0})
	h.Write(rest)
	return hex.EncodeToString(h.Sum(nil)[:sumLength/2])
}

// marshal is json.Marshal without what makes HTML safe: a "<" would take six bytes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// errUnreadable says that a value is not one that a session has written.
var errUnreadable = errors.New("distributed: unreadable document")

// versionError says that a document is in a format that is not known here: what it
// claims cannot be known, so nothing may be led beside it.
type versionError struct {
	key     string
	version int
}

func (e *versionError) Error() string {
	return fmt.Sprintf("distributed: document %s has format version %d, this build knows %d: update this program before it takes part", e.key, e.version, formatVersion)
}

func sortPositions(p positions) {
	slices.SortFunc(p, func(a, b position) int { return cmp.Compare(a.job, b.job) })
}

// newID returns the id of a session: 80 random bits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }
