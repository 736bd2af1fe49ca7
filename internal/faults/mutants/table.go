//go:build unix

package main

import "slices"

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
	// simulation needs some 40 seeds for most of them, and some 100 for the rest.
	simulation = detector{pkg: ".", run: "^TestSimulationNeverHasTwoRunners$", args: []string{"-sim.seeds", "1-600"}, tries: 2}
	stores     = detector{pkg: ".", run: "^TestSimulationOfStoresNeverHasTwoRunners$", args: []string{"-sim.store.seeds", "1-3000"}}
	model      = detector{pkg: ".", run: "^TestModelNeverHasTwoLeaders$", args: []string{"-rapid.checks", "500"}}
	unit       = func(test string) detector { return detector{pkg: ".", run: "^" + test + "$"} }
	fault      = func(name string) detector {
		return detector{pkg: "./internal/faults", run: "^TestFaultsOfNodes$/^" + name + "$", tries: 3}
	}
	orders = detector{pkg: "./internal/faults", run: "^TestOrders$", tries: 3}
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

var mutants = slices.Concat(protocol, lives)

// protocol are the rules of the protocol.
var protocol = []mutant{
	{
		name:     "validity counted from the receipt",
		changes:  []change{{"lease_heartbeat.go", "until := h.sent + s.timing.validity()", "until := now + s.timing.validity()"}},
		caughtBy: []detector{unit("TestAHeartbeatCountsFromItsFirstSendingOnceItComesBack"), stores},
	},
	{
		name:     "late heartbeats accepted",
		changes:  []change{{"lease_heartbeat.go", "if now >= old-s.timing.grace {", "if now >= old+s.timing.ttl {"}},
		caughtBy: []detector{unit("TestAHeartbeatThatComesBackLateEndsTheSession")},
	},
	{
		name:     "a heartbeat goes on over anything",
		changes:  []change{{"lease_heartbeat.go", "case err != nil, v.State != \"\", v.Beat < r.beat, v.Beat > r.number:", "case false:"}},
		caughtBy: []detector{unit("TestHowARefusedHeartbeatGoesOn")},
	},
	{
		name:     "a heartbeat that was overtaken is sent",
		changes:  []change{{"lease_heartbeat.go", "s.attemptHeartbeat(h), s.renewal.beat >= h.number", "s.attemptHeartbeat(h), false"}},
		caughtBy: []detector{unit("TestAHeartbeatThatWasOvertakenIsNotSent"), stores},
	},
	{
		name: "claims in documents that are not registered",
		changes: []change{
			{"lease_writer.go", "for k := w.cursor; k < w.registered; k++ {", "for k := w.cursor; k < len(w.documents); k++ {"},
			{"lease_writer.go", "range w.documents[:w.registered]", "range w.documents[:len(w.documents)]"},
		},
		caughtBy: []detector{unit("TestClaimsWaitForTheirDocumentToBeRegistered")},
	},
	{
		name:     "a place that may be later than the commit",
		changes:  []change{{"claims.go", "old.bound = max(t.from, v.Guard) + 1", "old.bound = d.Revision"}},
		caughtBy: []detector{unit("TestAPlaceIsNeverLaterThanTheCommit")},
	},
	{
		name:     "a touch taken for a change",
		changes:  []change{{"claims.go", "if old.rev != 0 && h == old.hash {", "if false {"}},
		caughtBy: []detector{unit("TestWhatIsTouchedIsNotLost"), fault("documents-touched")},
	},
	{
		name:     "leadership before the picture has come to the own number",
		changes:  []change{{"claims.go", "if m.waits() || s.number == 0 || s.number > m.rev {", "if m.waits() || s.number == 0 {"}},
		caughtBy: []detector{unit("TestTheFirstClaimLeadsAndAReleaseLetsTheNextLead")},
	},
	{
		name:     "leadership while somebody is in doubt",
		changes:  []change{{"claims.go", "if m.waits() || s.number == 0 || s.number > m.rev {", "if s.number == 0 || s.number > m.rev {"}},
		caughtBy: []detector{unit("TestNobodyLeadsBesideAnUnknownVersion"), model, stores, fault("claims-deleted-while-the-node-is-cut-off")},
	},
	{
		name:     "leadership not checked against the clock when used",
		changes:  []change{{"lease_election.go", "return e.leading.Load() && int64(e.session.clock.now()) < e.session.validUntil.Load()", "return e.leading.Load()"}},
		caughtBy: []detector{fault("frozen-for-longer-than-the-lease")},
	},
	{
		name:     "a campaign wins that was given up",
		changes:  []change{{"lease_election.go", " || e.bid.ctx.Err() != nil {", " {"}},
		caughtBy: []detector{unit("TestACampaignNeverWinsOnceItsContextIsDone")},
	},
	{
		name:     "release before Work returned",
		changes:  []change{{"job_loop.go", "	l.onEnd(func() { p.noteEnd(t) })\n", "	l.onEnd(func() { p.noteEnd(t) })\n	defer context.AfterFunc(l.ctx, func() { p.release(l, func() {}) })()\n"}},
		caughtBy: []detector{fault("SIGTERM-under-load"), simulation},
	},
	{
		name:     "lease closed before all Works have returned",
		changes:  []change{{"parting.go", "return waiting, waiting == tenures", "return waiting, true"}},
		caughtBy: []detector{unit("TestEachJobIsReleasedAsItsOwnWorkReturns"), simulation},
	},
	{
		name:     "who is void still counts",
		changes:  []change{{"doubt.go", "if counts := n.readable && !n.void; counts != n.counts {", "if counts := n.readable; counts != n.counts {"}},
		caughtBy: []detector{unit("TestWhoIsVoidCountsForNothing")},
	},
	{
		name:     "buried after half of the silence",
		changes:  []change{{"doubt.go", "at := max(n.seen, n.since) + n.silence()", "at := max(n.seen, n.since) + n.silence()/2"}},
		caughtBy: []detector{unit("TestASilentNodeIsBuriedAndNotPassedOver"), stores, fault("blackhole-both-ways")},
	},
	{
		name: "a tombstone over a later heartbeat",
		changes: []change{{"lease_burial.go", "rev, err = s.store.Put(ctx, s.keys.node(g.id), b, g.rev)", `rev, err = s.store.Put(ctx, s.keys.node(g.id), b, g.rev)
		if later := new(ConflictError); errors.As(err, &later) && later.Known {
			_, err = s.store.Put(ctx, s.keys.node(g.id), b, later.There.Revision)
		}`}},
		caughtBy: []detector{stores},
	},
	{
		name:     "a loss overlooked",
		changes:  []change{{"doubt.go", "if n.lost && !n.void {", "if false {"}},
		caughtBy: []detector{unit("TestALossByAnotherHandIsWaitedFor"), model, stores, fault("claims-deleted-while-the-node-is-cut-off")},
	},
	{
		name:     "claims without a node document overlooked",
		changes:  []change{{"doubt.go", "n.lost = n.lost || (orphaned && !n.orphaned)", "_ = orphaned"}},
		caughtBy: []detector{unit("TestNewcomersWaitForWhatIsLost")},
	},
	{
		name:     "documents that are not those registered overlooked",
		changes:  []change{{"doubt.go", "n.lost = n.lost || (n.whole && !whole)", "_ = whole"}},
		caughtBy: []detector{unit("TestNewcomersWaitForWhatIsLost")},
	},
	{
		name:     "an own loss ignored",
		changes:  []change{{"doubt.go", "t.m.tear(errTornAway)", "_ = errTornAway"}},
		caughtBy: []detector{model, fault("losses-one-after-the-other")},
	},
	{
		name:     "a doubt that a new loss does not prolong",
		changes:  []change{{"doubt.go", "n.doubt = max(n.doubt, t.now+n.silence())", "if n.doubt == 0 {\n		n.doubt = t.now + n.silence()\n	}"}},
		caughtBy: []detector{unit("TestANewLossProlongsADoubt")},
	},
	{
		name:     "another epoch overlooked",
		changes:  []change{{"doubt.go", "	default:\n		t.doubtEverybody()\n	}\n}\n\n// doubtEverybody", "	}\n}\n\n// doubtEverybody"}},
		caughtBy: []detector{unit("TestAnotherEpochIsADoubtAboutEverybody")},
	},
	{
		name:     "nothing remembered from session to session",
		changes:  []change{{"mirror.go", "if errors.Is(m.torn, errHistory) {", "if m.self != \"\" {"}},
		caughtBy: []detector{unit("TestAProcessRemembersFromSessionToSession")},
	},
	{
		name:     "garbage deleted at once",
		changes:  []change{{"doubt.go", "now < n.voidAt+max(3*n.silence(), m.garbageAge)", "now < n.voidAt"}},
		caughtBy: []detector{unit("TestGarbageGoesLateAndInOrder")},
	},
	{
		name:     "a change behind the position not told",
		changes:  []change{{"etcd_follow.go", "step.Revision > f.position {", "step.Revision > f.position+1 {"}},
		caughtBy: []detector{unit("TestSimulatedETCDConforms")},
	},
	{
		name:     "a feed that goes on when its connection was lost",
		changes:  []change{{"etcd_follow.go", "s.lost(fmt.Errorf(\"%w: %w\", errLost, err))", "_ = fmt.Errorf"}},
		caughtBy: []detector{unit("TestETCDStoreListsAgainWhenItsConnectionWasLost")},
	},
	{
		name:     "a write without a guard",
		changes:  []change{{"etcd_store.go", "clientv3.Compare(clientv3.ModRevision(w.Key), \"=\", w.Revision)", "clientv3.Compare(clientv3.ModRevision(w.Key), \">\", -1)"}},
		caughtBy: []detector{unit("TestSimulatedETCDConforms")},
	},
	{
		name:     "a picture that goes back",
		changes:  []change{{"mirror.go", "if s.Revision < max(m.rev, m.least) {", "if false {"}},
		caughtBy: []detector{unit("TestAnEarlierStateOfTheStoreIsNoticed")},
	},
	{
		name:     "a write confirmed in the past believed",
		changes:  []change{{"lease_feed.go", "if rev <= picture {", "if false {"}},
		caughtBy: []detector{unit("TestAWriteThatTheStoreHasForgottenEndsTheSession")},
	},
	{
		name:     "a hook called from a loop of the lease",
		changes:  []change{{"hooks.go", "via2(tell, h.LeaseRenewed)", "h.LeaseRenewed"}},
		caughtBy: []detector{unit("TestNothingThatIsPluggedInKeepsWorkRunningOrANodeFromStopping")},
	},
	{
		name:     "hooks and the log called where things happen",
		changes:  []change{{"reporter.go", "	r.mu.Lock()\n	defer r.mu.Unlock()\n	if len(r.backlog) >= maxReports {", "	f()\n	r.mu.Lock()\n	defer r.mu.Unlock()\n	if true {"}},
		caughtBy: []detector{unit("TestNothingThatIsPluggedInKeepsWorkRunningOrANodeFromStopping"), fault("log-handler-blocks,-and-cut-off")},
	},
	{
		name:     "grace zero",
		changes:  []change{{"lease_options.go", "o.timing.grace = o.timing.ttl / 5", "o.timing.grace = 0"}},
		caughtBy: []detector{fault("cut-off-and-all-of-the-grace-used")},
	},
	{
		name:     "clocks 1.5 % slow and fast, within the bound",
		changes:  clocks("rate"),
		caughtBy: []detector{fault("cut-off-and-all-of-the-grace-used")},
		holds:    true,
	},
	{
		name:     "clocks 15 % slow and fast, beyond the bound",
		changes:  clocks("1+10*(rate-1)"),
		caughtBy: []detector{fault("cut-off-and-all-of-the-grace-used")},
	},
	{
		name: "drift left out",
		changes: []change{
			{"lease_timing.go", "return t.ttl - time.Duration(float64(t.ttl)*t.drift) - epsilon", "return t.ttl - epsilon"},
			{"lease_timing.go", "return ttl + time.Duration(float64(ttl)*drift)", "return ttl"},
		},
		caughtBy: []detector{unit("TestClocksMayBeAsBadAsAllowedAndNoWorse")},
	},
}

