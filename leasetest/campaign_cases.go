package leasetest

import (
	"context"
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
	leader := r.node().lead("job")
	waiting := r.node().queue("job", 2)
	before := r.store.Calls()
	time.Sleep(r.store.TTL)
	calls := r.store.Calls() - before
	r.require(calls == 0, "%d calls were made while a campaign waited for %v", calls, r.store.TTL)
	leader.resign()
	waiting.awaitLead()
}

// deletedWhileWaiting leaves open whether the campaign goes on, at the end of
// the queue, or gives up, with its lease: the contract does not say.
func deletedWhileWaiting(r *run) {
	leader := r.node().lead("job")
	deleted := r.node().queue("job", 2)
	next := r.node().queue("job", 3)

	r.store.DeleteCandidate(r.app, "job", deleted.instance)
	r.settle()
	leader.requireLeading("after another candidate was removed")
	leader.resign()
	next.awaitLead()
	next.resign()
	r.await(deleted.ended, "Campaign of %v, which was removed from the store, has not returned", deleted)
	if deleted.err != nil {
		deleted.awaitError(distributed.ErrLeaseLost)
		return
	}
	deleted.requireLeading("after it came to lead")
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
