package leasetest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// brokenSight is what a lease or a viewer shows, with a defect.
type brokenSight struct {
	sight
	*broken
	app   string
	lease *brokenLease // nil for a viewer

	began time.Time

	mu    sync.Mutex
	views []*distributed.View // that work, as they were asked for
	kept  *distributed.View   // updated in place
}

// viewing is View, and gets what the View that works has returned.
type viewing func(*brokenSight, *distributed.View, <-chan struct{}, error) (*distributed.View, <-chan struct{}, error)

func newBrokenSight(works sight, b *broken, app string, l *brokenLease) *brokenSight {
	return &brokenSight{sight: works, broken: b, app: app, lease: l, began: time.Now()}
}

func (s *brokenSight) View() (*distributed.View, <-chan struct{}, error) {
	view, outdated, err := s.sight.View()
	if err == nil {
		s.mu.Lock()
		s.views = append(s.views, view)
		s.mu.Unlock()
	}
	if s.defect.view != nil {
		return s.defect.view(s, view, outdated, err)
	}
	return view, outdated, err
}

func (s *brokenSight) Silence() map[string]time.Duration {
	silence := s.sight.Silence()
	if s.defect.silence != nil {
		s.defect.silence(s, silence)
	}
	return silence
}

// past returns the views that were asked for, without the last.
func (s *brokenSight) past() []*distributed.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views[:len(s.views)-1]
}

func (s *brokenSight) first() *distributed.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views[0]
}

// shows is a defect of what is shown: change gets a copy of each view.
func shows(change func(*brokenSight, *distributed.View)) viewing {
	return func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
		if err != nil {
			return nil, nil, err
		}
		v := *view
		v.Nodes, v.Jobs = slices.Clone(v.Nodes), slices.Clone(v.Jobs)
		for j := range v.Jobs {
			v.Jobs[j].Queue = slices.Clone(v.Jobs[j].Queue)
		}
		change(s, &v)
		return &v, outdated, nil
	}
}

// closedAfter closes a channel when outdated is closed, or after d.
func closedAfter(outdated <-chan struct{}, d time.Duration) <-chan struct{} {
	early := make(chan struct{})
	go func() {
		defer close(early)
		select {
		case <-outdated:
		case <-time.After(d):
		}
	}()
	return early
}

// closedUnlessEnded closes a channel when outdated is closed, unless that was
// because the lease has ended.
func (s *brokenSight) closedUnlessEnded(outdated <-chan struct{}) <-chan struct{} {
	c := make(chan struct{})
	go func() {
		<-outdated
		if _, _, err := s.sight.View(); err == nil {
			close(c)
		}
	}()
	return c
}

func (l *brokenLease) View() (*distributed.View, <-chan struct{}, error) { return l.shown.View() }

func (l *brokenLease) Silence() map[string]time.Duration { return l.shown.Silence() }

func (l *brokenLease) Announce(ctx context.Context, info distributed.NodeInfo) error {
	if l.defect.announce != nil {
		return l.defect.announce(ctx, l, info)
	}
	return l.announce(ctx, info)
}

// announce is Announce that works.
func (l *brokenLease) announce(ctx context.Context, info distributed.NodeInfo) error {
	return l.Lease.Announce(ctx, info)
}

