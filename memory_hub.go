package distributed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// MemoryHub is a store in this process: the nodes whose providers share a hub
// ([NewMemoryLeaseProvider]) stand in the same elections. Its methods show what
// a store that fails does to your jobs. The zero value is ready to use, needs
// no closing and runs no goroutines. All methods are safe for concurrent use,
// and none blocks. A hub that is used inside a testing/synctest bubble belongs
// to that bubble.
type MemoryHub struct {
	mu       sync.Mutex
	revision int64 // of the last candidacy
	leases   map[*memoryLease]bool
	queues   map[memoryQueue][]*memoryCandidate
	calls    int
	delay    time.Duration
	refusals map[string]error
	changed  chan struct{} // closed when refusals change; nil while nobody waits for that
	outdated chan struct{} // closed when there are other views; nil while nobody waits for that
	acquired int           // leases so far
}

// memoryQueue names an election: names may contain anything.
type memoryQueue struct{ app, job string }

// memoryCandidate is a lease's place in a queue. What changes is guarded by the
// hub's mutex.
type memoryCandidate struct {
	lease   *memoryLease
	queue   memoryQueue
	token   int64                   // strictly rising in the order of the queue
	decided chan struct{}           // closed when elected or over
	removed chan struct{}           // closed when out of the queue
	elected bool                    // the first of the queue, and told so
	over    bool                    // will not lead (any more), but keeps others waiting until removed
	torn    bool                    // over by no doing of its owner's
	vacated time.Time               // when the last candidate before it released; zero if not
	lost    context.CancelCauseFunc // set while the owner relies on leading
}

// Expire takes all leases of instance away, early, as a store does that expires
// or revokes a lease of a node that is alive: when Expire returns, the contexts
// of its leaderships are done with cause [ErrLeadershipLost], and its campaigns
// return [ErrLeaseLost]. Others lead when its work has been released, or else
// when its leases would have run out. It reports whether there was a lease to take.
func (h *MemoryHub) Expire(instance string) bool {
	leases := h.leasesOf(instance)
	for _, l := range leases {
		l.end(fmt.Errorf("%w: the lease was taken away", ErrLeadershipLost))
	}
	return len(leases) > 0
}

// RemoveCandidate removes instance from the queue for job by a foreign hand. A
// leader's context is done, with cause [ErrLeadershipLost], when
// RemoveCandidate returns, and others lead when its work has been released, or
// else when its lease, as it was last renewed, would have run out. A candidate
// that waits goes to the end of the queue. It reports whether there was a
// candidate to remove.
func (h *MemoryHub) RemoveCandidate(app, job, instance string) bool {
	removed := h.candidates(memoryQueue{app, job}, instance)
	for _, c := range removed {
		h.evict(c)
	}
	return len(removed) > 0
}

// Refuse makes the hub refuse everything that instance asks of it with err, and
// not tell it that it leads: instance is cut off. It cannot acquire a lease, it
// loses the one that it has when that runs out, and its campaigns and
// resignations wait. An empty instance means all nodes; a nil err makes the hub
// accept again.
func (h *MemoryHub) Refuse(instance string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refusals == nil {
		h.refusals = map[string]error{}
	}
	h.refusals[instance] = err // nil is as good as no entry
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
	for queue := range h.queues {
		h.elect(queue)
	}
	h.touch()
}

// SetDelay makes everything that is asked of the hub from now on take d before
// it happens. With more than about a quarter of the TTL, leases run out. By
// default, and with a negative d, it takes no time.
func (h *MemoryHub) SetDelay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.delay = d
}

// Leader returns who leads job, and with which fencing token: zeros for nobody.
func (h *MemoryHub) Leader(app, job string) (instance string, token int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.queues[memoryQueue{app, job}] {
		if c.leads(time.Now()) {
			return c.lease.instance, c.token
		}
	}
	return "", 0
}

// Candidates returns the instances in the queue for job, in the order in which
// they lead: the leader, if there is one, is the first. An instance that lost
// its leadership or its lease is in it for as long as others wait because of it.
func (h *MemoryHub) Candidates(app, job string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var instances []string
	for _, c := range h.queues[memoryQueue{app, job}] {
		instances = append(instances, c.lease.instance)
	}
	return instances
}

