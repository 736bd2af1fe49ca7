package leasetest

import "context"

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
