package main

// mutant is a change that takes one rule out of the library.
type mutant struct {
	name     string
	changes  []change
	caughtBy []detector
	holds    bool // not a mutant: the tests must pass
}

type change struct{ file, old, replacement string }

// detector is a test that must fail.
type detector struct {
	pkg, run string
	args     []string
	tries    int // random tests may need more than one; 0 is 1
}

var (
	model  = detector{pkg: ".", run: "^TestModelNeverHasTwoLeaders$", args: []string{"-rapid.checks", "500"}}
	mirror = func(test string) detector { return detector{pkg: ".", run: "^" + test + "$"} }
	fault  = func(name string) detector {
		return detector{pkg: "./internal/faults", run: "^TestFaultsOfNodes$/^" + name + "$", tries: 3}
	}
)

// clocks makes the clock of a node run at a rate that is computed from what the
// harness says: the first node's is slow, the others' are fast.
func clocks(rate string) []change {
	return []change{
		{"clock.go", "elapsed = t.Sub(c.start)", "elapsed = time.Duration(float64(t.Sub(c.start)) * clockRate())"},
		{"clock.go", "boot: bootTime}", "boot: func() (time.Duration, bool) { return 0, false }}"},
		{"clock.go", "import (", "import (\n\t\"os\"\n\t\"strconv\""},
		{"clock.go", "func newClock() *clock {", `func clockRate() float64 {
	rate, err := strconv.ParseFloat(os.Getenv("FAULTS_CLOCK_RATE"), 64)
	if err != nil {
		return 1
	}
	return ` + rate + `
}

func newClock() *clock {`},
	}
}

var mutants = []mutant{
	{
		name:     "validity counted from the receipt",
		changes:  []change{{"etcd_heartbeat.go", "until := sent + l.timing.validity()", "until := now + l.timing.validity()"}},
		caughtBy: []detector{fault("a-reply-held-and-then-silence")},
	},
	{
		name:     "late replies accepted",
		changes:  []change{{"etcd_heartbeat.go", "if now >= old-l.timing.grace {", "if now >= old+l.timing.ttl {"}},
		caughtBy: []detector{model},
	},
	{
		name:     "no check that the own key still exists",
		changes:  []change{{"etcd_election.go", "if expected && (!there || (e.rev != 0 && rev != e.rev)) {", "if false && expected && (!there || (e.rev != 0 && rev != e.rev)) {"}},
		caughtBy: []detector{fault("candidate-key-deleted-by-an-operator")},
	},
	{
		name:     "unclean loss taken over at once",
		changes:  []change{{"mirror.go", "if n == nil || released || n.drained() || lease == m.self {", "if true || n == nil || released || n.drained() || lease == m.self {"}},
		caughtBy: []detector{model, mirror("TestOnlyACleanLossLetsOthersLeadAtOnce"), fault("lease-of-a-node-that-is-cut-off-revoked")},
	},
	{
		name:     "no wait after a listing that shows a loss",
		changes:  []change{{"mirror.go", "if lease != m.self && n.unclear == 0 && !n.whole() && !n.drained() {", "if false && lease != m.self {"}},
		caughtBy: []detector{model, mirror("TestAListingShowsWhetherAnythingWasLost")},
	},
	{
		name:     "release before Work returned",
		changes:  []change{{"processor.go", "	defer p.reportStuck(l)()\n", "	defer p.reportStuck(l)()\n	defer context.AfterFunc(l.ctx, func() { p.release(l) })()\n"}},
		caughtBy: []detector{fault("SIGTERM-under-load")},
	},
	{
		name:     "grace zero",
		changes:  []change{{"etcd_provider.go", "t.grace = ttl / 5", "t.grace = 0"}},
		caughtBy: []detector{fault("blackhole-with-work-that-lingers")},
	},
	{
		name:     "clocks 1.5 % slow and fast, within the bound",
		changes:  clocks("rate"),
		caughtBy: []detector{fault("lease-revoked-and-all-of-the-grace-used")},
		holds:    true,
	},
	{
		name:     "clocks 15 % slow and fast, beyond the bound",
		changes:  clocks("1+10*(rate-1)"),
		caughtBy: []detector{fault("lease-revoked-and-all-of-the-grace-used")},
	},
	{
		name: "drift left out, with clocks within the bound",
		changes: append(clocks("rate"),
			change{"etcd_provider.go", "return t.ttl - time.Duration(float64(t.ttl)*t.drift) - epsilon", "return t.ttl - epsilon"},
			change{"mirror.go", "return n.seen + ttl + time.Duration(float64(ttl)*max(n.value.Drift, m.drift))", "return n.seen + ttl"}),
		caughtBy: []detector{fault("lease-revoked-and-all-of-the-grace-used")},
	},
	{
		name:     "grace zero, with clocks within the bound",
		changes:  append(clocks("rate"), change{"etcd_provider.go", "t.grace = ttl / 5", "t.grace = 0"}),
		caughtBy: []detector{fault("lease-revoked-and-all-of-the-grace-used")},
	},
	{
		name:     "own deletion ignored",
		changes:  []change{{"etcd_watch.go", "	case c.deleted:\n		l.end(errTornAway)", "	case c.deleted:\n		_ = errTornAway"}},
		caughtBy: []detector{fault("alive-key-deleted-by-an-operator")},
	},
	{
		name:     "heartbeat not guarded",
		changes:  []change{{"etcd_heartbeat.go", "If(l.mine()...).", "If(l.mine()[:0]...)."}},
		caughtBy: []detector{fault("heartbeats-that-arrive-after-all-is-gone")},
	},
	{
		name:     "a candidate key from before the release taken for ours",
		changes:  []change{{"mirror.go", "queue[0].rev > after &&", "true &&"}, {"mirror.go", "if c.lease == m.self && c.rev > after {", "if c.lease == m.self {"}},
		caughtBy: []detector{model},
	},
	{
		name:     "leadership not checked against the clock when used",
		changes:  []change{{"etcd_election.go", "return e.leading.Load() && int64(e.lease.clock.now()) < e.lease.validUntil.Load()", "return e.leading.Load()"}},
		caughtBy: []detector{fault("frozen-for-longer-than-the-lease")},
	},
}
