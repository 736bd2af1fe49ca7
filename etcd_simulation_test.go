package distributed

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed/internal/simetcd"
)

var simSeeds = flag.String("sim.seeds", simDefault(), "seeds to simulate on etcd: one, or first-last")

// simDefault takes some seconds.
func simDefault() string {
	if raceDetector {
		return "1-40"
	}
	return "1-200"
}

// There are two simulations. This one runs whole nodes, with every loop and the real
// etcd client, against an etcd in memory, in virtual time, while all goes wrong that
// may, hooks and log handlers included: see simFaults, simWeather and misbehaviour.
// TestSimulationOfStoresNeverHasTwoRunners runs sessions alone, on a store that does
// what any store may, and does so ten times as fast.
//
// At no moment may two nodes execute a job, or hold a valid leadership of it; tokens
// rise; when the trouble is over every job runs again within settleTime; and in the
// end nothing runs on, and every session has been given back, or buried.
//
// A seed gives the configuration, all faults and what befalls the n-th call of
// each method by each node. It does not give the order in which goroutines run
// that are ready at the same moment, nor the jitter of the library and of gRPC;
// so a seed leads to the same trouble, not to the same run, and one that has
// failed may have to be repeated: -sim.seeds 17 -count 20. How a run is judged
// does not depend on that order: no message takes less than simLatency, so
// nothing that happens on one node can be the cause of anything on another at
// the same moment, and overlaps are judged by the virtual clock.
//
// Not simulated: processes that are frozen, which virtual time cannot tell from
// others, and the members of etcd, whose mistakes are made by the one there is.
func TestSimulationNeverHasTwoRunners(t *testing.T) {
	first, last := simRange(t)
	total := &simTotals{n: map[string]int{}}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // there is much garbage, and little else
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed <= last; seed++ {
			t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
				t.Parallel()
				if total.failed.Load() && flag.Lookup("test.failfast").Value.String() == "true" {
					t.SkipNow() // go test skips only tests that have not begun, and all have
				}
				synctest.Test(t, func(t *testing.T) { newSimulation(t, seed, total).run() })
			})
		}
	})
	t.Logf("seeds %d to %d: %v", first, last, total.n)
	if last-first >= simMinimum {
		total.requireAll(t, "run", "leadership lost", "executed again", "executed late", "request lost", "reply lost", "told of a loss", "wiped", "restored")
		for _, f := range simFaults {
			total.requireAll(t, f.name)
		}
	}
}

// simRange returns the seeds to run.
func simRange(t *testing.T) (first, last uint64) {
	from, to, ok := strings.Cut(*simSeeds, "-")
	if !ok {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 64)
	require.NoError(t, err, "-sim.seeds")
	last, err = strconv.ParseUint(to, 10, 64)
	require.NoError(t, err, "-sim.seeds")
	require.LessOrEqual(t, first, last, "-sim.seeds")
	return first, last
}

// simulation is one service of a few nodes on one etcd, inside a bubble.
type etcdSimulation struct {
	t      *testing.T
	seed   uint64
	start  time.Time
	ttl    time.Duration
	drift  float64
	grace  time.Duration
	term   time.Duration // of a Work, 0 if it does not end by itself
	calm   bool          // but for coups
	jobs   []string
	etcd   *simetcd.Cluster
	nodes  []*simNode
	total  *simTotals
	faults sync.WaitGroup
	over   chan struct{} // closed when the nodes have to stop

	*simHistory
	*simWeather
	*simOracle
	*simJournal
}

func newSimulation(t *testing.T, seed uint64, total *simTotals) *etcdSimulation {
	rng := simDraw(seed, "configuration", 0)
	s := &etcdSimulation{
		t: t, seed: seed, start: time.Now().Round(0), total: total, over: make(chan struct{}),
		ttl:   pick(rng, time.Second, 2*time.Second, 5*time.Second, 10*time.Second),
		drift: pick(rng, defaultDrift, defaultDrift, maxDrift),
		term:  pick[time.Duration](rng, 0, 1, 2, 4), // TTLs, so far
		calm:  rng.IntN(3) == 0,
	}
	s.grace = pick(rng, 0, s.ttl/5, s.ttl/5, s.ttl/4)
	s.term *= s.ttl
	for i := range 1 + rng.IntN(3) {
		s.jobs = append(s.jobs, fmt.Sprintf("job%d", i+1))
	}
	s.simJournal = &simJournal{start: s.start}
	s.simHistory = &simHistory{touched: map[string]bool{}}
	s.simOracle = newSimOracle(s)
	s.simWeather = newSimWeather(s, rng)
	for i := range 2 + rng.IntN(2) {
		s.nodes = append(s.nodes, newSimNode(s, rng, fmt.Sprintf("n%d", i+1)))
	}
	return s
}

