package distributed_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// scene is a service in which an order is given: two nodes share two jobs, and z is
// done. The order is about the job that runs at one of them, and the other one.
type scene struct {
	*service
	o           *distributed.Operator
	nodes       map[string]*executing
	job, at, to string
	token       int64        // of the leadership of job
	done        int          // how often z has run
	goOn        atomic.Value // a channel: Works that are told to stop return once it is closed

	leaderships sync.Map // by job
}

func newScene(t *testing.T, nodes []string, opts ...distributed.ProcessorOption) *scene {
	s := &scene{service: newService(t), nodes: map[string]*executing{}, job: "x", at: "a", to: "b"}
	s.reluctant()()
	for _, name := range nodes {
		s.nodes[name] = s.execute(name, s.works("x", "y"), opts...)
		s.to = name
	}
	time.Sleep(time.Minute)
	for _, job := range []string{"x", "y"} {
		if s.runner(job) == s.at {
			s.job, s.token = job, s.last(job).token
		}
	}
	s.o = s.operator()
	return s
}

func (s *scene) works(names ...string) works {
	w := works{"z": func(context.Context) error { return distributed.ErrDone }}
	for _, name := range names {
		w[name] = func(ctx context.Context) error {
			l, _ := distributed.LeadershipFromContext(ctx)
			s.leaderships.Store(name, l)
			<-ctx.Done()
			<-s.goOn.Load().(chan struct{})
			return nil
		}
	}
	return w
}

// stop tells a job to stop.
func (s *scene) stop(job string) {
	l, _ := s.leaderships.Load(job)
	require.NoError(s.t, l.(*distributed.Leadership).Resign(s.t.Context()))
	synctest.Wait()
}

// write puts something in place of a document.
func (s *scene) write(name, value string) {
	there, _ := s.hub.Documents("app/" + name)
	rev := int64(0)
	if len(there) > 0 {
		rev = there[0].Revision
	}
	_, err := s.hub.Open("somebody").Put(s.t.Context(), "app/"+name, []byte(value), rev)
	require.NoError(s.t, err)
	synctest.Wait()
}

func (s *scene) ordered(kind distributed.OrderKind) (n int) {
	for _, o := range s.o.Orders() {
		if o.Kind == kind {
			n++
		}
	}
	return n
}

// tableOrder is an order, what it needs to have been ordered before, and what holds a
// minute later.
type tableOrder struct {
	name     string
	before   func(s *scene) error // nil for nothing
	give     func(ctx context.Context, s *scene, o *distributed.Operator) error
	holds    func(s *scene)
	document func(s *scene) string
}

func runs(s *scene) { require.NotEmpty(s.t, s.runner(s.job)) }

func runsThere(s *scene) { require.Equal(s.t, s.to, s.runner(s.job)) }

func place(s *scene) string { return "orders/place/" + s.job }
func pause(s *scene) string { return "orders/pause/" + s.job }
func drain(s *scene) string { return "orders/drain/" + s.at }

var tableOrders = []tableOrder{
	{
		name:     "pause",
		give:     func(ctx context.Context, s *scene, o *distributed.Operator) error { return o.Pause(ctx, s.job, ann) },
		holds:    func(s *scene) { require.Empty(s.t, s.runner(s.job)) },
		document: pause,
	},
	{
		name:     "resume",
		before:   func(s *scene) error { return s.o.Pause(s.t.Context(), s.job, ann) },
		give:     func(ctx context.Context, s *scene, o *distributed.Operator) error { return o.Resume(ctx, s.job) },
		holds:    runs,
		document: pause,
	},
	{
		name: "move",
		give: func(ctx context.Context, s *scene, o *distributed.Operator) error {
			return o.Move(ctx, s.job, s.to, ann)
		},
		holds:    runsThere,
		document: place,
	},
	{
		name: "pin",
		give: func(ctx context.Context, s *scene, o *distributed.Operator) error {
			return o.Pin(ctx, s.job, s.to, ann)
		},
		holds:    runsThere,
		document: place,
	},
	{
		name:     "unpin",
		before:   func(s *scene) error { return s.o.Pin(s.t.Context(), s.job, s.to, ann) },
		give:     func(ctx context.Context, s *scene, o *distributed.Operator) error { return o.Unpin(ctx, s.job) },
		holds:    func(s *scene) { runs(s); require.Zero(s.t, s.ordered(distributed.OrderPin)) },
		document: place,
	},
	{
		name: "drain",
		give: func(ctx context.Context, s *scene, o *distributed.Operator) error { return o.Drain(ctx, s.at, ann) },
		holds: func(s *scene) { // alone it has nobody to hand over to
			require.Equal(s.t, s.to, s.runner("x"))
			require.Equal(s.t, s.to, s.runner("y"))
		},
		document: drain,
	},
	{
		name:   "undrain",
		before: func(s *scene) error { return s.o.Drain(s.t.Context(), s.at, ann) },
		give:   func(ctx context.Context, s *scene, o *distributed.Operator) error { return o.Undrain(ctx, s.at) },
		holds: func(s *scene) {
			runs(s)
			require.Zero(s.t, s.ordered(distributed.OrderDrain))
			status := s.nodes[s.at].Status()
			require.False(s.t, status.Leased && status.Draining)
		},
		document: drain,
	},
	{
		name:     "resign",
		give:     func(ctx context.Context, s *scene, o *distributed.Operator) error { return o.Resign(ctx, s.job, ann) },
		holds:    func(s *scene) { runs(s); require.Greater(s.t, s.last(s.job).token, s.token) },
		document: func(s *scene) string { return "orders/resign/" + s.job },
	},
	{
		name:     "forget",
		give:     func(ctx context.Context, _ *scene, o *distributed.Operator) error { return o.Forget(ctx, "z") },
		holds:    func(s *scene) { require.Greater(s.t, len(s.history("z")), s.done) },
		document: func(*scene) string { return "state/z" },
	},
}

