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
//	orders/…          what operators want: see orders.go
//
// state/ is kept free. Nobody but its session writes a document with
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
	orderDocument
)

// parse takes a key apart. id is the hash of a list, or the name of an order.
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
	maxClaimDocuments = 1 << 16  // of a session; that is more than two million jobs

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

// claimsValue is a document of claims. A position of 0 stands for the revision of
// the write with this Seq.
type claimsValue struct {
	TTL    int64     `json:"ttl"` // as in nodeValue, for whoever finds no node document
	Drift  float64   `json:"drift"`
	Seq    int64     `json:"seq"`   // of this write, from 1
	Made   int64     `json:"made"`  // the revision of the first write; 0 in that
	Guard  int64     `json:"guard"` // the revision of the document that this write replaces
	Claims positions `json:"claims"`
}

func (v *claimsValue) valid() bool {
	return validTiming(v.TTL, v.Drift) && v.Seq > 0 && v.Made >= 0 && v.Guard >= 0
}

func validTiming(ttl int64, drift float64) bool {
	return ttl > 0 && ttl <= maxTTL.Milliseconds() && drift >= 0 && drift <= maxDrift
}

// position is a job with its place in the queue.
type position struct {
	job    string
	number int64
}

// positions is an object from job to number, in the order of the names. As a type
// of its own it takes a quarter of the time of a map to read.
type positions []position

// MarshalJSON implements [json.Marshaler].
func (p positions) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, c := range p {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, c.job)
		b = append(b, ':')
		b = strconv.AppendInt(b, c.number, 10)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON implements [json.Unmarshaler]: b is JSON.
func (p *positions) UnmarshalJSON(b []byte) error {
	*p = nil
	if len(b) < 2 || b[0] != '{' {
		return errUnreadable
	}
	for b = bytes.TrimLeft(b[1:], blanks); len(b) > 0 && b[0] != '}'; {
		job, rest, err := cutJSONString(b)
		if err != nil {
			return err
		}
		rest = bytes.TrimLeft(bytes.TrimLeft(rest, blanks), ":")
		rest = bytes.TrimLeft(rest, blanks)
		end := bytes.IndexAny(rest, ",}"+blanks)
		if end < 0 {
			return errUnreadable
		}
		number, err := strconv.ParseInt(string(rest[:end]), 10, 64)
		if err != nil || number < 0 || (len(*p) > 0 && (*p)[len(*p)-1].job >= job) {
			return errUnreadable
		}
		*p = append(*p, position{job, number})
		b = bytes.TrimLeft(rest[end:], blanks)
		b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte{','}), blanks)
	}
	return nil
}

const blanks = " \t\r\n"

func appendJSONString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := marshal(s)
			if err != nil {
				panic(fmt.Sprintf("distributed: encode %q: %v", s, err)) // strings can always be encoded
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// cutJSONString takes a string off the beginning of b, which is JSON.
func cutJSONString(b []byte) (s string, rest []byte, err error) {
	if len(b) == 0 || b[0] != '"' {
		return "", nil, errUnreadable
	}
	plain := true
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			plain = false
			i++
		case '"':
			if plain {
				return string(b[1:i]), b[i+1:], nil
			}
			err = json.Unmarshal(b[:i+1], &s)
			return s, b[i+1:], err
		}
	}
	return "", nil, errUnreadable
}

// infoValue is what a node tells, in its info document.
type infoValue struct {
	Version  string            `json:"version,omitempty"`
	Started  int64             `json:"started"` // Unix time in milliseconds
	Labels   map[string]string `json:"labels,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Capacity int               `json:"capacity,omitempty"`
	Draining bool              `json:"draining,omitempty"`
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
	if size > maxDocument {
		return nil, fmt.Errorf("distributed: document %s has %d bytes, at most %d are allowed", key, size, maxDocument)
	}
	b := make([]byte, 0, size)
	b = append(b, valueStart...)
	b = append(b, k.sum(key, body[1:])...)
	b = append(b, valueMiddle...)
	return append(b, body[1:]...), nil
}

// decode reads the value of the document called key into v. It returns
// errUnreadable for what was not written as it is under that name, and an
// errVersion for what was written in another version of the format.
func (k keys) decode(key string, b []byte, v value) error {
	rest, ok := bytes.CutPrefix(b, []byte(valueStart))
	if !ok || len(rest) < sumLength+len(valueMiddle) || len(b) > maxDocument {
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
// claims cannot be heeded, so nothing may be led beside it.
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