func (s *etcdSimulation) run() {
	defer s.report()
	s.etcd = simetcd.New(s.simWeather)
	defer s.etcd.Close()
	s.note("ttl %v, drift %v, grace %v, term %v, jobs %v, calm %v", s.ttl, s.drift, s.grace, s.term, s.jobs, s.calm)
	var lives sync.WaitGroup
	for _, n := range s.nodes {
		lives.Go(n.live)
	}
	s.trouble()
	s.settle()
	s.stopAll(&lives)
	s.requireNothingLeft()
}

// stopAll gives the nodes settleTime as well, which is more than the grace and
// closeTimeout.
func (s *etcdSimulation) stopAll(lives *sync.WaitGroup) {
	close(s.over)
	stopped := make(chan struct{})
	go func() { lives.Wait(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(s.settleTime()):
		s.fail("nodes do not stop")
		s.t.FailNow()
	}
}

// settleTime is how long after the last fault every job has to run again. The
// longest way there: a lease that was lost at the last moment, the pause between
// acquisitions and the time that one may take, and the wait for a node of which
// nobody knows what it ran.
func (s *etcdSimulation) settleTime() time.Duration { return 3*s.ttl + backoffMax + 5*callTimeout }

func (s *etcdSimulation) settle() {
	s.note("the trouble is over")
	time.Sleep(s.settleTime())
	if s.doubtsStrangers() {
		s.total.count("long doubt")
		s.note("somebody waits for a session of which it does not know the TTL")
		time.Sleep(longestSilence * 5 / 4)
	}
	for _, job := range s.jobs {
		s.requireRecentRun(job, restTime+s.grace+time.Second)
	}
	for _, n := range s.nodes {
		if session := n.currentSession(); session != nil && s.t.Failed() {
			s.note("%s is %s", n.name, session.state())
		}
	}
}

// requireNothingLeft looks when all calls have been executed that came late. What is
// left of sessions is void, but where somebody has edited it.
func (s *etcdSimulation) requireNothingLeft() {
	time.Sleep(2*s.ttl + 5*time.Second)
	for _, key := range s.etcd.Keys() {
		kind, id, _ := simKeys.parse(key)
		var v nodeValue
		if kind == nodeDocument && !s.wasTouched(id) && (simKeys.decode(key, s.etcd.Value(key), &v) != nil || v.State == "") {
			s.fail("%s is left as of a node that lives: %s", key, s.etcd.Value(key))
		}
	}
	s.requireAllEnded()
}

func (s *etcdSimulation) fail(format string, args ...any) {
	s.note("FAILED: "+format, args...)
	s.total.failed.Store(true)
	s.t.Errorf("seed %d: at %v: "+format, append([]any{s.seed, time.Since(s.start)}, args...)...)
}

func (s *etcdSimulation) report() {
	if s.t.Failed() {
		s.t.Logf("the end of the journal of seed %d:\n%s", s.seed, s.simJournal.tail())
	}
}

// simNode is a machine, on which one process follows another.
type simNode struct {
	*etcdSimulation
	name      string
	rate      float64 // of its clock, against that of the bubble
	campaigns bool    // runs a Concurrency, not a processor
	restarts  chan simRestart

	mu      sync.Mutex
	link    *simetcd.Link
	id      string   // of the link
	session *session // the last of this process
}

// simRestart ends a process and begins the next after a pause. A process that
// crashes says nothing to anybody, and does not run on.
type simRestart struct {
	crash bool
	pause time.Duration
}

// newSimNode draws a clock rate in 1±drift. Rates are scaled so that the fastest
// possible clock is the bubble's: timers, which run on that, are early then, if
// anything, as the library does not rely on their being late.
func newSimNode(s *etcdSimulation, rng *rand.Rand, name string) *simNode {
	rate := 1 + s.drift*pick(rng, -1, -1, 1, 1, 2*rng.Float64()-1)
	return &simNode{
		etcdSimulation: s, name: name, rate: rate / (1 + s.drift),
		campaigns: rng.IntN(3) == 0, restarts: make(chan simRestart, 1),
	}
}

// live runs process after process until the simulation is over.
func (n *simNode) live() {
	var processes sync.WaitGroup
	defer processes.Wait()
	for life := 1; ; life++ {
		ctx, stop := context.WithCancel(n.t.Context())
		defer stop()
		link, id := n.connect(life)
		done := make(chan struct{})
		processes.Go(func() {
			defer close(done)
			n.note("%s starts", id)
			n.execute(ctx, link, id)
		})
		select {
		case r := <-n.restarts:
			if r.crash {
				link.Kill()
			}
			stop()
			if !r.crash {
				<-done
			}
			n.forget()
			time.Sleep(r.pause)
			time.Sleep(time.Until(n.begins()))
		case <-n.over:
			stop()
			return
		}
	}
}

func (n *simNode) connect(life int) (link *simetcd.Link, id string) {
	id = fmt.Sprintf("%s.%d", n.name, life)
	link = n.etcd.Link(id)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id, n.link = id, link
	return link, id
}

// forget is what a process that ends does.
func (n *simNode) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.session = nil
}

