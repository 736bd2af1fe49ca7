package leasetest

import (
	"context"
	"time"
)

func resign(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	next.requireInvalid("while it waits")
	leader.resign()
	next.awaitLead()
	r.settle()
	next.requireLeading("after it came to lead")
	leader.requireInvalid("although it has resigned")
	losses, cause := leader.loss()
	r.require(losses == 0, "lost was called on %v, which had resigned: %v", leader, cause)
}

func resignWithDoneContext(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = leader.resignWith(ctx) // nil or not: it may have been quick enough
	again := leader.stand("job")
	next.awaitLead()
	r.settle()
	again.requireWaiting()
	next.resign()
	again.awaitLead()
}

func campaignAgain(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	leader.resign()
	again := leader.queue("job", 2)
	next.awaitLead()
	next.resign()
	again.awaitLead()
	r.require(again.token > next.token, "%v led with token %d and leads again with token %d, although %v led with token %d in between",
		leader, leader.token, again.token, next, next.token)
}

// gap knows no less than when the one before began to resign: it was seen to do so
// no earlier.
func gap(r *run) {
	a, b, c := r.node(), r.node(), r.node()
	first := a.lead("job")
	first.requireNoGap("stood behind nobody")
	next := b.queue("job", 2)
	resigned := time.Now()
	first.resign()
	next.awaitLead()
	took := time.Since(resigned)
	r.require(!next.gapKnown || (next.gap >= 0 && next.gap <= took),
		"Gap of %v is %v, and the one before it began to resign no more than %v before", next, next.gap, took)
	next.resign()
	again := b.lead("job")
	again.requireNoGap("stood behind nobody")
	last := c.queue("job", 2)
	b.expire()
	last.awaitLead()
	last.requireNoGap("follows on a loss")
}

func (c *candidate) requireNoGap(why string) {
	c.require(!c.gapKnown, "Gap of %v, which %s, is %v", c, why, c.gap)
}
