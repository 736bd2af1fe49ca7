package distributed

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed/internal/simetcd"
)

func TestTheClockCountsSuspensionsAndNotTheWallClock(t *testing.T) {
	c, host := newTestClock()
	require.Zero(t, c.now())
	host.run(time.Second)
	require.Equal(t, time.Second, c.now())
	for _, d := range []time.Duration{5 * time.Hour, -7 * time.Hour, time.Second, -24 * 365 * time.Hour} {
		host.set(d)
		require.Equal(t, time.Second, c.now(), "after the wall clock was set by %v", d)
		require.Equal(t, time.Second, c.sync(), "after the wall clock was set by %v", d)
	}
	host.suspend(time.Minute)
	require.Equal(t, time.Second+time.Minute, c.now(), "it has noticed by the wall clock")
	host.suspend(time.Minute)
	host.set(-time.Minute)
	require.Equal(t, time.Second+2*time.Minute, c.sync(), "it has asked the system")
	host.set(-time.Hour)
	require.Equal(t, time.Second+2*time.Minute, c.now(), "it never goes back")
}

// testHost is a machine whose clocks are in the hands of the test.
type testHost struct {
	start                   time.Time
	elapsed, asleep, wallBy atomic.Int64 // nanoseconds
}

func newTestClock() (*clock, *testHost) {
	h := &testHost{start: time.Now()}
	return &clock{tell: h.tell, start: h.tell(), boot: h.boot}, h
}

func (h *testHost) run(d time.Duration) { h.elapsed.Add(int64(d)) }
func (h *testHost) set(d time.Duration) { h.wallBy.Add(int64(d)) }
func (h *testHost) suspend(d time.Duration) {
	h.asleep.Add(int64(d))
	h.set(d)
}

func (h *testHost) tell() time.Time {
	return wallSet(h.start.Add(time.Duration(h.elapsed.Load())), time.Duration(h.wallBy.Load()))
}

func (h *testHost) boot() (time.Duration, bool) {
	return time.Duration(h.elapsed.Load() + h.asleep.Load()), true
}

// wallSet returns t as time.Now would have told it if the wall clock had been set
// by d, in whole seconds: another time of day, and the same as before on the
// monotonic clock. Package time has no function for that, so this changes what is
// inside: the wall clock's seconds stand above 30 bits of nanoseconds.
func wallSet(t time.Time, d time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(d/time.Second) << 30
	return t
}

func TestWallSet(t *testing.T) {
	began := time.Now()
	for _, d := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		now := began.Add(time.Second)
		set := wallSet(now, d)
		require.Equal(t, now.UnixNano()+int64(d), set.UnixNano())
		require.Equal(t, time.Second, set.Sub(began))
	}
}

// Whoever sets the clock of a node, by hours and over and over, changes nothing:
// the leader goes on, and is succeeded in the usual time once it is cut off. A
// clock that went by the time of day would lose its leadership at once.
func TestJumpsOfTheWallClockChangeNothing(t *testing.T) {
	began := time.Now() // has both readings, which time in a bubble has not
	const jumps = 100
	jumping := func(t *testing.T) (told func() time.Time, jump func()) {
		bubble := time.Now()
		var by atomic.Int64
		told = func() time.Time { return wallSet(began.Add(time.Since(bubble)), time.Duration(by.Load())) }
		return told, func() { by.Store(rand.Int64N(int64(48*time.Hour)) - int64(24*time.Hour)) }
	}
	t.Run("as it is", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			told, jump := jumping(t)
			start := told()
			p := newClockPair(t, defaultDrift, 0, func() *clock {
				return &clock{tell: told, start: start, boot: func() (time.Duration, bool) { return told().Sub(start), true }}
			})
			for range jumps {
				time.Sleep(p.ttl / 20)
				jump()
			}
			require.Empty(t, p.ended(), "nobody has lost anything")
			p.cutOff()
			for range jumps {
				time.Sleep(p.ttl / 20)
				jump()
			}
			p.close(t)
			first, second := p.run(t, "leader"), p.run(t, "successor")
			require.LessOrEqual(t, first.end.Sub(p.cut), p.timing.validity())
			require.Greater(t, second.start, first.end)
			require.Less(t, second.start.Sub(p.cut), p.ttl+time.Duration(defaultDrift*float64(p.ttl))+time.Second)
		})
	})
	t.Run("by the time of day", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			told, jump := jumping(t)
			p := newClockPair(t, defaultDrift, 0, func() *clock {
				tell := func() time.Time { return told().Round(0) }
				return &clock{tell: tell, start: tell(), boot: func() (time.Duration, bool) { return 0, false }}
			})
			for range jumps {
				time.Sleep(p.ttl / 20)
				jump()
			}
			require.NotEmpty(t, p.ended())
			p.close(t)
		})
	})
}

