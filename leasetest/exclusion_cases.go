package leasetest

import "time"

func oneLeader(r *run) {
	const nodes, terms = 5, 15
	for range nodes {
		r.node().stand("job")
	}
	for term := range terms {
		leader := r.awaitTerm(term + 1)
		r.settle()
		leader.resign()
		leader.stand("job")
	}
}

func firstComeFirstServed(r *run) {
	order := []*candidate{r.node().lead("job")}
	for place := 2; place <= 4; place++ {
		order = append(order, r.node().queue("job", place))
	}
	for i, next := range order {
		leader := r.awaitTerm(i + 1)
		r.require(leader == next, "%v came before %v, which leads now", next, leader)
		leader.resign()
	}
}

func tokensRise(r *run) {
	a, b := r.node(), r.node()
	var last *candidate
	rises := func(c *candidate) *candidate {
		c.awaitLead()
		if last != nil {
			r.require(c.token > last.token, "the token of %v is %d, that of %v before it was %d", c, c.token, last, last.token)
		}
		last = c
		return c
	}
	rises(a.lead("job")).resign()
	rises(a.lead("job")).resign()
	rises(b.lead("job")).resign()
	rises(a.lead("job"))
	successor := b.queue("job", 2)
	a.expire()
	rises(successor)
	b.mustClose()
	rises(r.node().lead("job"))
}

func renewal(r *run) {
	leader := r.node().lead("job")
	time.Sleep(2 * r.store.TTL)
	leader.requireLeading("two TTLs after it was won")
}

func manyElections(r *run) {
	a, b := r.node(), r.node()
	first, second := a.lead("first"), a.lead("second")
	waiting := b.queue("first", 2)
	foreign := b.lead("third")
	third := a.queue("third", 2)

	first.resign()
	waiting.awaitLead()
	second.requireLeading("after the same lease resigned another election")
	third.requireWaiting()
	foreign.resign()
	third.awaitLead()
	second.requireLeading("after the same lease won another election")
}

func manyApps(r *run) {
	here := r.node().lead("job")
	there := r.nodeOf(r.app+"-other", r.instance()).stand("job")
	there.awaitLead()
	here.requireLeading("after a node of another app won an election of the same name")
}

func sameInstance(r *run) {
	one := r.node()
	first := one.lead("job")
	second := r.nodeOf(r.app, one.instance).queue("job", 2)
	first.resign()
	second.awaitLead()
}
