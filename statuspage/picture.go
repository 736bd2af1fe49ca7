package statuspage

import (
	"time"

	"github.com/b2552be4/distributed"
)

// picture is all that the page shows, at one moment. It is not changed after it
// was made: streams that are behind hold on to the picture they have sent last. It shares
// with the one before the jobs that have not changed.
type picture struct {
	Title string    `json:"title"`
	At    time.Time `json:"at"`
	Store store     `json:"store"`
	Self  string    `json:"self"`  // ID of the node that shows the page; empty if that is none
	Nodes []node    `json:"nodes"` // sorted by instance
	Jobs  []*job    `json:"jobs"`  // sorted by name
	Moves []move    `json:"moves"` // the last, oldest first
	Stuck []stuck   `json:"stuck"` // on the node that shows the page

	Unreadable string `json:"unreadable,omitempty"` // why nobody is shown to lead

	told    []distributed.NodeView   // what the nodes told
	partial []distributed.PartialJob // by that
}

// store is what the page knows of etcd.
type store struct {
	State   storeState `json:"state"`
	Silence int64      `json:"silence_ms"` // since any node was heard of
}

type storeState string

const (
	storeReachable storeState = "reachable"
	storeAway      storeState = "away"
	storeUnknown   storeState = "unknown" // there is no node to be heard of
)

type node struct {
	ID       string            `json:"id"`
	Instance string            `json:"instance"`
	Version  string            `json:"version"`
	Started  *time.Time        `json:"started"` // null if it has not said so
	Labels   map[string]string `json:"labels"`
	Metadata map[string]string `json:"metadata"`
	Capacity int               `json:"capacity"` // 0: no limit
	Draining bool              `json:"draining"`
	Gone     bool              `json:"gone"` // it was there a moment ago
	Went     departure         `json:"went,omitempty"`
	Jobs     int               `json:"jobs"`    // that it leads
	Standby  int               `json:"standby"` // jobs that it waits for
	Color    int               `json:"color"`
	Silence  int64             `json:"silence_ms"`
}

type job struct {
	Name   string `json:"name"`
	source source // looked at together with the name, of each job, and so beside it

	Node    string               `json:"node"` // ID; empty if nobody leads it
	State   distributed.JobState `json:"state"`
	Since   stamp                `json:"since"` // null if it was so before the page looked
	Token   int64                `json:"token"`
	Standby int                  `json:"standby"` // nodes that wait for it

	Failures int    `json:"failures,omitempty"` // of its Work, in a row
	Error    string `json:"error,omitempty"`    // the last
	Next     stamp  `json:"next"`               // when Work is called again after it; null if it has not failed
	Lacks    string `json:"lacks,omitempty"`    // the instances that do not have it, though others have
	Paused   string `json:"paused,omitempty"`   // by whom, and why
	Warming  bool   `json:"warming,omitempty"`  // its node leads it, and Work is not warm yet
	Prepares string `json:"prepares,omitempty"` // the instances that warm up for it
}

// source is what a job was drawn from.
type source struct {
	first *distributed.CandidateView // in its queue, which views share while it does not change; nil if there is none
	led   bool
	more  bool // than that
}

// stuck is a Work that does not stop.
type stuck struct {
	Job   string    `json:"job"`
	Since time.Time `json:"since"`
	Token int64     `json:"token"`
	Cause string    `json:"cause"`
}

// looksLike reports whether a browser that shows one need not be told of the other.
func (j *job) looksLike(other *job) bool {
	a, b := *j, *other
	a.source, b.source = source{}, source{}
	return a == b
}

// stamp is a time in Unix milliseconds, 0 for none: jobs are compared, and there
// are many.
type stamp int64

func stampOf(t time.Time) stamp {
	if t.IsZero() {
		return 0
	}
	return stamp(t.UnixMilli())
}

// Time returns the time, in UTC.
func (s stamp) Time() time.Time { return time.UnixMilli(int64(s)).UTC() }

// MarshalJSON implements [json.Marshaler].
func (s stamp) MarshalJSON() ([]byte, error) {
	if s == 0 {
		return []byte("null"), nil
	}
	return s.Time().AppendFormat(nil, `"2006-01-02T15:04:05.000Z07:00"`), nil
}

// pace is how old a picture is before there is another, at least.
const pace = 200 * time.Millisecond

// paceOf keeps what took so long to make for long enough that no more than a tenth of a
// processor goes into it.
func paceOf(took time.Duration) time.Duration { return max(pace, 9*took) }

// picture returns what there is to show now, or was a moment ago: however many
// ask, pictures are made at a bounded rate.
func (p *Page) picture() *picture {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.latest == nil || now.Sub(p.made) >= p.keep {
		p.latest, p.made = p.draw(now), now
		p.keep = paceOf(time.Since(now))
	}
	return p.latest
}