// Of each order: what becomes of it in each situation. Where there is an error, it is
// not given; where there is none, it has its effect.
func TestEachOrderInEachSituation(t *testing.T) {
	unknown, ordered, not := distributed.ErrUnknown, distributed.ErrOrdered, distributed.ErrNotOrdered
	situations := []string{"no node", "one node", "plain", "stopping", "dying", "gone", "newer", "unreadable"}
	want := map[string][]error{
		"pause":   {unknown, nil, nil, nil, nil, unknown, ordered, nil},
		"resume":  {not, nil, nil, nil, nil, nil, nil, nil},
		"move":    {unknown, nil, unknown, nil, nil, unknown, ordered, nil},
		"pin":     {unknown, nil, unknown, nil, nil, unknown, ordered, nil},
		"unpin":   {not, nil, not, nil, nil, nil, nil, nil},
		"drain":   {unknown, nil, nil, nil, nil, unknown, ordered, nil},
		"undrain": {not, nil, nil, nil, nil, nil, nil, nil},
		"resign":  {unknown, nil, nil, nil, nil, unknown, nil, nil},
		"forget":  {unknown, nil, nil, nil, nil, nil, nil, nil},
	}
	for i, situation := range situations {
		for _, order := range tableOrders {
			t.Run(order.name+", "+situation, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { order.in(t, situation, want[order.name][i]) })
			})
		}
	}
}

// in gives the order in a situation, and requires what is to become of it.
func (order tableOrder) in(t *testing.T, situation string, want error) {
	nodes, opts := []string{"a", "b"}, []distributed.ProcessorOption{balancedAtOnce()}
	switch situation {
	case "no node":
		nodes = nil
	case "one node":
		nodes = nodes[:1]
	case "plain":
		opts = nil
	}
	s := newScene(t, nodes, opts...)
	if situation == "gone" { // a node that has a job for itself
		s.nodes["c"] = s.execute("c", s.works("w"), opts...)
		time.Sleep(time.Minute)
		s.job, s.at, s.to = "w", "c", "c"
	}
	goOn := func() {}
	if situation == "stopping" {
		goOn = s.reluctant()
	}
	if order.before != nil && !errors.Is(want, distributed.ErrNotOrdered) {
		s.order(order.before(s))
	}
	switch situation {
	case "stopping":
		s.stop(s.job)
	case "dying":
		s.hub.Refuse(s.at, errAway)
	case "gone":
		s.nodes[s.at].stop(nil)
		require.NoError(t, s.nodes[s.at].result())
		delete(s.nodes, s.at)
	case "newer":
		s.write(order.document(s), `{"v":2,"sum":"0123456789abcdef","new":true}`)
	case "unreadable":
		s.write(order.document(s), "nonsense")
	}
	synctest.Wait()
	before := len(s.o.Orders())
	s.done = len(s.history("z"))
	err := order.give(t.Context(), s, s.o)
	require.ErrorIs(t, err, want)
	synctest.Wait()
	if err != nil {
		require.Len(t, s.o.Orders(), before)
		return
	}
	if situation == "stopping" {
		time.Sleep(time.Minute)
		require.Equal(t, s.token, s.last(s.job).token, "it has not returned yet")
		goOn()
	}
	time.Sleep(time.Minute)
	switch {
	case situation == "gone" && order.name != "forget": // nobody is there to show it
	case situation == "plain" && order.name == "drain":
		require.NotEqual(t, s.at, s.runner(s.job), "it is let go of")
	default:
		order.holds(s)
	}
	s.hub.Refuse(s.at, nil)
}

