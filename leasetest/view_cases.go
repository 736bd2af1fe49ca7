package leasetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// awaitNodes waits until of shows just these nodes.
func (r *run) awaitNodes(of sight, nodes ...*member) {
	var ids, instances []string
	for _, m := range nodes {
		ids, instances = append(ids, m.id), append(instances, m.instance)
	}
	slices.Sort(ids)
	r.awaitView(of, fmt.Sprintf("just the nodes %v", instances), func(v *distributed.View) bool {
		return slices.Equal(slices.Sorted(slices.Values(idsOf(v))), ids)
	})
}

// viewOfBurial takes away the lease of a node that does not drain, as it never knows.
func viewOfBurial(r *run) {
	silent, closed, other := r.member(), r.member(), r.member()
	silent.lead("job")
	silent.expire()
	r.awaitBuried(other, silent)
	closed.mustClose()
	r.awaitNodes(other, other)
	for _, of := range []sight{other, r.member()} {
		r.awaitBuried(of, silent)
	}
}

// awaitBuried waits until of shows that just this node was buried.
func (r *run) awaitBuried(of sight, node *member) {
	r.awaitView(of, "that just "+node.instance+" was buried", func(v *distributed.View) bool {
		return maps.Equal(v.Buried, map[string]string{node.id: node.instance})
	})
}

func viewSelf(r *run) {
	one := r.memberOf(r.node())
	two := r.memberOf(r.nodeOf(r.app, one.instance))
	selves := map[string]bool{}
	see := func(m *member) {
		view := r.awaitView(m, "two nodes", func(v *distributed.View) bool { return len(v.Nodes) == 2 })
		r.require(slices.Contains(idsOf(view), view.Self), "Self is no node of the view: %s", picture(view))
		r.require(!selves[view.Self], "Self is that of another lease: %s", picture(view))
		r.require(view.Nodes[0].ID != view.Nodes[1].ID, "two leases have the same ID: %s", picture(view))
		for _, n := range view.Nodes {
			r.require(n.Instance == one.instance, "the instance is %q, and not %q", n.Instance, one.instance)
		}
		selves[view.Self] = true
	}
	see(one)
	see(two)
	two.mustClose()
	r.awaitView(one, "one node", func(v *distributed.View) bool { return len(v.Nodes) == 1 })
	see(r.memberOf(r.nodeOf(r.app, one.instance)))
}

func viewFollows(r *run) {
	const changes = 50
	a, b := r.member(), r.member()
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	var failed error
	done := r.start(func() {
		for i := 1; i <= changes && failed == nil; i++ {
			time.Sleep(time.Duration(i%3) * time.Millisecond) // some come at once
			failed = a.Announce(ctx, distributed.NodeInfo{Capacity: i})
		}
	})
	last := 0
	r.awaitView(b, "the last announcement", func(v *distributed.View) bool {
		for _, n := range v.Nodes {
			if n.ID == a.id {
				r.require(n.Capacity >= last, "a view shows announcement %d, and one before it showed %d", n.Capacity, last)
				last = n.Capacity
			}
		}
		return last == changes
	})
	r.await(done, "Announce of %s has not returned", a.instance)
	r.require(failed == nil, "Announce of %s failed: %v", a.instance, failed)
}

func viewRests(r *run) {
	a, b := r.member(), r.member()
	a.lead("job")
	r.awaitQueue(b, "job", a)
	r.viewWithTokens(b)
	view, outdated := r.view(b)
	time.Sleep(r.store.TTL)
	select {
	case <-outdated:
		again, _ := r.view(b)
		r.require(false, "a view is outdated although nothing has changed: %s became %s", picture(view), picture(again))
	default:
	}
}

func viewIsKept(r *run) {
	a, b := r.member(), r.member()
	a.announce(blue)
	leader := a.lead("job")
	r.awaitInfo(b, a, blue)
	r.awaitQueue(b, "job", a)
	view, _ := r.view(b)
	before := picture(view)

	b.lead("another job")
	b.queue("job", 2)
	a.announce(green)
	leader.resign()
	r.awaitInfo(b, a, green)
	r.awaitQueue(b, "job", b)
	r.require(picture(view) == before, "%s was changed after it was returned, to %s", before, picture(view))
}

func viewIsSorted(r *run) {
	jobs := []string{"b", "a/b", "ä", "a", "B", "a b"}
	var members []*member
	for _, job := range jobs {
		m := r.member()
		m.lead(job)
		members = append(members, m)
	}
	view := r.awaitView(members[0], "all nodes and jobs", func(v *distributed.View) bool {
		return len(v.Nodes) == len(members) && len(v.Jobs) == len(jobs)
	})
	r.require(slices.IsSorted(idsOf(view)), "the nodes are not sorted by ID: %s", picture(view.Nodes))
	byName := func(a, b distributed.JobView) int { return strings.Compare(a.Name, b.Name) }
	r.require(slices.IsSortedFunc(view.Jobs, byName), "the jobs are not sorted by name: %s", picture(view.Jobs))
}

func viewOfApp(r *run) {
	other := r.nodeOf(r.app+"-other", r.instance())
	other.lead("job")
	other.lead("another job")
	a := r.member()
	a.lead("job")
	view := r.awaitView(a, "its own candidate", func(v *distributed.View) bool {
		return slices.Contains(queueOf(jobIn(v, "job")), a.id)
	})
	r.require(len(view.Nodes) == 1 && len(view.Jobs) == 1 && len(view.Jobs[0].Queue) == 1,
		"there is one node and one candidate in the app, and the view is %s", picture(view))
}

