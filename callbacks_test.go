package distributed_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/link"
)

// misbehaviours are what something that a user plugs in may do when it is called.
// free is closed when the test is over.
var misbehaviours = map[string]func(free <-chan struct{}){
	"blocks": func(free <-chan struct{}) { <-free },
	"is slow": func(free <-chan struct{}) {
		select {
		case <-free:
		case <-time.After(100 * time.Millisecond):
		}
	},
	"panics":             func(<-chan struct{}) { panic("plugged in") },
	"ends its goroutine": func(<-chan struct{}) { runtime.Goexit() },
}

// plugs are all places where users plug in what is called later, each as an option
// that calls misbehave there.
func plugs(t *testing.T) map[string]func(misbehave func()) distributed.ProcessorOption {
	all := map[string]func(func()) distributed.ProcessorOption{}
	hooks := reflect.TypeFor[distributed.Hooks]()
	for i := range hooks.NumField() {
		all["hook "+hooks.Field(i).Name] = func(misbehave func()) distributed.ProcessorOption {
			h := reflect.New(hooks).Elem()
			h.Field(i).Set(reflect.MakeFunc(hooks.Field(i).Type, func([]reflect.Value) []reflect.Value { misbehave(); return nil }))
			return distributed.WithHooks(h.Interface().(distributed.Hooks))
		}
	}
	handler := func(h misbehavingHandler) func(func()) distributed.ProcessorOption {
		return func(misbehave func()) distributed.ProcessorOption {
			h.misbehave = misbehave
			return distributed.WithLogger(slog.New(h))
		}
	}
	for message := range documentedLogs(t) {
		_, text, _ := strings.Cut(message, ": ")
		all["log "+message] = handler(misbehavingHandler{message: text})
	}
	all["log everything"] = handler(misbehavingHandler{all: true})
	all["log handler's Enabled"] = handler(misbehavingHandler{enabled: true})
	all["log handler's WithAttrs"] = handler(misbehavingHandler{with: true})
	return all
}

// misbehavingHandler is a log handler that misbehaves in one of its methods.
type misbehavingHandler struct {
	misbehave func()
	message   string // at this one
	all       bool   // or at all
	enabled   bool
	with      bool
}

func (h misbehavingHandler) Enabled(context.Context, slog.Level) bool {
	if h.enabled {
		h.misbehave()
	}
	return true
}

func (h misbehavingHandler) Handle(_ context.Context, r slog.Record) error {
	if h.all || r.Message == h.message {
		h.misbehave()
	}
	return nil
}

func (h misbehavingHandler) WithAttrs([]slog.Attr) slog.Handler {
	if h.with {
		h.misbehave()
	}
	return h
}

func (h misbehavingHandler) WithGroup(string) slog.Handler { return h }

// closing is how long Execute may take when all Work has returned and the store
// does not answer: to close the lease, and for the callbacks.
const closing = 6 * time.Second

func TestNothingThatIsPluggedInKeepsWorkRunningOrANodeFromStopping(t *testing.T) {
	for plug, option := range plugs(t) {
		for name, misbehave := range misbehaviours {
			t.Run(plug+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, free := newService(t), make(chan struct{})
					var ends record[time.Time] // of contexts of Work on a
					onA, onB := works{}, works{}
					for i := range 20 {
						onB[fmt.Sprint(i)] = untilDone
						onA[fmt.Sprint(i)] = func(ctx context.Context) error {
							require.NoError(t, ctx.Err(), "Work is called under a leadership that is over")
							<-ctx.Done()
							ends.add(time.Now())
							time.Sleep(time.Second)
							return nil
						}
					}
					a := s.execute("a", onA, option(func() { misbehave(free) }))
					b := s.execute("b", onB)
					time.Sleep(time.Minute)
					s.hub.Refuse("a", errAway)
					time.Sleep(time.Minute)
					together := ends.all()
					require.Len(t, together, 20)
					require.Zero(t, slices.MaxFunc(together, time.Time.Compare).Sub(slices.MinFunc(together, time.Time.Compare)))
					for job := range onA {
						require.Equal(t, "b", s.runner(job))
					}
					s.hub.Refuse("a", nil)
					time.Sleep(time.Minute)
					b.stop(errShutdown)
					require.NoError(t, b.result())
					time.Sleep(time.Minute)
					s.hub.Expire("a")
					time.Sleep(time.Minute)
					s.hub.Refuse("", errAway)
					stopped := time.Now()
					a.stop(errShutdown)
					require.NoError(t, a.result())
					require.LessOrEqual(t, time.Since(stopped), time.Second+closing, "Work takes a second to stop")
					close(free)
					time.Sleep(time.Hour) // until what is slow has caught up
				})
			})
		}
	}
}