// look returns what a viewer that works shows of app.
func (b *broken) look(app string) *distributed.View {
	provider := distributed.NewMemoryLeaseProvider(&b.hub)
	viewer, err := provider.OpenView(context.Background(), distributed.LeaseRequest{App: app, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return new(distributed.View)
	}
	defer viewer.Close()
	view, _, _ := viewer.View()
	return view
}

// announcement returns what others see of the lease.
func (l *brokenLease) announcement() (info distributed.NodeInfo) {
	for _, n := range l.look(l.app).Nodes {
		if n.Instance == l.instance {
			info = n.NodeInfo
		}
	}
	return info
}

// will returns what a node called instance has announced last, or leaves info.
func (b *broken) will(instance string, info *distributed.NodeInfo) (last distributed.NodeInfo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wills == nil {
		b.wills = map[string]distributed.NodeInfo{}
	}
	if info != nil {
		b.wills[instance] = *info
	}
	return b.wills[instance]
}

type brokenViewer struct {
	*brokenSight
	viewer distributed.Viewer
	closes int
}

func (b *broken) OpenView(ctx context.Context, req distributed.LeaseRequest) (distributed.Viewer, error) {
	works, err := distributed.NewMemoryLeaseProvider(&b.hub).OpenView(ctx, req)
	if err != nil {
		return nil, err
	}
	v := &brokenViewer{brokenSight: newBrokenSight(works, b, req.App, nil), viewer: works}
	b.viewers = append(b.viewers, v)
	if b.opened != nil {
		b.opened(ctx, v)
	}
	return v, nil
}

func (v *brokenViewer) Age() time.Duration {
	if v.defect.age != nil {
		return v.defect.age(v)
	}
	return v.viewer.Age()
}

func (v *brokenViewer) Close() error {
	v.closes++
	if v.defect.closeView != nil {
		return v.defect.closeView(v)
	}
	return v.viewer.Close()
}

// counts reports whether n is a node that announces one thing after the other:
// defects that are a matter of timing are kept to that.
func counts(n distributed.NodeView) bool { return n.Capacity > 0 && n.Version == "" }

var viewDefects = []defect{
	{
		name: "the first announcement stays", fails: []string{"Announce", "AnnounceJobs", "AnnounceContext", "ViewFollows", "ViewIsKept", "ViewEnds"}, says: "no view shows that node-1 has announced",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if l.announced.Swap(true) {
				return nil
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "an announcement is added to the one before", fails: []string{"Announce", "ViewIsKept"}, says: "no view shows that node-1 has announced",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if last := l.announcement(); info.Jobs != nil && last.Metadata != nil && info.Metadata == nil {
				info.Metadata = last.Metadata
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "only the node itself sees its announcement", fails: []string{
			"Announce", "AnnounceJobs", "AnnounceContext", "AnnouncementEnds", "ViewFollows", "ViewIsKept", "ViewerAndLease",
		}, says: "no view shows that node-1 has announced",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for i := range v.Nodes {
				if v.Nodes[i].ID != v.Self {
					v.Nodes[i].NodeInfo = distributed.NodeInfo{}
				}
			}
		}),
	},
	{
		name: "no jobs look like nil", fails: []string{"AnnounceJobs"}, says: `"jobs":[]`,
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if len(info.Jobs) == 0 {
				info.Jobs = nil
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "nil jobs leave those that were announced before", fails: []string{"AnnounceJobs", "AnnounceContext"}, says: `"jobs":null`,
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if info.Jobs == nil {
				info.Jobs = l.announcement().Jobs
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "what is barred is kept to itself", fails: []string{"AnnounceJobs"}, says: "no view shows that node-1 has announced",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			info.Barred = nil
			return l.announce(ctx, info)
		},
	},
	{
		name: "an announcement that was given up comes later", fails: []string{"AnnounceContext"}, says: "came after a later one",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if ctx.Err() != nil {
				time.AfterFunc(10*time.Millisecond, func() { _ = l.announce(context.Background(), info) })
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "Announce ignores its context", fails: []string{"AnnounceContext"}, says: "has not returned",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if ctx.Err() != nil {
				time.Sleep(time.Hour)
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "an announcement that was given up does not say why", fails: []string{"AnnounceContext"}, says: `Announce returned "not announced" when its context was done`,
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if ctx.Err() != nil {
				return errors.New("not announced")
			}
			return l.announce(ctx, info)
		},
	},
	{
		name: "an announcement is one of the instance", fails: []string{"AnnouncementEnds"}, says: "which has announced nothing",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			l.will(l.instance, &info)
			return l.announce(ctx, info)
		},
		acquired: func(ctx context.Context, l *brokenLease) { _ = l.announce(ctx, l.will(l.instance, nil)) },
	},
	{
		name: "a node stays when its lease has gone", fails: []string{
			"AnnouncementEnds", "ViewSelf", "ViewOfBurial", "Silence",
		}, says: "no view shows just the nodes [node-2 node-3]",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for _, old := range s.past() {
				for _, n := range old.Nodes {
					if !slices.Contains(idsOf(v), n.ID) {
						v.Nodes = append(v.Nodes, n)
					}
				}
			}
			slices.SortFunc(v.Nodes, func(a, b distributed.NodeView) int { return strings.Compare(a.ID, b.ID) })
		}),
	},
	{
		name: "nobody is told of a burial", fails: []string{"ViewOfBurial"}, says: "no view shows that just node-1 was buried",
		view: shows(func(_ *brokenSight, v *distributed.View) { v.Buried = nil }),
	},
	{
		name: "whoever has gone was buried", fails: []string{"ViewOfBurial"}, says: "no view shows that just node-1 was buried",
		view: shows(func(s *brokenSight, v *distributed.View) {
			v.Buried = map[string]string{}
			for _, old := range s.past() {
				for _, n := range old.Nodes {
					if !slices.Contains(idsOf(v), n.ID) {
						v.Buried[n.ID] = n.Instance
					}
				}
			}
		}),
	},
	{
		name: "the ID is the instance", fails: []string{"ViewSelf"}, says: "two leases have the same ID",
		view: shows(func(s *brokenSight, v *distributed.View) {
			instances := map[string]string{"": ""}
			for i, n := range v.Nodes {
				instances[n.ID], v.Nodes[i].ID = n.Instance, n.Instance
			}
			for _, j := range v.Jobs {
				for i, c := range j.Queue {
					j.Queue[i].Node = instances[c.Node]
				}
			}
			v.Self = instances[v.Self]
			buried := map[string]string{}
			for _, instance := range v.Buried {
				buried[instance] = instance
			}
			v.Buried = buried
			slices.SortFunc(v.Nodes, func(a, b distributed.NodeView) int { return strings.Compare(a.ID, b.ID) })
		}),
		silence: func(s *brokenSight, silence map[string]time.Duration) {
			view, _, _ := s.sight.View()
			for _, n := range view.Nodes {
				silence[n.Instance] = silence[n.ID]
				delete(silence, n.ID)
			}
		},
	},
	{
		name: "Self is empty", fails: []string{"ViewSelf"}, says: "Self is no node of the view",
		view: shows(func(s *brokenSight, v *distributed.View) { v.Self = "" }),
	},
	{
		name: "Self is always the first", fails: []string{"ViewSelf"}, says: "Self is that of another lease",
		view: shows(func(s *brokenSight, v *distributed.View) {
			if v.Self != "" && len(v.Nodes) > 0 {
				v.Self = v.Nodes[0].ID
			}
		}),
	},
	{
		name: "what changes before the channel is there is missed", fails: []string{"ViewFollows"}, says: "no view shows the last announcement",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if err == nil && slices.ContainsFunc(view.Nodes, counts) {
				time.Sleep(time.Second)
				_, outdated, err = s.sight.View()
			}
			return view, outdated, err
		},
	},
	{
		name: "now and then a view is an old one", fails: []string{"ViewFollows"}, says: "and one before it showed",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if err == nil && len(s.past())%4 == 3 && slices.ContainsFunc(view.Nodes, counts) {
				return s.past()[len(s.past())-3], outdated, nil
			}
			return view, outdated, err
		},
	},
	{
		name: "each heartbeat makes a view", fails: []string{"ViewRests"}, says: "is outdated although nothing has changed",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			return view, closedAfter(outdated, brokenTTL/4), err
		},
	},
	{
		name: "a view is updated in place", fails: []string{"ViewIsKept"}, says: "was changed after it was returned",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if err != nil {
				return view, outdated, err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.kept == nil {
				s.kept = new(distributed.View)
			}
			*s.kept = *view
			return s.kept, outdated, nil
		},
	},
	{
		name: "nodes are in no order", fails: []string{"ViewIsSorted"}, says: "the nodes are not sorted by ID",
		view: shows(func(s *brokenSight, v *distributed.View) { slices.Reverse(v.Nodes) }),
	},
	{
		name: "jobs are in no order", fails: []string{"ViewIsSorted"}, says: "the jobs are not sorted by name",
		view: shows(func(s *brokenSight, v *distributed.View) { slices.Reverse(v.Jobs) }),
	},
	{
		name: "a view shows the nodes of all apps", fails: []string{"ViewOfApp"}, says: "there is one node and one candidate in the app",
		view: shows(func(s *brokenSight, v *distributed.View) {
			v.Nodes = append(v.Nodes, s.look(s.app+"-other").Nodes...)
		}),
	},
	{
		name: "a view shows the candidates of all apps", fails: []string{"ViewOfApp"}, says: "there is one node and one candidate in the app",
		view: shows(func(s *brokenSight, v *distributed.View) {
			other := s.look(s.app + "-other")
			for j := range v.Jobs {
				v.Jobs[j].Queue = append(v.Jobs[j].Queue, jobIn(other, v.Jobs[j].Name).Queue...)
			}
		}),
	},
	{
		name: "a view shows the jobs of all apps", fails: []string{"ViewOfApp"}, says: "there is one node and one candidate in the app",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for _, job := range s.look(s.app + "-other").Jobs {
				if jobIn(v, job.Name).Name == "" {
					v.Jobs = append(v.Jobs, job)
				}
			}
		}),
	},
	{
		name: "candidates are in the order of their nodes", fails: []string{"ViewOfQueue"}, says: "came in place 1, and the queue is",
		view: shows(func(s *brokenSight, v *distributed.View) {
			instances := map[string]string{}
			for _, n := range v.Nodes {
				instances[n.ID] = n.Instance
			}
			for _, j := range v.Jobs {
				slices.SortFunc(j.Queue, func(a, b distributed.CandidateView) int {
					return strings.Compare(instances[a.Node], instances[b.Node])
				})
			}
		}),
	},
	{
		name: "the token shown is the place", fails: []string{"ViewOfQueue", "ViewOfLoss", "Viewer"}, says: "and its place was shown with token",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for _, j := range v.Jobs {
				for i := range j.Queue {
					j.Queue[i].Token = int64(i)
				}
			}
		}),
	},
	{
		name: "candidates who leave are shown", fails: []string{"ViewWithoutLeavers", "ViewIsKept", "ViewOfQueue", "ViewOfLoss"}, says: "no view shows the queue [node-1 node-3 node-4]",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for _, old := range s.past() {
				for j := range v.Jobs {
					for _, c := range jobIn(old, v.Jobs[j].Name).Queue {
						if !slices.Contains(queueOf(v.Jobs[j]), c.Node) {
							v.Jobs[j].Queue = append(v.Jobs[j].Queue, c)
						}
					}
				}
			}
		}),
	},
	{
		name: "a job that nobody wants is shown", fails: []string{"ViewWithoutLeavers"}, says: "that nobody leads or waits for any job",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for _, old := range s.past() {
				for _, job := range old.Jobs {
					if jobIn(v, job.Name).Name == "" {
						v.Jobs = append(v.Jobs, distributed.JobView{Name: job.Name})
					}
				}
			}
		}),
	},
	{
		name: "the first always leads", fails: []string{"ViewOfLoss"}, says: "which does not",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for j := range v.Jobs {
				v.Jobs[j].Led = true
			}
		}),
	},
	{
		name: "nobody ever leads", fails: []string{"ViewOfLoss", "Viewer", "ViewerContext", "ViewerClose"}, says: "no view shows that the first leads",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for j := range v.Jobs {
				v.Jobs[j].Led = false
			}
		}),
	},
	{
		name: "who has lost the lead is shown while others wait for that", fails: []string{"ViewOfLoss"}, says: "has lost the lead, and is still in the queue",
		view: shows(func(s *brokenSight, v *distributed.View) {
			for j := range v.Jobs {
				for _, old := range s.past() {
					if was := jobIn(old, v.Jobs[j].Name); was.Led && !v.Jobs[j].Led {
						v.Jobs[j].Queue = was.Queue
					}
				}
			}
		}),
	},
	{
		name: "View goes on when the lease has ended", fails: []string{"ViewEnds"}, says: "is not outdated",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if err != nil && s.lease != nil {
				return s.first(), nil, nil
			}
			return view, outdated, err
		},
	},
	{
		name: "the end of the lease is no other view", fails: []string{"ViewEnds"}, says: "is not outdated",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if s.lease != nil && err == nil {
				outdated = s.closedUnlessEnded(outdated)
			}
			return view, outdated, err
		},
	},
	{
		name: "View returns another error when the lease has ended", fails: []string{"ViewEnds"}, says: `View of node-1 returned "gone"`,
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if s.lease != nil && err != nil {
				err = errors.New("gone")
			}
			return view, outdated, err
		},
	},
	{
		name: "Announce ignores the end of the lease", fails: []string{"ViewEnds"}, says: "Announce of node-1 returned <nil> when its lease had ended",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			if err := l.announce(ctx, info); !errors.Is(err, distributed.ErrLeaseLost) {
				return err
			}
			return nil
		},
	},
	{
		name: "Announce notices first that the lease has ended", fails: []string{"ViewEnds"}, says: "returned compare failed when its lease was taken away",
		announce: func(ctx context.Context, l *brokenLease, info distributed.NodeInfo) error {
			err := l.announce(ctx, info)
			if errors.Is(err, distributed.ErrLeaseLost) && l.number == 3 && !l.announced.Swap(true) {
				return errors.New("compare failed")
			}
			return err
		},
	},
	{
		name: "a node is silent since it came", fails: []string{"Silence", "Viewer"}, says: "Silence of a node that is well",
		silence: func(s *brokenSight, silence map[string]time.Duration) {
			for id := range silence {
				silence[id] = time.Since(s.began)
			}
		},
	},
	{
		name: "the own node is not listened to", fails: []string{"Silence"}, says: "for the nodes",
		silence: func(s *brokenSight, silence map[string]time.Duration) { delete(silence, s.first().Self) },
	},
	{
		name: "a viewer shows what was there when it was opened", fails: []string{"Viewer", "ViewerAndLease", "ViewerContext", "ViewerClose"}, says: "no view shows both nodes and the queue",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if s.lease == nil && err == nil {
				return s.first(), outdated, nil
			}
			return view, outdated, err
		},
		opened: func(_ context.Context, v *brokenViewer) { _, _, _ = v.View() },
	},
	{
		name: "a viewer is a node", fails: []string{"Viewer", "ViewerAndLease", "ViewerClose"}, says: "Self of a viewer, which is no node",
		opened: func(ctx context.Context, v *brokenViewer) {
			lease, err := v.AcquireLease(ctx, distributed.LeaseRequest{App: v.app, Instance: "viewer", Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				v.sight = lease.(*brokenLease).Lease
			}
		},
	},
	{
		name: "a viewer shows nothing as long as there is nothing", fails: []string{"Viewer"}, may: []string{"ViewerContext", "ViewerClose"}, says: "View returned no error and no view",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if err == nil && len(view.Nodes) == 0 {
				view = nil
			}
			return view, outdated, err
		},
	},
	{
		name: "a viewer does not see announcements", fails: []string{"ViewerAndLease"}, says: "the same as a lease",
		view: shows(func(s *brokenSight, v *distributed.View) {
			if s.lease == nil {
				for i := range v.Nodes {
					v.Nodes[i].NodeInfo = distributed.NodeInfo{}
				}
			}
		}),
	},
	{
		name: "a viewer ends with the context of OpenView", fails: []string{"ViewerContext"}, says: "View failed",
		opened: func(ctx context.Context, v *brokenViewer) {
			context.AfterFunc(ctx, func() { _ = v.viewer.Close() })
		},
	},
	{
		name: "the age is that of the viewer", fails: []string{"ViewerAge"}, says: "with a node that renews its lease",
		age: func(v *brokenViewer) time.Duration { return time.Since(v.began) },
	},
	{
		name: "View goes on when the viewer is closed", fails: []string{"ViewerClose"}, says: "is not outdated",
		closeView: func(v *brokenViewer) error { return nil },
	},
	{
		name: "View returns another error when the viewer is closed", fails: []string{"ViewerClose"}, says: "and not ErrClosed",
		view: func(s *brokenSight, view *distributed.View, outdated <-chan struct{}, err error) (*distributed.View, <-chan struct{}, error) {
			if s.lease == nil && err != nil {
				err = distributed.ErrLeaseLost
			}
			return view, outdated, err
		},
	},
	{
		name: "the second Close of a viewer fails", fails: []string{"ViewerClose"}, says: "the second Close returned closed already",
		closeView: func(v *brokenViewer) error {
			if v.closes > 1 {
				return errors.New("closed already")
			}
			return v.viewer.Close()
		},
	},
}
