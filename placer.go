package distributed

import "sync"

// placer computes one placement after the other. What it returns is what place
// returns, whatever it has computed before; but what follows from the nodes and their
// lists alone is kept while they are the same, and so is a queue that is. It is not
// for concurrent use.
type placer struct {
	view   *View
	placed *placement
	spread *spread
}

// turn is taken by who computes a placement. That of ten thousand jobs takes some ten
// milliseconds: of many nodes in a process, all at once, it would keep the processors
// from their heartbeats.
var turn sync.Mutex

// place computes the placement of v, which is valid until the next call.
func (r *placer) place(v *View) *placement {
	turn.Lock()
	defer turn.Unlock()
	if r.placed == nil || !r.placed.reread(r.view, v) {
		r.placed = readPlacement(v)
		r.spread = newSpread(r.placed)
	}
	r.view = v
	r.placed.assign(r.spread)
	r.placed.assignStandbys(r.spread)
	return r.placed
}

// reread takes in v, in place of another view of the same nodes. It reports whether it
// could: whether nothing but queues has changed, and those of jobs that nodes have.
func (p *placement) reread(before, v *View) bool {
	if !p.listed || v.Self != before.Self || !sameSlice(v.Nodes, before.Nodes) || !sameSlice(v.Records, before.Records) {
		return false
	}
	if len(v.Orders) > 0 || len(before.Orders) > 0 {
		return false // some depend on who leads
	}
	p.steps = 0
	return p.readQueues(v)
}

// sameSlice reports whether both are one slice. What is in a view does not change.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
