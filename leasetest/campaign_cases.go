package leasetest

import (
	"context"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
)

func acquireContext(r *run) {
	leader := r.node().lead("job")
	leader.acquired()
	r.settle()
	leader.requireLeading("after the context of AcquireLease was done")
}

func campaignContext(r *run) {
	leader := r.node().lead("job")
	leader.cancel()
	r.settle()
	leader.requireLeading("after the context of its campaign was done")
	next := r.node().queue("job", 2)
	leader.resign()
	next.awaitLead()
}

func cancelledCampaign(r *run) {
	leader := r.node().lead("job")
	cancelled := r.node().queue("job", 2)
	next := r.node().queue("job", 3)

	cancelled.cancel()
	cancelled.awaitError(context.Canceled)
	r.awaitCandidates("job", 2)
	leader.resign()
	next.awaitLead()
	cancelled.requireInvalid("after its campaign was cancelled")
}

func campaignWithDoneContext(r *run) {
	c := r.node().prepare("job")
	c.cancel()
	c.campaign()
	c.awaitError(context.Canceled)
	r.awaitCandidates("job", 0)
	r.node().lead("job")
	c.requireInvalid("although it has never led")
}

func waitingMakesNoCalls(r *run) {
	if r.store.Calls == nil {
		r.Skip("Store.Calls is nil")
	}
	const campaigns = 50
	a, b := r.node(), r.node()
	resting := r.callsInATTL()
	var waiting []*candidate
	for i := range campaigns {
		a.lead(fmt.Sprintf("job-%d", i))
		waiting = append(waiting, b.queue(fmt.Sprintf("job-%d", i), 2))
	}
	calls := r.callsInATTL()
	r.require(calls < resting+campaigns/2, "%d calls were made while %d campaigns waited for %v, and %d while none did", calls, campaigns, r.store.TTL, resting)
	for _, c := range waiting {
		c.requireWaiting()
	}
}

// callsInATTL lets all that is under way come to rest before it counts.
func (r *run) callsInATTL() int {
	time.Sleep(r.store.TTL / 2)
	before := r.store.Calls()
	time.Sleep(r.store.TTL)
	return r.store.Calls() - before
}

// removedWhileWaiting leaves open whether the campaign goes on, at the end of
// the queue, or gives up, with its lease: the contract does not say.
func removedWhileWaiting(r *run) {
	leader := r.node().lead("job")
	removed := r.node().queue("job", 2)
	next := r.node().queue("job", 3)

	r.store.RemoveCandidate(r.app, "job", removed.instance)
	r.settle()
	leader.requireLeading("after another candidate was removed")
	leader.resign()
	next.awaitLead()
	next.resign()
	r.await(removed.ended, "the campaign of %v, which was removed from the store, has not ended", removed)
	if removed.err != nil {
		removed.awaitError(distributed.ErrLeaseLost)
		return
	}
	removed.requireLeading("after it came to lead")
}

func leaseLostWhileWaiting(r *run) {
	leader := r.node().lead("job")
	waiting := r.node().queue("job", 2)
	waiting.expire()
	waiting.awaitError(distributed.ErrLeaseLost)
	waiting.requireInvalid("although it has never led")
	leader.requireLeading("after the lease of another candidate was taken away")
	leader.resign()
	r.node().lead("job")
}

func leaseLostBefore(r *run) {
	leader := r.node().lead("job")
	leader.expire()
	leader.awaitLost()
	again := leader.stand("another job")
	again.awaitError(distributed.ErrLeaseLost)
	r.node().lead("another job")
}
