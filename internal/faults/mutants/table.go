//go:build unix

package main

// mutant is a change that takes one rule out of the library.
type mutant struct {
	name     string
	changes  []change
	caughtBy []detector
	holds    bool // not a mutant: the tests must pass

	unsimulated string // why the simulation cannot catch it
}

type change struct{ file, old, replacement string }

// detector is a test that must fail.
type detector struct {
	pkg, run string
	args     []string
	tries    int // random tests may need more than one; 0 is 1
}

var (
	// simulation needs some 40 seeds for most of them, and some 100 for the rest.
	simulation = detector{pkg: ".", run: "^TestSimulationNeverHasTwoRunners$", args: []string{"-sim.seeds", "1-600"}, tries: 2}
	model      = detector{pkg: ".", run: "^TestModelNeverHasTwoLeaders$", args: []string{"-rapid.checks", "500"}}
	mirror     = func(test string) detector { return detector{pkg: ".", run: "^" + test + "$"} }
	fault      = func(name string) detector {
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
		caughtBy: []detector{simulation, fault("a-reply-held-and-then-silence")},
	},
	{
		name:        "late replies accepted",
		changes:     []change{{"etcd_heartbeat.go", "if now >= old-l.timing.grace {", "if now >= old+l.timing.ttl {"}},
		caughtBy:    []detector{model},
		unsimulated: "timers are never late in virtual time, so the lease has ended when the reply comes",
	},
	{
		name:     "no check that the own key still exists",
		changes:  []change{{"etcd_election.go", "if expected && (!there || (e.rev != 0 && rev != e.rev)) {", "if false && expected && (!there || (e.rev != 0 && rev != e.rev)) {"}},
		caughtBy: []detector{simulation, fault("candidate-key-deleted-by-an-operator")},
	},
	{
		name:     "unclean loss taken over at once",
		changes:  []change{{"mirror.go", "if n == nil || released || n.drained() || lease == m.self {", "if true || n == nil || released || n.drained() || lease == m.self {"}},
		caughtBy: []detector{simulation, model, mirror("TestOnlyACleanLossLetsOthersLeadAtOnce"), fault("lease-of-a-node-that-is-cut-off-revoked")},
	},
	{
		name:     "no wait after a listing that shows a loss",
		changes:  []change{{"mirror.go", "if lease != m.self && n.unclear == 0 && !n.whole() && !n.drained() {", "if false && lease != m.self {"}},
		caughtBy: []detector{simulation, model, mirror("TestAListingShowsWhetherAnythingWasLost")},
	},
	{
		name:     "a lost alive key overlooked in a listing",
		changes:  []change{{"mirror.go", "return n.alive && n.count == n.keys", "return n.count == n.keys"}},
		caughtBy: []detector{simulation, model},
	},
	{
		name:     "lost candidate keys overlooked in a listing",
		changes:  []change{{"mirror.go", "return n.alive && n.count == n.keys", "return n.alive"}},
		caughtBy: []detector{simulation, model},
	},
	{
		name:     "a write repeated without a condition",
		changes:  []change{{"etcd_writer.go", "		If(clientv3.Compare(clientv3.ModRevision(alive), \"=\", w.aliveMod)).\n", ""}},
		caughtBy: []detector{simulation},
	},
	{
		name:     "a write repeated as long as the lease lives",
		changes:  []change{{"etcd_writer.go", "If(clientv3.Compare(clientv3.ModRevision(alive), \"=\", w.aliveMod)).", "If(clientv3.Compare(clientv3.CreateRevision(alive), \"=\", l.aliveRev))."}},
		caughtBy: []detector{simulation},
	},
	{
		name:     "release before Work returned",
		changes:  []change{{"processor.go", "	defer p.reportStuck(l)()\n", "	defer p.reportStuck(l)()\n	defer context.AfterFunc(l.ctx, func() { p.release(l, func() {}) })()\n"}},
		caughtBy: []detector{simulation, fault("SIGTERM-under-load")},
	},
	{
		name:     "a hook called from a loop of the lease",
		changes:  []change{{"hooks.go", "via2(tell, h.LeaseRenewed)", "h.LeaseRenewed"}},
		caughtBy: []detector{simulation, mirror("TestNothingThatIsPluggedInKeepsWorkRunningOrANodeFromStopping")},
	},
	{
		name:     "hooks and the log called where things happen",
		changes:  []change{{"reporter.go", "	r.mu.Lock()\n	defer r.mu.Unlock()\n	if len(r.backlog) >= maxReports {", "	f()\n	r.mu.Lock()\n	defer r.mu.Unlock()\n	if true {"}},
		caughtBy: []detector{simulation, mirror("TestNothingThatIsPluggedInKeepsWorkRunningOrANodeFromStopping"), mirror("TestNothingThatIsPluggedInBreaksExclusionOnETCD")},
	},
	{
		name:     "grace zero",
		changes:  []change{{"etcd_provider.go", "	if !t.graceSet {\n		t.grace = ttl / 5\n	}", "	t.grace = 0"}},
		caughtBy: []detector{simulation, fault("lease-revoked-and-all-of-the-grace-used")},
	},
	{
		name:     "clocks 1.5 % slow and fast, within the bound",
		changes:  clocks("rate"),
		caughtBy: []detector{fault("lease-revoked-and-all-of-the-grace-used")},
		holds:    true,
	},
	{
		name:        "clocks 15 % slow and fast, beyond the bound",
		changes:     clocks("1+10*(rate-1)"),
		caughtBy:    []detector{fault("lease-revoked-and-all-of-the-grace-used")},
		unsimulated: "it has clocks of its own; see the next",
	},
	{
		name:     "simulated clocks beyond the bound",
		changes:  []change{{"etcd_simulation_test.go", "rate := 1 + s.drift*pick(", "rate := 1 + 3*s.drift*pick("}},
		caughtBy: []detector{simulation},
	},
	{
		name: "drift left out, with clocks within the bound",
		changes: append(clocks("rate"),
			change{"etcd_provider.go", "return t.ttl - time.Duration(float64(t.ttl)*t.drift) - epsilon", "return t.ttl - epsilon"},
			change{"mirror.go", "return ttl + time.Duration(float64(ttl)*drift)", "return ttl"}),
		caughtBy: []detector{simulation, fault("lease-revoked-and-all-of-the-grace-used")},
	},
	{
		name:     "grace zero, with clocks within the bound",
		changes:  append(clocks("rate"), change{"etcd_provider.go", "	if !t.graceSet {\n		t.grace = ttl / 5\n	}", "	t.grace = 0"}),
		caughtBy: []detector{simulation, fault("lease-revoked-and-all-of-the-grace-used")},
	},
	{
		name:     "own deletion ignored",
		changes:  []change{{"etcd_watch.go", "	case c.deleted:\n		l.end(errTornAway)", "	case c.deleted:\n		_ = errTornAway"}},
		caughtBy: []detector{simulation, fault("alive-key-deleted-by-an-operator")},
	},
	{
		name:     "heartbeat not guarded",
		changes:  []change{{"etcd_heartbeat.go", "If(l.mine()...).", "If(l.mine()[:0]...)."}},
		caughtBy: []detector{simulation, fault("heartbeats-that-arrive-after-all-is-gone")},
	},
	{
		name:        "another epoch overlooked",
		changes:     []change{{"mirror.go", " && m.amiss == 0 && !m.anyUnclear()", " && !m.anyUnclear()"}},
		caughtBy:    []detector{model, mirror("TestAnotherEpochMakesANodeWait"), fault("all-keys-deleted-while-the-leader-is-cut-off")},
		unsimulated: "it deletes no more than the epoch key, as nodes start in it at any moment",
	},
	{
		name:     "a candidate key from before the release taken for ours",
		changes:  []change{{"mirror.go", "queue[0].rev > after &&", "true &&"}, {"mirror.go", "if c.lease == m.self && c.rev > after {", "if c.lease == m.self {"}},
		caughtBy: []detector{simulation, model},
	},
	{
		name:        "leadership not checked against the clock when used",
		changes:     []change{{"etcd_election.go", "return e.leading.Load() && int64(e.lease.clock.now()) < e.lease.validUntil.Load()", "return e.leading.Load()"}},
		caughtBy:    []detector{fault("frozen-for-longer-than-the-lease")},
		unsimulated: "no process is frozen in virtual time, so its contexts are done before its validity ends",
	},
}