// simProvider notes the sessions of a process.
type simProvider struct {
	*storeProvider
	node *simNode
	link *simetcd.Link
}

// AcquireLease implements [LeaseProvider].
func (p simProvider) AcquireLease(ctx context.Context, req LeaseRequest) (Lease, error) {
	l, err := p.storeProvider.AcquireLease(ctx, req)
	if err != nil {
		return nil, err
	}
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if p.node.link == p.link { // or else another process has begun
		p.node.session = l.(*session)
	}
	return l, nil
}

// current returns the link of the present process.
func (n *simNode) current() (*simetcd.Link, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link, n.id
}

func (n *simNode) execute(ctx context.Context, link *simetcd.Link, id string) {
	provider := simProvider{node: n, link: link, storeProvider: NewETCDLeaseProvider([]string{"etcd:2379"},
		WithLeaseTTL(n.ttl), WithClockDrift(n.drift), WithLeaseGrace(n.grace),
		WithETCDConfig(clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(link.Dial)}})).(*storeProvider)}
	provider.clock = n.newClock()
	log := WithLogger(n.logger(n.name, n.misbehaviour("log handler of "+id)))
	hooks := WithHooks(Hooks{Lost: func(string, int64, time.Duration, error) { n.total.count("leadership lost") }}.and(n.hooks(id)))
	if n.campaigns {
		n.campaignAll(ctx, id, NewConcurrency("app", n.name, provider, log, hooks))
		return
	}
	var jobs []Job
	for _, job := range n.jobs {
		jobs = append(jobs, Job{Name: job, Work: func(ctx context.Context) error {
			l, _ := LeadershipFromContext(ctx)
			n.work(ctx, id, l)
			return nil
		}})
	}
	if err := NewLeadershipBasedJobProcessor("app", n.name, provider, jobs, log, hooks).Execute(ctx); err != nil {
		n.fail("%s: Execute: %v", n.name, err)
	}
}

// misbehaviour is what the user's code does in one life of two.
func (n *simNode) misbehaviour(of string) func() {
	return pick(simDraw(n.seed, of, 0),
		func() {}, func() {}, func() {}, func() {},
		func() { <-n.over }, n.dawdle, func() { panic(of) }, runtime.Goexit)
}

// dawdle takes its time, until the simulation is over.
func (n *simNode) dawdle() {
	select {
	case <-time.After(n.ttl / 10):
	case <-n.over:
	}
}

// hooks misbehave all alike.
func (n *simNode) hooks(id string) Hooks {
	misbehave := n.misbehaviour("hooks of " + id)
	return Hooks{
		Elected:            func(string, int64, time.Duration) { misbehave() },
		Lost:               func(string, int64, time.Duration, error) { misbehave() },
		Resigned:           func(string, int64, time.Duration, error) { misbehave() },
		WorkStarted:        func(string, int64) { misbehave() },
		WorkReturned:       func(string, int64, time.Duration, error) { misbehave() },
		LeaseRenewed:       func(_, _ time.Duration) { misbehave() },
		LeaseRenewalFailed: func(error) { misbehave() },
		LeaseLost:          func(error) { misbehave() },
		StoreDown:          func(error) { misbehave() },
		StoreUp:            func(time.Duration) { misbehave() },
	}
}

