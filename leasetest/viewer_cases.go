package leasetest

import (
	"errors"
	"slices"
	"time"

	"github.com/b2552be4/distributed"
)

func viewer(r *run) {
	v := r.viewer()
	view, _ := r.view(v)
	r.require(view.Self == "", "Self of a viewer, which is no node, is %q", view.Self)
	r.require(len(view.Nodes)+len(view.Jobs) == 0, "the app has no node, and the view is %s", picture(view))

	a, b := r.node(), r.node()
	leader := a.lead("job")
	b.queue("job", 2)
	r.awaitView(v, "both nodes and the queue", func(v *distributed.View) bool {
		job := jobIn(v, "job")
		return len(v.Nodes) == 2 && job.Led && slices.Equal(queueOf(job), []string{idOf(v, a.instance), idOf(v, b.instance)})
	})
	view = r.viewWithTokens(v)
	token := view.Jobs[0].Queue[0].Token
	r.require(token == leader.token, "%v leads with token %d, and is shown with token %d", leader, leader.token, token)
	late, _ := r.view(r.viewer())
	r.require(picture(late) == picture(view), "a viewer that was opened later shows %s, and not %s", picture(late), picture(view))
	r.watchSilence(v)
}

// viewerAndLease compares what a viewer shows with what a lease does.
func viewerAndLease(r *run) {
	v := r.viewer()
	a, b := r.member(), r.member()
	a.announce(blue)
	a.lead("job")
	b.lead("another job")
	b.announce(green)
	r.awaitInfo(a, b, green)
	r.awaitQueue(a, "job", a)
	r.awaitQueue(a, "another job", b)
	view := r.viewWithTokens(a)
	same := *view
	same.Self = ""
	r.awaitView(v, "the same as a lease: "+picture(same), func(v *distributed.View) bool { return picture(v) == picture(same) })
}

func viewerContext(r *run) {
	v := r.viewer()
	v.opened()
	r.settle()
	r.node().lead("job")
	r.awaitView(v, "a leader that came after the context of OpenView was done", func(v *distributed.View) bool { return jobIn(v, "job").Led })
}

func viewerAge(r *run) {
	v := r.viewer()
	r.member()
	for end := time.Now().Add(2 * r.store.TTL); time.Now().Before(end); time.Sleep(r.store.TTL / 8) {
		age := v.Age()
		r.require(age >= 0 && age < r.store.TTL, "Age is %v with a node that renews its lease, whose TTL is %v", age, r.store.TTL)
	}
}

func viewerClose(r *run) {
	v := r.viewer()
	r.node().lead("job")
	r.awaitView(v, "the leader", func(v *distributed.View) bool { return jobIn(v, "job").Led })
	r.settle()
	_, outdated := r.view(v)
	err := v.close()
	r.require(err == nil, "Close failed: %v", err)
	r.await(outdated, "the viewer is closed, but its last view is not outdated")
	_, _, err = v.View()
	r.require(errors.Is(err, distributed.ErrClosed), "View of a viewer that is closed returned %v, and not ErrClosed", err)
	err = v.close()
	r.require(err == nil, "the second Close returned %v", err)
}
