package leasetest

import (
	"context"

	"github.com/b2552be4/distributed"
)

func closeGivesUp(r *run) {
	a, b, c := r.node(), r.node(), r.node()
	led, foreign := a.lead("led"), b.lead("waited for")
	a.queue("waited for", 2)
	next, last := c.queue("led", 2), c.queue("waited for", 3)

	a.mustClose()
	led.requireInvalid("after Close")
	next.awaitLead()
	foreign.requireLeading("after a candidate was closed")
	foreign.resign()
	last.awaitLead()
}

func closeEndsCampaigns(r *run) {
	r.node().lead("job")
	waiting := r.node().queue("job", 2)
	waiting.mustClose()
	waiting.awaitError(distributed.ErrLeaseLost)
	r.awaitCandidates("job", 1)
	late := waiting.stand("another job")
	late.awaitError(distributed.ErrLeaseLost)
}

func closeTwice(r *run) {
	leader := r.node().lead("job")
	leader.mustClose()
	err := leader.close(context.Background())
	r.require(err == nil, "the second Close returned %v", err)
	r.node().lead("job")
}

func closeWithDoneContext(r *run) {
	a := r.node()
	a.lead("led")
	r.node().lead("waited for")
	waiting := a.queue("waited for", 2)
	next := r.node().queue("led", 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = a.close(ctx) // it may have been quick enough, or not
	waiting.awaitError(distributed.ErrLeaseLost)
	next.awaitLead()
	err := a.close(context.Background())
	r.require(err == nil, "the second Close returned %v", err)
}
