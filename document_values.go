package distributed

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// value is what a document holds.
type value interface{ valid() bool }

// epochValue is random: an app whose documents were deleted, all of them, gets
// another one.
type epochValue struct {
	Value string `json:"value"`
}

func (v *epochValue) valid() bool { return v.Value != "" }

// nodeValue is a heartbeat of a session, or its end. Beat is never used for
// another content, so it tells who sees it again what was written.
type nodeValue struct {
	Instance string     `json:"instance"`
	TTL      int64      `json:"ttl"` // milliseconds
	Drift    millionths `json:"drift"`
	Beat     int64      `json:"beat"`
	State    string     `json:"state,omitempty"`

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

// claimsValue is a document of claims. A number of 0 means the revision of the
// write with this Seq.
type claimsValue struct {
	TTL     int64      `json:"ttl"` // as in nodeValue, for whoever finds no node document
	Drift   millionths `json:"drift"`
	Seq     int64      `json:"seq"`               // of this write, from 1
	Made    int64      `json:"made"`              // the revision of the first write; 0 in that
	Guard   int64      `json:"guard"`             // the revision of the document that this write replaces
	Jobs    names      `json:"jobs,omitempty"`    // in order
	Numbers []int64    `json:"numbers,omitempty"` // of the jobs; the last one is that of all that follow, too
}

func (v *claimsValue) valid() bool {
	return validTiming(v.TTL, v.Drift) && v.Seq > 0 && v.Made >= 0 && v.Guard >= 0 && v.validClaims()
}

// validClaims reports whether each job is there once, and has a number.
func (v *claimsValue) validClaims() bool {
	last := ""
	for _, job := range v.Jobs {
		if job <= last {
			return false
		}
		last = job
	}
	return len(v.Numbers) <= len(v.Jobs) && (len(v.Numbers) > 0 || len(v.Jobs) == 0) && !slices.ContainsFunc(v.Numbers, func(n int64) bool { return n < 0 })
}

// number returns the number of the job at i.
func (v *claimsValue) number(i int) int64 { return v.Numbers[min(i, len(v.Numbers)-1)] }

// claims returns what is claimed, in the order of the names.
func (v *claimsValue) claims() positions {
	all := make(positions, len(v.Jobs))
	for i, job := range v.Jobs {
		all[i] = position{job, v.number(i)}
	}
	return all
}

// claim has v claim what is in p, and nothing else.
func (v *claimsValue) claim(p positions) *claimsValue {
	v.Jobs, v.Numbers = make(names, 0, len(p)), make([]int64, 0, len(p))
	for _, c := range p {
		v.Jobs = append(v.Jobs, c.job)
		v.Numbers = append(v.Numbers, c.number)
	}
	for n := len(v.Numbers); n > 1 && v.Numbers[n-1] == v.Numbers[n-2]; n-- {
		v.Numbers = v.Numbers[:n-1]
	}
	return v
}

// names are written as one string, one a line: far quicker to read than an array.
type names []string

// MarshalText implements [encoding.TextMarshaler].
func (n names) MarshalText() ([]byte, error) { return []byte(strings.Join(n, "\n")), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (n *names) UnmarshalText(text []byte) error {
	*n = nil
	if len(text) > 0 {
		*n = strings.Split(string(text), "\n")
	}
	return nil
}

func validTiming(ttl int64, drift millionths) bool {
	return ttl > 0 && ttl <= maxTTL.Milliseconds() && drift >= 0 && drift <= inMillionths(maxDrift)
}

// millionths are a rate: a whole number is far quicker to write and to read.
type millionths int64

// inMillionths rounds up: others had better wait for too long.
func inMillionths(rate float64) millionths { return millionths(math.Ceil(rate * 1e6)) }

func (m millionths) rate() float64 { return float64(m) / 1e6 }

// position is a job with its place in the queue.
type position struct {
	job    string
	number int64
}

// positions are in the order of the names.
type positions []position

func sortPositions(p positions) {
	slices.SortFunc(p, func(a, b position) int { return cmp.Compare(a.job, b.job) })
}

// infoValue is what a node tells, in its info document.
type infoValue struct {
	Version  string            `json:"version,omitempty"`
	Started  int64             `json:"started"` // Unix time in milliseconds
	Labels   map[string]string `json:"labels,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Capacity int               `json:"capacity,omitempty"`
	Draining bool              `json:"draining,omitempty"`
	Warming  map[string]Warmth `json:"warming,omitempty"`
	Listed   bool              `json:"listed"` // it says which jobs it can run: those of Lists; else those are barred
	Lists    []string          `json:"lists,omitempty"`
}

func (v *infoValue) valid() bool { return v.Capacity >= 0 }

// listValue is a piece of a list of jobs; or of a list of such pieces, which is cut
// as well when it is long.
type listValue struct {
	Jobs  []jobValue `json:"jobs,omitempty"`
	Lists []string   `json:"lists,omitempty"`
}

func (v *listValue) valid() bool { return true }

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