// lives are the rules for jobs and orders.
var lives = []mutant{
	{
		name:     "a paused job runs",
		changes:  []change{{"obey.go", "if o := in.pausedBy(job); o != nil {", "if o := in.pausedBy(job); o != nil && o.Job == \"\" {"}},
		caughtBy: []detector{unit("TestAPausedJobRunsNowhereUntilItIsResumed"), unit("TestEachOrderInEachSituation"), orders},
	},
	{
		name:     "failures counted on each node",
		changes:  []change{{"failure.go", "	r := before.failed(err, ran)\n", "	if before.Instance != p.concurrency.instance {\n		before = JobRecord{}\n	}\n	r := before.failed(err, ran)\n"}},
		caughtBy: []detector{unit("TestPausesDoubleUpToAMinuteWhicheverNodeFails")},
	},
	{
		name: "a job that is done runs again",
		changes: []change{
			{"failure.go", "		case record.Done:\n			return record, false\n", "		case record.Done:\n			return record, true\n"},
			{"failure.go", "		if !record.Done {\n", "		if !record.Done || true {\n"},
		},
		caughtBy: []detector{unit("TestAJobThatIsDoneRunsNowhereAnyMore")},
	},
	{
		name:     "saved whatever a later leader has saved",
		changes:  []change{{"lease_state.go", "case err == nil && v.Token > e.token:\n			return nil, errOutdated\n		case err != nil && !", "case err != nil && !"}},
		caughtBy: []detector{unit("TestALeaderThatTakesItselfForValidIsRefusedByItsToken")},
	},
	{
		name:     "saved not taken over by who asks for it",
		changes:  []change{{"lease_state.go", "&savedValue{e.token, data}", "&savedValue{max(v.Token, 1), data}"}},
		caughtBy: []detector{unit("TestTheStoreRefusesWhatAStaleLeaderSaves"), unit("TestWhatAStaleLeaderHasSentIsRefusedByETCDWhenItArrives")},
	},
	{
		name:     "a job counted as moved before it is ready",
		changes:  []change{{"moves.go", "return p.jobs[j].led && !p.jobs[j].warming", "return p.jobs[j].led"}},
		caughtBy: []detector{unit("TestNoMoreJobsWarmUpThanMayMove")},
	},
	{
		name:     "a planned move to a node that is not prepared",
		changes:  []change{{"warmth.go", "return !s.warms() || target.Warming[s.job.Name] == Prepared", "return true"}},
		caughtBy: []detector{unit("TestAPlannedMoveHandsOverToANodeThatIsPrepared"), orders},
	},
	{
		name:     "a node campaigns while it tells that it is prepared from before",
		changes:  []change{{"job_loop.go", " || p.balancer.awaitCool(ctx, job.Name) != nil", ""}},
		caughtBy: []detector{unit("TestANodeThatHasRunAJobPreparesItAnew")},
	},
	{
		name:     "a planned move by a view of an earlier leadership",
		changes:  []change{{"seat.go", " && p.showsLeading(j, s)", ""}},
		caughtBy: []detector{unit("TestAJobLeavesByAViewOfItsLeadership")},
	},
	{
		name: "a drained node keeps its jobs",
		changes: []change{
			{"lease_view.go", "			n.Draining = true\n", "			_ = n\n"},
			{"obey.go", "if in.drained != nil && !balanced {", "if false {"},
		},
		caughtBy: []detector{unit("TestADrainedInstanceHasNoJobs"), unit("TestEachOrderInEachSituation")},
	},
	{
		name:     "forgotten what is not on record",
		changes:  []change{{"operator.go", "if !slices.ContainsFunc(view.Records, ", "if false && !slices.ContainsFunc(view.Records, "}},
		caughtBy: []detector{unit("TestForgetLetsADoneJobRunAgain"), unit("TestEachOrderInEachSituation")},
	},
	{
		name:     "a resignation obeyed twice",
		changes:  []change{{"obey.go", "o != nil && o.token == l.token {", "o != nil {"}},
		caughtBy: []detector{{pkg: ".", run: "^TestResignLetsTheNextLeadOnce$", args: []string{"-test.timeout", "30s"}}}, // it goes on for ever
	},
	{
		name:     "an order of a newer version replaced",
		changes:  []change{{"operator_write.go", "case errors.Is(err, errUnreadable) || order.replaces(&was):", "case err != nil || order.replaces(&was):"}},
		caughtBy: []detector{unit("TestEachOrderInEachSituation")},
	},
}