// Calls returns how many calls campaigns, resignations and the closing of
// leases have made, refused ones included. Acquiring and renewing a lease does
// not count.
func (h *MemoryHub) Calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// do is how a node talks to the hub: op is called with h.mu held, after the
// hub's delay, unless the hub refuses or ctx is done.
func (h *MemoryHub) do(ctx context.Context, instance string, op func()) error {
	h.mu.Lock()
	delay := h.delay
	h.mu.Unlock()
	if err := sleep(ctx, delay); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.refusal(instance); err != nil {
		return err
	}
	op()
	return nil
}

// insist does op, again whenever refusals change, until the hub accepts or ctx
// is done.
func (h *MemoryHub) insist(ctx context.Context, instance string, op func()) error {
	for {
		changed := h.book()
		err := h.do(ctx, instance, op)
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// book counts a call and returns what is closed when it is worth a repetition.
func (h *MemoryHub) book() (changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return h.changed
}

func (h *MemoryHub) leasesOf(instance string) []*memoryLease {
	h.mu.Lock()
	defer h.mu.Unlock()
	var leases []*memoryLease
	for l := range h.leases {
		if l.instance == instance {
			leases = append(leases, l)
		}
	}
	return leases
}

func (h *MemoryHub) candidates(queue memoryQueue, instance string) []*memoryCandidate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.queues[queue]), func(c *memoryCandidate) bool {
		return c.lease.instance != instance
	})
}

// evict is the foreign hand. A leader is told first, and keeps its place until
// it cannot believe to lead any more.
func (h *MemoryHub) evict(c *memoryCandidate) {
	h.mu.Lock()
	c.torn = true
	if !c.elected {
		h.remove(c)
	}
	lost, until := c.finish(), c.lease.validUntil
	h.mu.Unlock()
	if lost != nil {
		lost(fmt.Errorf("%w: the candidacy was removed by a foreign hand", ErrLeadershipLost))
	}
	time.AfterFunc(time.Until(until), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.remove(c)
	})
}

// The methods below are called with h.mu held.

func (h *MemoryHub) refusal(instance string) error {
	if err := h.refusals[instance]; err != nil {
		return err
	}
	return h.refusals[""]
}

// register takes in l, which counts from when it was asked for.
func (h *MemoryHub) register(l *memoryLease) {
	if h.leases == nil {
		h.leases = map[*memoryLease]bool{}
		h.queues = map[memoryQueue][]*memoryCandidate{}
	}
	h.leases[l] = true
	h.acquired++
	l.number = h.acquired
	h.touch()
}

func (h *MemoryHub) enqueue(l *memoryLease, queue memoryQueue) *memoryCandidate {
	h.revision++
	c := &memoryCandidate{
		lease:   l,
		queue:   queue,
		token:   h.revision,
		decided: make(chan struct{}),
		removed: make(chan struct{}),
	}
	l.candidates[c] = true
	h.queues[queue] = append(h.queues[queue], c)
	h.touch()
	h.elect(queue)
	return c
}

// elect lets the first of the queue lead, if it lives and can be told.
func (h *MemoryHub) elect(queue memoryQueue) {
	if len(h.queues[queue]) == 0 {
		delete(h.queues, queue)
		return
	}
	c := h.queues[queue][0]
	if c.elected || c.over || !c.lease.alive(time.Now()) || h.refusal(c.lease.instance) != nil {
		return
	}
	c.elected = true
	close(c.decided)
}

func (h *MemoryHub) remove(c *memoryCandidate) {
	if !c.lease.candidates[c] {
		return
	}
	c.finish()
	close(c.removed)
	delete(c.lease.candidates, c)
	first := h.queues[c.queue][0] == c
	queue := slices.DeleteFunc(h.queues[c.queue], func(o *memoryCandidate) bool { return o == c })
	h.queues[c.queue] = queue
	if first && !c.torn && len(queue) > 0 {
		queue[0].vacated = time.Now()
	}
	h.elect(c.queue)
}

// finish ends the candidacy but for its place in the queue, and returns what
// has to be called if that ended a leadership.
func (c *memoryCandidate) finish() (lost context.CancelCauseFunc) {
	if !c.elected && !c.over {
		close(c.decided)
	}
	c.over = true
	c.lease.hub.touch()
	lost, c.lost = c.lost, nil
	return lost
}

func (c *memoryCandidate) leads(now time.Time) bool {
	return c.elected && !c.over && now.Before(c.lease.validUntil)
}
