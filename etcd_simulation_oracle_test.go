package distributed

import (
	"sync"
	"time"
)

// simOracle judges the runs of all jobs.
type simOracle struct {
	s    *etcdSimulation
	mu   sync.Mutex
	runs map[string][]*simRun // by job, in the order of their begin
}

// simRun is a Work from entry to return.
type simRun struct {
	number     uint64
	node       string // the process
	l          *Leadership
	start, end time.Time // end is zero while it runs
}

func newSimOracle(s *etcdSimulation) *simOracle {
	return &simOracle{s: s, runs: map[string][]*simRun{}}
}

// begin records a run. Validity is judged here once for all: it never comes back
// to a leadership that has lost it, so if no earlier one is valid as a new run
// begins, none will be.
func (o *simOracle) begin(node string, l *Leadership) *simRun {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.runs[l.Name()]
	r := &simRun{number: uint64(len(before)), node: node, l: l, start: time.Now()}
	for _, b := range before {
		if b.l.Valid() && l.Valid() && b.l.Valid() {
			o.s.fail("%s is led by %s with token %d, and by %s with token %d", l.Name(), b.node, b.l.Token(), node, l.Token())
		}
	}
	if n := len(before); n > 0 && l.Token() <= before[n-1].l.Token() && before[n-1].start.After(o.s.replacedUntil()) {
		o.s.fail("%s runs on %s with token %d after token %d on %s", l.Name(), node, l.Token(), before[n-1].l.Token(), before[n-1].node)
	}
	o.runs[l.Name()] = append(before, r)
	o.s.note("%s runs %s with token %d", node, l.Name(), l.Token())
	o.s.total.count("run")
	return r
}

// end judges a run against those that still go on: of two that overlap, one ends
// first. They overlap if that takes time; see simLatency.
func (o *simOracle) end(r *simRun) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.end = time.Now()
	o.s.note("%s has run %s", r.node, r.l.Name())
	for _, other := range o.runs[r.l.Name()] {
		began := r.start
		if other.start.After(began) {
			began = other.start
		}
		if other != r && other.end.IsZero() && r.end.After(began) {
			o.s.fail("%s runs on %s with token %d and has run on %s with token %d, %v at once",
				r.l.Name(), other.node, other.l.Token(), r.node, r.l.Token(), r.end.Sub(began))
		}
	}
}

// requireStopped fails if node, a process, relies on a session of which it has seen
// a document deleted at rev.
func (o *simOracle) requireStopped(node, session string, rev int64) {
	if time.Now().Before(o.s.replacedUntil()) {
		return // revisions are of two histories
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, runs := range o.runs {
		for _, r := range runs {
			if r.node != node || !r.end.IsZero() || r.l.Token() > rev || !r.hasSeen(session, rev) {
				continue
			}
			o.s.total.count("told of a loss")
			if r.l.Valid() || r.l.Context().Err() == nil {
				o.s.fail("%s relies on token %d for %s, and has seen that a document of its session is gone", node, r.l.Token(), name)
			}
		}
	}
}

// hasSeen reports whether the run is under a session whose feed has come to rev.
func (r *simRun) hasSeen(id string, rev int64) bool {
	l, ok := r.l.lease.lease.(*session)
	if !ok || l.id != id {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mirror.rev >= rev
}

// requireRecentRun fails unless job runs, or did so a while ago at most.
func (o *simOracle) requireRecentRun(job string, while time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.runs[job] {
		if r.end.IsZero() || time.Since(r.end) <= while {
			return
		}
	}
	o.s.fail("%s does not run", job)
}

// requireAllEnded fails if a run has not ended.
func (o *simOracle) requireAllEnded() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for job, runs := range o.runs {
		for _, r := range runs {
			if r.end.IsZero() {
				o.s.fail("%s still runs on %s", job, r.node)
			}
		}
	}
}