func viewOfQueue(r *run) {
	first, second, third, other := r.member(), r.member(), r.member(), r.member()
	order := []*candidate{second.lead("job"), third.queue("job", 2), first.queue("job", 3)}
	members := []*member{second, third, first}
	r.awaitView(other, "three candidates", func(v *distributed.View) bool { return len(jobIn(v, "job").Queue) == 3 })
	view := r.viewWithTokens(other)
	shown := jobIn(view, "job").Queue
	for i, c := range order {
		r.require(shown[i].Node == members[i].id, "%v came in place %d, and the queue is %s", c, i+1, picture(shown))
		c.awaitLead()
		r.require(shown[i].Token == c.token, "%v leads with token %d, and its place was shown with token %d", c, c.token, shown[i].Token)
		now := r.awaitQueue(other, "job", members[i:]...)
		r.require(now.Queue[0].Token == c.token, "%v leads with token %d, and is shown with token %d", c, c.token, now.Queue[0].Token)
		c.resign()
	}
}

// viewWithTokens returns a view in which who has come by now has the right token.
func (r *run) viewWithTokens(of sight) *distributed.View {
	time.Sleep(r.store.TTL / 2)
	view, _ := r.view(of)
	return view
}

func viewWithoutLeavers(r *run) {
	a, b, c, d, other := r.member(), r.member(), r.member(), r.member(), r.member()
	leader, cancelled := a.lead("job"), b.queue("job", 2)
	c.queue("job", 3)
	next := d.queue("job", 4)
	r.awaitQueue(other, "job", a, b, c, d)

	cancelled.cancel()
	r.awaitQueue(other, "job", a, c, d)
	c.mustClose()
	r.awaitQueue(other, "job", a, d)
	leader.resign()
	next.awaitLead()
	r.awaitQueue(other, "job", d)
	next.resign()
	r.awaitView(other, "that nobody leads or waits for any job", func(v *distributed.View) bool { return len(v.Jobs) == 0 })
}

// viewOfLoss follows the queue from one leader over nobody, if the view shows
// that, to the next.
func viewOfLoss(r *run) {
	a, b, other := r.member(), r.member(), r.member()
	leader := a.lead("job")
	next := b.queue("job", 2)
	r.awaitView(other, "that the first leads", func(v *distributed.View) bool {
		job := jobIn(v, "job")
		return job.Led && slices.Equal(queueOf(job), []string{a.id, b.id})
	})
	a.expire()
	leader.awaitLost()
	view := r.awaitView(other, "that the next leads", func(v *distributed.View) bool {
		job := jobIn(v, "job")
		r.require(job.Led || !slices.Contains(queueOf(job), a.id), "%v has lost the lead, and is still in the queue: %s", leader, picture(v))
		return job.Led && slices.Equal(queueOf(job), []string{b.id})
	})
	// The view may be ahead of what b knows, but not by the time that b waits for a.
	timer := time.NewTimer(r.store.TTL / 2)
	defer timer.Stop()
	select {
	case <-next.ended:
	case <-timer.C:
		r.require(next.returned(), "the view says that %v leads, which does not: %s", next, picture(view))
	}
	next.awaitLead()
	token := jobIn(view, "job").Queue[0].Token
	r.require(token == next.token, "%v leads with token %d, and is shown with token %d", next, next.token, token)
}

func viewEnds(r *run) {
	closed, expired, announcing := r.member(), r.member(), r.member()
	ended := func(m *member) {
		m.awaitEnd()
		err := m.announceWith(context.Background(), blue)
		r.require(errors.Is(err, distributed.ErrLeaseLost), "Announce of %s returned %v when its lease had ended, and not ErrLeaseLost", m.instance, err)
	}
	r.whileSeen(closed, closed.mustClose)
	ended(closed)
	r.whileSeen(expired, expired.expire)
	ended(expired)
	announcing.expire()
	err := announcing.announceToTheEnd()
	r.require(errors.Is(err, distributed.ErrLeaseLost), "Announce of %s returned %v when its lease was taken away, and not ErrLeaseLost", announcing.instance, err)
	ended(announcing)
}

// whileSeen does what ends the lease of m while somebody has a view of it.
func (r *run) whileSeen(m *member, end func()) {
	r.settle()
	view, outdated := r.view(m)
	end()
	r.await(outdated, "the lease of %s has ended, but its last view, %s, is not outdated", m.instance, picture(view))
}

func silence(r *run) {
	a, b, closed := r.member(), r.member(), r.member()
	r.awaitNodes(a, a, b, closed)
	closed.mustClose()
	r.awaitNodes(a, a, b)
	r.watchSilence(a)
}

// watchSilence looks at an app that is well, and in which nothing changes, for
// longer than any node may be silent.
func (r *run) watchSilence(of sight) {
	for end := time.Now().Add(2 * r.store.TTL); time.Now().Before(end); time.Sleep(r.store.TTL / 8) {
		view, _ := r.view(of)
		silence := of.Silence()
		r.require(len(silence) == len(view.Nodes), "Silence is %v for the nodes %s", silence, picture(view.Nodes))
		for _, n := range view.Nodes {
			d, ok := silence[n.ID]
			r.require(ok && d >= 0 && d < r.store.TTL, "Silence of a node that is well, %s, is %v (known: %v) with a TTL of %v", picture(n), d, ok, r.store.TTL)
		}
	}
}
