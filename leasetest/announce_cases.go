package leasetest

import (
	"context"
	"errors"
	"time"

	"github.com/b2552be4/distributed"
)

// Two announcements that differ in everything.
var (
	started = time.Date(2026, time.March, 1, 12, 30, 0, int(250*time.Millisecond), time.UTC)

	blue = distributed.NodeInfo{
		Version: "v1.2.3", Started: started, Capacity: 7,
		Labels:   map[string]string{"zone": "eu-1", "disk": ""},
		Metadata: map[string]string{"address": "10.0.0.1:80"},
		Jobs: []distributed.JobInfo{
			{Name: "a", Weight: 1},
			{Name: "a/b", Weight: 20, Prefer: []string{"zone=eu-1", "disk"}, Avoid: []string{"zone=eu-2"}},
			{Name: "ä b", Weight: 1_000_000},
		},
	}
	green = distributed.NodeInfo{
		Version: "v1.2.4", Started: started.Add(time.Hour), Draining: true,
		Labels: map[string]string{"arch": "arm64"},
		Jobs:   []distributed.JobInfo{{Name: "b", Weight: 3}},
	}
)

func announce(r *run) {
	a, b := r.member(), r.member()
	for _, info := range []distributed.NodeInfo{blue, green, blue} {
		a.announce(info)
		r.awaitInfo(a, a, info)
		r.awaitInfo(b, a, info)
	}
	r.awaitInfo(a, b, distributed.NodeInfo{})
}

func announceJobs(r *run) {
	a, b := r.member(), r.member()
	none := []distributed.JobInfo{}
	for _, jobs := range [][]distributed.JobInfo{none, nil, blue.Jobs, none, blue.Jobs, nil, none} {
		info := distributed.NodeInfo{Version: "v1", Jobs: jobs}
		a.announce(info)
		r.awaitInfo(b, a, info)
	}
	for _, barred := range [][]distributed.JobInfo{blue.Jobs, nil, green.Jobs} {
		info := distributed.NodeInfo{Version: "v1", Barred: barred}
		a.announce(info)
		r.awaitInfo(b, a, info)
	}
}

func announceContext(r *run) {
	a, b := r.member(), r.member()
	a.announce(green)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := a.announceWith(ctx, blue)
	r.require(err == nil || errors.Is(err, context.Canceled), "Announce returned %q when its context was done, and not its error", err)
	last := distributed.NodeInfo{Version: "v2"}
	a.announce(last)
	r.awaitInfo(b, a, last)
	r.settle()
	view, _ := r.view(b)
	r.require(announces(view, a.id, last), "an announcement whose context was done came after a later one: %s", picture(view))
}

func announcementEnds(r *run) {
	closed, expired, other := r.member(), r.member(), r.member()
	closed.announce(blue)
	expired.announce(green)
	r.awaitInfo(other, closed, blue)
	r.awaitInfo(other, expired, green)

	closed.mustClose()
	r.awaitNodes(other, expired, other)
	expired.expire()
	r.awaitNodes(other, other)
	again := r.memberOf(r.nodeOf(r.app, closed.instance))
	r.settle()
	view := r.awaitView(other, "the node with another lease", func(v *distributed.View) bool { return len(v.Nodes) == 2 })
	again.id = idOf(view, again.instance)
	r.require(announces(view, again.id, distributed.NodeInfo{}), "a node with another lease, which has announced nothing, is shown with an announcement: %s", picture(view))
}

// announceToTheEnd announces until that fails.
func (m *member) announceToTheEnd() (err error) {
	for deadline := time.Now().Add(m.patience); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		err = m.announceWith(context.Background(), blue)
	}
	return err
}