// The drift that is allowed for is the drift that is stood, and hardly more:
// with a leader whose clock is slow and a successor whose clock is fast, who both
// use all of their time, what lies between the two is epsilon if the clocks are
// as bad as allowed, and less than nothing if they are worse.
func TestClocksMayBeAsBadAsAllowedAndNoWorse(t *testing.T) {
	for _, c := range []struct {
		name         string
		drift, rates float64
		holds        bool
	}{
		{"true clocks, no drift allowed", 0, 0, true},
		{"as bad as allowed, by default", defaultDrift, defaultDrift, true},
		{"as bad as allowed, at most", maxDrift, maxDrift, true},
		{"worse, no drift allowed", 0, 0.005, false},
		{"worse, by default", defaultDrift, 1.5 * defaultDrift, false},
		{"far worse, by default", defaultDrift, 5 * defaultDrift, false},
		{"worse, at most", maxDrift, 1.2 * maxDrift, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newClockPair(t, c.drift, c.rates, nil)
				time.Sleep(3 * p.ttl)
				p.cutOff()
				time.Sleep(3 * p.ttl)
				p.close(t)
				between := p.run(t, "successor").start.Sub(p.run(t, "leader").end)
				wait := time.Duration(float64(p.ttl) * (1 + c.drift))
				computed := wait - p.trueTime(p.timing.validity())
				t.Logf("clocks off by %v, %v allowed: %v between the two, computed %v", c.rates, c.drift, between, computed)
				require.InDelta(t, computed, between, float64(3*time.Millisecond))
				require.Equal(t, c.holds, between > 0)
			})
		})
	}
}

// clockPair is a node that leads and one that waits to, on an etcd where nothing
// takes any time. Their clocks are off by rates, against each other. The clock of
// the bubble is the faster one: timers run by that, and must not be what makes a
// node late.
type clockPair struct {
	ttl    time.Duration
	timing timing
	rate   float64 // of the leader's clock
	etcd   *simetcd.Cluster
	stops  []context.CancelFunc
	done   []chan error
	link   *simetcd.Link // the leader's
	cut    time.Time

	mu   sync.Mutex
	runs []clockRun // that have ended
}

type clockRun struct {
	node       string
	start, end time.Time
}

// newClockPair returns when the leader leads. If newClock is nil, the leader gets
// a slow clock, and the successor that of the bubble.
func newClockPair(t *testing.T, drift, rates float64, newClock func() *clock) *clockPair {
	p := &clockPair{ttl: 10 * time.Second, rate: (1 - rates) / (1 + rates), etcd: simetcd.New(noFaults{})}
	p.timing = timing{ttl: p.ttl, drift: drift, grace: p.ttl / 5}
	for _, name := range []string{"leader", "successor"} {
		rate := 1.0
		if name == "leader" {
			rate = p.rate
		}
		link := p.etcd.Link(name)
		if p.link == nil {
			p.link = link
		}
		provider := NewETCDLeaseProvider([]string{"etcd:2379"}, WithLeaseTTL(p.ttl), WithClockDrift(drift),
			WithETCDConfig(clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithContextDialer(link.Dial)}}),
		)
		clock := clockOfRate(rate)
		if newClock != nil {
			clock = newClock()
		}
		provider.(*storeProvider).clock = clock
		job := Job{Name: "job", Work: func(ctx context.Context) error {
			r := clockRun{node: name, start: time.Now()}
			<-ctx.Done()
			if context.Cause(ctx) != context.Canceled { //nolint:errorlint // lost, not asked to end
				time.Sleep(time.Duration(float64(p.timing.grace) / rate))
			}
			r.end = time.Now()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.runs = append(p.runs, r)
			return nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- NewLeadershipBasedJobProcessor("app", name, provider, []Job{job}).Execute(ctx) }()
		p.stops, p.done = append(p.stops, stop), append(p.done, done)
		time.Sleep(time.Second) // so that the leader is the first
	}
	return p
}

// clockOfRate was never suspended.
func clockOfRate(rate float64) *clock {
	start := time.Now().Round(0)
	tell := func() time.Time { return start.Add(time.Duration(float64(time.Since(start)) * rate)) }
	return &clock{tell: tell, start: start, boot: func() (time.Duration, bool) { return 0, false }}
}

// trueTime is how long the leader's clock takes for d.
func (p *clockPair) trueTime(d time.Duration) time.Duration {
	return time.Duration(float64(d) / p.rate)
}

// cutOff keeps the leader from etcd: the other buries it, and it cannot know.
func (p *clockPair) cutOff() {
	p.link.Hold(true, true)
	p.cut = time.Now()
}

func (p *clockPair) ended() []clockRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.runs)
}

func (p *clockPair) close(t *testing.T) {
	p.link.Heal()
	for i, stop := range p.stops {
		stop()
		require.NoError(t, <-p.done[i])
	}
	p.etcd.Close()
}

// run returns the first run of a node. For after close.
func (p *clockPair) run(t *testing.T, node string) clockRun {
	i := slices.IndexFunc(p.runs, func(r clockRun) bool { return r.node == node })
	require.GreaterOrEqual(t, i, 0, "%s has not run", node)
	return p.runs[i]
}

type noFaults struct{}

func (noFaults) Call(string, string) simetcd.Fate { return simetcd.Fate{} }
func (noFaults) Event(string) time.Duration       { return 0 }

// 0 means never, wherever a time is kept.
func TestTheClockNeverTellsZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		c.boot = func() (time.Duration, bool) { return 0, false }
		require.Positive(t, c.now())
		require.Positive(t, c.sync())
	})
}