// campaignAll does by hand what a processor does.
func (n *simNode) campaignAll(ctx context.Context, id string, c *Concurrency) {
	var loops sync.WaitGroup
	for _, job := range n.jobs {
		loops.Go(func() {
			for ctx.Err() == nil {
				if l, err := c.Campaign(ctx, job); err == nil {
					n.lead(ctx, id, l)
				} else if ctx.Err() == nil {
					n.fail("%s: Campaign: %v", n.name, err)
				}
			}
		})
	}
	loops.Wait()
	_ = c.Close() // fails when etcd is away
}

func (n *simNode) lead(ctx context.Context, id string, l *Leadership) {
	working, stop := context.WithCancel(l.Context())
	defer context.AfterFunc(ctx, stop)()
	n.work(working, id, l)
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = l.Resign(release) // fails when etcd is away
}

// work takes up to all of the grace to stop, by the node's clock.
func (n *simNode) work(ctx context.Context, id string, l *Leadership) {
	r := n.begin(id, l)
	defer n.end(r)
	var term <-chan time.Time
	if n.term > 0 {
		term = time.After(n.term)
	}
	select {
	case <-ctx.Done():
		part := pick(simDraw(n.seed, n.name+l.Name(), r.number), 0, 0.5, 1, 1)
		time.Sleep(time.Duration(part * float64(n.grace) / n.rate))
	case <-term:
	}
}

// newClock runs at the node's rate, and was never suspended.
func (n *simNode) newClock() *clock {
	tell := func() time.Time { return n.start.Add(time.Duration(float64(time.Since(n.start)) * n.rate)) }
	return &clock{tell: tell, start: tell(), boot: func() (time.Duration, bool) { return 0, false }}
}

// simDraw returns the random numbers for the n-th of something.
func simDraw(seed uint64, what string, n uint64) *rand.Rand {
	h := seed
	for _, b := range []byte(what) {
		h = (h ^ uint64(b)) * 0x100000001b3
	}
	return rand.New(rand.NewPCG(seed, h^n*0x9e3779b97f4a7c15))
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// between is evenly drawn.
func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(max(int64(to-from), 1)))
}

// simTotals counts what happened in all simulations of a test.
type simTotals struct {
	failed atomic.Bool
	mu     sync.Mutex
	n      map[string]int
}

func (c *simTotals) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[what]++
}

// simMinimum is how many seeds suffice for everything to have happened.
const simMinimum = 100

// requireAll fails if the simulations did not reach what they are about.
func (c *simTotals) requireAll(t *testing.T, all ...string) {
	for _, what := range all {
		require.Positive(t, c.n[what], what)
	}
}

// simJournal is what happened, for whoever wants to understand a failure.
type simJournal struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

func (j *simJournal) note(format string, args ...any) {
	line := fmt.Sprintf("%12v  ", time.Since(j.start).Truncate(time.Microsecond)) + fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *simJournal) tail() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines[max(0, len(j.lines)-200):], "\n")
}

// logger notes what a node says, and then misbehaves.
func (j *simJournal) logger(node string, misbehave func()) *slog.Logger {
	return slog.New(simHandler{misbehave: misbehave, Handler: slog.NewTextHandler(simWriter{j, node}, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == "app" || a.Key == "instance") {
				return slog.Attr{}
			}
			return a
		},
	})})
}

type simWriter struct {
	*simJournal
	node string
}

func (w simWriter) Write(b []byte) (int, error) {
	w.note("%s %s", w.node, bytes.TrimSpace(b))
	return len(b), nil
}

// simHandler drops what the etcd client says, before anybody spends time on it.
type simHandler struct {
	slog.Handler
	misbehave func()
}

// Handle implements [slog.Handler].
func (h simHandler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	h.misbehave()
	return err
}

func (h simHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == "component" }) {
		return slog.DiscardHandler
	}
	return simHandler{h.Handler.WithAttrs(attrs), h.misbehave}
}
