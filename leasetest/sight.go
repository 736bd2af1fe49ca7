package leasetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/b2552be4/distributed"
)

// sight is what shows an app: a Lease or a Viewer.
type sight interface {
	View() (*distributed.View, <-chan struct{}, error)
	Silence() map[string]time.Duration
}

// member is a node that others see.
type member struct {
	*node
	distributed.Lease
	id string
}

// member returns one more node of the case's app, once it sees itself.
func (r *run) member() *member {
	m := r.memberOf(r.node())
	view := r.awaitView(m, "its own node", func(v *distributed.View) bool { return idOf(v, m.instance) != "" })
	m.id = idOf(view, m.instance)
	return m
}

func (r *run) memberOf(n *node) *member { return &member{node: n, Lease: n.lease} }

// idOf knows a node by its instance, of which there must be one.
func idOf(v *distributed.View, instance string) (id string) {
	for _, n := range v.Nodes {
		if n.Instance == instance {
			id = n.ID
		}
	}
	return id
}

// announce tells the others about m.
func (m *member) announce(info distributed.NodeInfo) {
	err := m.announceWith(context.Background(), info)
	m.require(err == nil, "Announce of %s failed: %v", m.instance, err)
}

func (m *member) announceWith(ctx context.Context, info distributed.NodeInfo) (err error) {
	m.returns(func() { err = m.Announce(ctx, info) }, "Announce of %s has not returned", m.instance)
	return err
}

// onlooker is a Viewer that a case has opened.
type onlooker struct {
	*run
	distributed.Viewer
	opened context.CancelFunc // ends the context of OpenView
}

// viewer opens a view of the case's app.
func (r *run) viewer() *onlooker {
	provider := r.store.Provider()
	ctx, opened := context.WithTimeout(context.Background(), r.patience)
	v, err := provider.OpenView(ctx, distributed.LeaseRequest{App: r.app, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		opened()
		r.require(false, "OpenView failed: %v", err)
	}
	o := &onlooker{run: r, Viewer: v, opened: opened}
	r.viewers = append(r.viewers, o)
	return o
}

func (o *onlooker) close() (err error) {
	o.returns(func() { err = o.Close() }, "Close of a viewer has not returned")
	return err
}

// view returns what of shows now.
func (r *run) view(of sight) (*distributed.View, <-chan struct{}) {
	view, outdated, err := of.View()
	r.require(err == nil, "View failed: %v", err)
	r.require(view != nil, "View returned no error and no view")
	return view, outdated
}

// awaitView looks at each view until shows says that it shows what is awaited.
// It looks again only when the last view is outdated, and not at once: so that
// what comes in between must not be lost, and a channel that is closed for
// nothing keeps it from spinning.
func (r *run) awaitView(of sight, what string, shows func(*distributed.View) bool) *distributed.View {
	deadline := time.Now().Add(r.patience)
	for {
		view, outdated := r.view(of)
		if shows(view) {
			return view
		}
		ok := time.Now().Before(deadline) && r.closes(outdated)
		r.require(ok, "no view shows %s after %v; the last one is %s", what, r.patience, picture(view))
		time.Sleep(time.Millisecond)
	}
}

// awaitEnd looks at each view until the lease of m has ended.
func (m *member) awaitEnd() {
	for deadline := time.Now().Add(m.patience); ; time.Sleep(time.Millisecond) {
		_, outdated, err := m.View()
		if err != nil {
			m.require(errors.Is(err, distributed.ErrLeaseLost), "View of %s returned %q when its lease had ended, and not ErrLeaseLost", m.instance, err)
			return
		}
		ok := time.Now().Before(deadline) && m.closes(outdated)
		m.require(ok, "the lease of %s has ended, but its last view is not outdated after %v", m.instance, m.patience)
	}
}

// awaitInfo waits until of shows that whose has announced info.
func (r *run) awaitInfo(of sight, whose *member, info distributed.NodeInfo) {
	what := fmt.Sprintf("that %s has announced %s", whose.instance, picture(info))
	r.awaitView(of, what, func(v *distributed.View) bool { return announces(v, whose.id, info) })
}

func announces(v *distributed.View, id string, info distributed.NodeInfo) bool {
	return slices.ContainsFunc(v.Nodes, func(n distributed.NodeView) bool { return n.ID == id && sameInfo(n.NodeInfo, info) })
}

// sameInfo keeps only those Jobs that are nil apart from those that are empty.
func sameInfo(a, b distributed.NodeInfo) bool {
	return a.Version == b.Version && a.Started.Equal(b.Started) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Metadata, b.Metadata) &&
		a.Capacity == b.Capacity && a.Draining == b.Draining &&
		(a.Jobs == nil) == (b.Jobs == nil) && slices.EqualFunc(a.Jobs, b.Jobs, sameJob) && slices.EqualFunc(a.Barred, b.Barred, sameJob)
}

func sameJob(a, b distributed.JobInfo) bool {
	return a.Name == b.Name && a.Weight == b.Weight && slices.Equal(a.Prefer, b.Prefer) && slices.Equal(a.Avoid, b.Avoid)
}

// awaitQueue waits until of shows just these nodes in the queue for job.
func (r *run) awaitQueue(of sight, job string, nodes ...*member) distributed.JobView {
	var ids, instances []string
	for _, m := range nodes {
		ids, instances = append(ids, m.id), append(instances, m.instance)
	}
	what := fmt.Sprintf("the queue %v for %q", instances, job)
	view := r.awaitView(of, what, func(v *distributed.View) bool { return slices.Equal(queueOf(jobIn(v, job)), ids) })
	return jobIn(view, job)
}

// jobIn returns a job without a name if v shows no such job.
func jobIn(v *distributed.View, name string) distributed.JobView {
	for _, j := range v.Jobs {
		if j.Name == name {
			return j
		}
	}
	return distributed.JobView{}
}

// queueOf returns the IDs of the candidates.
func queueOf(j distributed.JobView) (ids []string) {
	for _, c := range j.Queue {
		ids = append(ids, c.Node)
	}
	return ids
}

// idsOf returns the IDs of all nodes.
func idsOf(v *distributed.View) (ids []string) {
	for _, n := range v.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

// picture tells all that v holds, and nil from empty.
func picture(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