// reluctant has Works that are told to stop wait until what it returns is called, which is
// at the end of the test at the latest.
func (s *scene) reluctant() (goOn func()) {
	until := make(chan struct{})
	s.goOn.Store(until)
	goOn = sync.OnceFunc(func() { close(until) })
	s.t.Cleanup(goOn)
	return goOn
}

// An operator that dies before it knows what became of its order: another one gives it
// again, and finds it given already or gives it. Either way it has its effect, once.
func TestAnOperatorDiesAndAnotherOneGivesTheOrderAgain(t *testing.T) {
	for _, order := range tableOrders {
		for _, after := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 2500 * time.Millisecond} {
			t.Run(order.name+" after "+after.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newScene(t, []string{"a", "b"}, balancedAtOnce())
					if order.before != nil {
						s.order(order.before(s))
					}
					s.done = len(s.history("z"))
					first := s.operator()
					s.hub.SetDelay(900 * time.Millisecond)
					ctx, cancel := context.WithTimeout(t.Context(), after)
					defer cancel()
					died := order.give(ctx, s, first)
					s.hub.SetDelay(0)
					time.Sleep(10 * time.Second) // what was sent has arrived
					err := order.give(t.Context(), s, s.o)
					if !errors.Is(err, distributed.ErrOrdered) && !errors.Is(err, distributed.ErrNotOrdered) && !errors.Is(err, distributed.ErrUnknown) {
						require.NoError(t, err)
					} else if died == nil {
						t.Log("the first has been told that it was given")
					}
					time.Sleep(time.Minute)
					order.holds(s)
				})
			})
		}
	}
}

// Two operators at once: what one has ordered the other is told, unless to order it
// twice is to order it once.
func TestEachOrderByTwoOperatorsAtOnce(t *testing.T) {
	second := map[string]error{
		"pause": distributed.ErrOrdered, "pin": distributed.ErrOrdered, "drain": distributed.ErrOrdered, "resign": distributed.ErrOrdered,
		"resume": distributed.ErrNotOrdered, "unpin": distributed.ErrNotOrdered, "undrain": distributed.ErrNotOrdered,
	}
	for _, order := range tableOrders {
		t.Run(order.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, []string{"a", "b"}, balancedAtOnce())
				if order.before != nil {
					s.order(order.before(s))
				}
				s.done = len(s.history("z"))
				operators := []*distributed.Operator{s.o, s.operator()}
				s.hub.SetDelay(10 * time.Millisecond)
				var errs [2]error
				var both sync.WaitGroup
				for i, o := range operators {
					both.Go(func() { errs[i] = order.give(t.Context(), s, o) })
				}
				both.Wait()
				s.hub.SetDelay(0)
				if want := second[order.name]; want != nil {
					require.ErrorIs(t, errors.Join(errs[:]...), want)
					require.NotEqual(t, errs[0] == nil, errs[1] == nil)
				} else {
					require.NoError(t, errors.Join(errs[:]...))
				}
				time.Sleep(time.Minute)
				order.holds(s)
				require.LessOrEqual(t, len(s.o.Orders()), 1, strings.TrimSpace(order.name))
			})
		})
	}
}

// Without balancing a node tells of its jobs by standing for them only.
func TestAJobThatNobodyStandsForCanBePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, []string{"a"})
		s.order(s.o.PauseAll(t.Context(), ann))
		time.Sleep(time.Minute)
		s.order(s.o.Pause(t.Context(), "x", ann))
		s.order(s.o.ResumeAll(t.Context()))
		s.order(s.o.Drain(t.Context(), "a", ann))
		time.Sleep(time.Minute)
		s.order(s.o.Pause(t.Context(), "y", ann))
		s.order(s.o.Undrain(t.Context(), "a"))
		time.Sleep(time.Minute)
		require.Empty(t, s.runner("x"))
		require.Empty(t, s.runner("y"))
		require.ErrorIs(t, s.o.Pause(t.Context(), "nope", ann), distributed.ErrUnknown)
	})
}