// A function that is asked for a term is asked before the campaign: a job with one
// that blocks is led elsewhere.
func TestAFunctionOfAnOptionThatMisbehavesKeepsNothing(t *testing.T) {
	for name, misbehave := range misbehaviours {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, free := newService(t), make(chan struct{})
				asked := 0
				option := distributed.WithVoluntaryTimeout(func(string) time.Duration {
					if asked++; asked > 2 { // by AddJob, and for the first term
						misbehave(free)
					}
					return time.Minute
				})
				a := s.execute("a", works{"x": untilDone}, option)
				s.execute("b", works{"x": untilDone})
				time.Sleep(90 * time.Second)
				require.Equal(t, "b", s.runner("x"))
				stopped := time.Now()
				a.stop(errShutdown)
				err := a.result()
				if name == "panics" || name == "ends its goroutine" {
					require.ErrorIs(t, err, distributed.ErrInvalidConfig)
					require.ErrorContains(t, err, `WithVoluntaryTimeout for job "x": the function `)
				} else {
					require.NoError(t, err)
				}
				require.Zero(t, time.Since(stopped))
				close(free)
			})
		})
	}
}

func TestAFunctionOfAnOptionThatPanicsWhenAJobIsAddedIsAnError(t *testing.T) {
	panics := func(string) time.Duration { panic("plugged in") }
	for name, option := range map[string]distributed.ProcessorOption{
		"WithStartDelay": distributed.WithStartDelay(panics), "WithVoluntaryTimeout": distributed.WithVoluntaryTimeout(panics),
	} {
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewMemoryLeaseProvider(nil), nil, option)
		err := p.AddJob(distributed.Job{Name: "x", Work: untilDone})
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, name+` for job "x": the function panicked: plugged in`)
	}
}

// The same on etcd, where loops of several goroutines could be held up, and the
// client has something to say as well. It runs alone: 244 nodes leave little for others.
func TestNothingThatIsPluggedInBreaksExclusionOnETCD(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	at, err := url.Parse(cluster.Endpoints()[0])
	require.NoError(t, err)
	network, err := link.New(at.Host)
	require.NoError(t, err)
	defer network.Close()
	free := make(chan struct{})
	provider := func(address string) distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider([]string{"http://" + address})
	}
	var pairs []*pair
	table := plugs(t)
	for _, plug := range slices.Sorted(maps.Keys(table)) {
		for name, misbehave := range misbehaviours {
			pairs = append(pairs, newPair(t, plug+" "+name, provider(network.Addr()), provider(at.Host), table[plug](func() { misbehave(free) })))
		}
	}
	each := func(f func(*pair)) {
		var all sync.WaitGroup
		for _, p := range pairs {
			all.Go(func() { f(p) })
		}
		all.Wait()
	}
	each(func(p *pair) { p.a.start(); p.awaitRunning(&p.a) })
	each(func(p *pair) { p.b.start() })
	network.HoldUp()
	network.HoldDown()
	each(func(p *pair) { p.awaitRunning(&p.b) })
	t.Logf("%d nodes cut off: contexts of one node were done within %v", len(pairs), slices.MaxFunc(pairs, func(a, b *pair) int { return int(a.a.spread() - b.a.spread()) }).a.spread())
	network.Heal()
	each(func(p *pair) { p.a.halt(); p.b.halt() })
	close(free)
}

// pair is two nodes of an app, of which the first has something plugged in.
type pair struct {
	t       *testing.T
	running []atomic.Int32 // by job
	a, b    pairNode
}

type pairNode struct {
	*distributed.LeadershipBasedJobProcessor
	runs      atomic.Int32
	firstDone atomic.Int64 // when contexts of Work were done, in Unix nanoseconds
	lastDone  atomic.Int64
	stop      context.CancelFunc
	result    chan error
}

func newPair(t *testing.T, app string, providerA, providerB distributed.LeaseProvider, plug distributed.ProcessorOption) *pair {
	p := &pair{t: t, running: make([]atomic.Int32, 5)}
	app = strings.NewReplacer("/", "-").Replace(app)
	p.a.LeadershipBasedJobProcessor = distributed.NewLeadershipBasedJobProcessor(app, "a", providerA, p.jobs(&p.a), plug)
	p.b.LeadershipBasedJobProcessor = distributed.NewLeadershipBasedJobProcessor(app, "b", providerB, p.jobs(&p.b))
	return p
}

func (p *pair) jobs(n *pairNode) (jobs []distributed.Job) {
	for i := range p.running {
		jobs = append(jobs, distributed.Job{Name: fmt.Sprint(i), Work: func(ctx context.Context) error {
			if now := p.running[i].Add(1); now > 1 {
				p.t.Errorf("job %d runs %d times at once", i, now)
			}
			n.runs.Add(1)
			<-ctx.Done()
			now := time.Now().UnixNano()
			n.firstDone.CompareAndSwap(0, now)
			n.lastDone.Store(now)
			p.running[i].Add(-1)
			n.runs.Add(-1)
			return nil
		}})
	}
	return jobs
}

func (p *pair) awaitRunning(n *pairNode) {
	for deadline := time.Now().Add(patience); int(n.runs.Load()) < len(p.running); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Errorf("%d of %d jobs run", n.runs.Load(), len(p.running))
			return
		}
	}
}

func (n *pairNode) start() {
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.result = stop, make(chan error, 1)
	go func() { n.result <- n.Execute(ctx) }()
}

// halt stops the node. That it does is what is to be shown; when is for the fault
// harness.
func (n *pairNode) halt() {
	n.stop()
	if err := <-n.result; err != nil {
		panic(err) // none of them has a reason to fail
	}
}

func (n *pairNode) spread() time.Duration {
	return time.Duration(n.lastDone.Load() - n.firstDone.Load())
}
