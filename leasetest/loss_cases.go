package leasetest

import (
	"context"
	"fmt"

	"github.com/b2552be4/distributed"
)

func expiry(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	leader.expire()
	leader.awaitLost()
	next.awaitLead()
	next.requireLeading("after it came to lead")
}

func expiryOfManyElections(r *run) {
	a := r.node()
	var led []*candidate
	for i := range 10 {
		led = append(led, a.lead(fmt.Sprintf("job-%d", i)))
	}
	a.expire()
	for _, c := range led {
		c.awaitLost()
		r.node().lead(c.name)
	}
}

// removedWhileLeading leaves open whether the node may stand again under its lease,
// or that has ended with the candidacy: the contract does not say.
func removedWhileLeading(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	r.store.RemoveCandidate(r.app, "job", leader.instance)
	leader.awaitLost()
	next.awaitLead()
	_ = leader.resignWith(context.Background())
	again := leader.stand("job")
	r.settle()
	next.requireLeading("after the one that had lost it resigned")
	if again.returned() {
		again.awaitError(distributed.ErrLeaseLost)
		return
	}
	next.resign()
	again.awaitLead()
}

func lostOnce(r *run) {
	leader := r.node().lead("job")
	r.store.RemoveCandidate(r.app, "job", leader.instance)
	leader.awaitLost()
	leader.expire()
	leader.mustClose()
	r.node().lead("job")
	r.settle()
	losses, _ := leader.loss()
	r.require(losses == 1, "lost was called %d times on %v", losses, leader)
}

func lostWithoutLocks(r *run) {
	a := r.node()
	leader := a.prepare("job")
	called := make(chan struct{})
	leader.onLost = func() {
		leader.election.Valid()
		a.lease.Election("another job").Valid()
		close(called)
	}
	leader.campaign().awaitLead()
	r.start(func() { r.store.Expire(a.app, a.instance) })
	r.await(called, "lost, called on %v, which calls Valid and Election, has not returned", leader)
}

func resignAfterLoss(r *run) {
	leader := r.node().lead("job")
	next := r.node().queue("job", 2)
	last := r.node().queue("job", 3)
	leader.expire()
	leader.awaitLost()
	next.awaitLead()
	_ = leader.resignWith(context.Background()) // there is nothing left that could fail, or matter
	r.settle()
	next.requireLeading("after the one that had lost it resigned")
	last.requireWaiting()
	next.resign()
	last.awaitLead()
}
