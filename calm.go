package distributed

import (
	"math"
	"slices"
	"time"
)

// calm is how long the nodes that take part have been the same.
type calm struct {
	nodes []string
	since time.Time
	began time.Time // when it was looked at first
}

// wait returns how long until the nodes of v that take jobs have been the same for long
// enough.
func (c *calm) wait(v *View, now time.Time, enough time.Duration) time.Duration {
	var nodes []string
	for x := range v.Nodes {
		if n := &v.Nodes[x]; n.takesJobs() {
			nodes = append(nodes, n.ID)
		}
	}
	if c.began.IsZero() {
		c.began = now
	}
	if !slices.Equal(nodes, c.nodes) {
		c.nodes, c.since = nodes, now
	}
	return c.until(now, c.since, enough)
}

// until returns how long until enough has passed since then.
func (c *calm) until(now, then time.Time, enough time.Duration) time.Duration {
	return max(0, then.Add(enough).Sub(now))
}

// calmTime is how long the nodes have to be the same before others wait for jobs than
// before, only because that is more even.
const calmTime = time.Second

// gather returns how long this node has to wait before it stands for anything. If
// nobody stands for any job, the app is only starting, and the first nodes would get
// what has to move when the others come.
func (b *balancer) gather(v *View, c *calm, now time.Time) (wait time.Duration) {
	b.gathered = b.gathered || len(v.Jobs) > 0
	if !b.gathered {
		wait = c.wait(v, now, b.options.gatherTime)
		wait = min(wait, c.until(now, c.began, mostGathers*min(b.options.gatherTime, math.MaxInt64/mostGathers)))
		b.gathered = wait == 0
	}
	return wait
}

// mostGathers is how many gather times a node waits if others keep coming.
const mostGathers = 10

// soonest returns the shorter of two times to wait, of which 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// after is a channel that is ready after d, or never if d is 0.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}
