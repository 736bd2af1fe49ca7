package distributed

import "time"

// Hooks are functions that are called as things happen, for metrics and alerts. Each
// may be nil. One goroutine calls all hooks of a node and its log handler, one after
// the other, in the order of the events and shortly after them. Nothing waits for a
// hook, so what it reports may be over when it is called. Hooks that are given to
// several nodes must be safe for concurrent use.
//
// A hook that panics, or ends its goroutine, is logged. While one blocks, none is
// called. When 65,536 calls and log lines are waiting, further ones are dropped, and
// their number is logged. Execute and Close wait for the last calls for one second at
// most.
//
// The modules prometheusmetrics and otelmetrics turn hooks into metrics. Later versions
// will have more hooks: name the fields, as in Hooks{Lost: f}.
type Hooks struct {
	// Campaigning: this node begins to campaign for job, or to wait for a lease with
	// which it can. Each such call is followed by one of Elected or Withdrawn.
	Campaigning func(job string)

	// Withdrawn: this node has given up its campaign for job, after waited, without
	// winning: it is stopping, has reached its quota, or the job should run on other
	// nodes.
	Withdrawn func(job string, waited time.Duration, cause error)

	// Elected: this node won job after a campaign of waited. Each such
	// call is followed by one of Lost or Resigned.
	Elected func(job string, token int64, waited time.Duration)

	// HandedOver: this node won job as the node before released it. gap is the time
	// from when this node saw the release until it could begin to work: until Campaign
	// returns, and in a processor until just before Work. It does not include the time
	// that the release took to get here. Called after Elected, and only if gap is
	// known: not if the job was free, nor after a loss, as nobody knows when the work
	// of a lost leadership stopped.
	HandedOver func(job string, token int64, gap time.Duration)

	// Lost: the leadership of job, held for that long, ended without this node's doing.
	// Called after its context is done; its Work may still be running.
	Lost func(job string, token int64, held time.Duration, cause error)

	// Resigned: this node released job, which it had led for held, whether or not the
	// store has confirmed that. cause is that of the leadership's context; or
	// [ErrResigned], if that was not done before, as when Work returned by itself; or
	// the error of the Work that failed.
	Resigned func(job string, token int64, held time.Duration, cause error)

	// WorkStarted: the Work of job is about to be called. Each such call is
	// followed by one of WorkReturned. A Concurrency has no Work.
	WorkStarted func(job string, token int64)

	// WorkReturned: the Work of job returned err after took; a [PanicError] if it
	// panicked. Most often err is nil, or the error of a context that was done.
	WorkReturned func(job string, token int64, took time.Duration, err error)

	// Failed: the Work of job r.Job has failed with err, a [PanicError] if it panicked.
	// r says how often in a row, and when it is called again. An error that the end of
	// the context explains is no failure. Called after WorkReturned, and not with
	// [WithStopOnError].
	Failed func(r JobRecord, err error)

	// Recovered: the Work of job, which had failed that often in a row, has run here
	// for longer than its last pause, or has returned nil.
	Recovered func(job string, token int64, failures int)

	// Done: the Work of job has returned [ErrDone], and that has been recorded.
	Done func(job string, token int64)

	// Stuck: the Work of job has not returned, although its context has been
	// done for that long. Called after 1 s, and again each time the duration
	// has doubled, up to once a minute.
	Stuck func(job string, token int64, since time.Duration)

	// LeaseAcquired: this node has a lease, for which it had tried for took. Each
	// such call is followed by one of LeaseLost or LeaseReleased.
	LeaseAcquired func(took time.Duration)

	// LeaseRenewed: a renewal of the lease took effect, latency after it was sent.
	// remaining is how much longer [Leadership.Valid] would have been true without it:
	// the margin by which leadership was kept.
	LeaseRenewed func(latency, remaining time.Duration)

	// LeaseRenewalFailed: an attempt to renew the lease failed; another follows.
	LeaseRenewalFailed func(cause error)

	// LeaseLost: the lease ended without this node's doing, and with it all of its
	// leaderships. The text of cause says why: no heartbeat came back in time, other
	// nodes buried this one, or documents were changed or deleted.
	LeaseLost func(cause error)

	// LeaseReleased: this node gave back its lease because it stops, whether or not the
	// store has confirmed that.
	LeaseReleased func()

	// StoreDown: the store stopped working for this node or observer: an attempt to
	// acquire or renew the lease, or to follow the store, failed. Not called again
	// before StoreUp.
	StoreDown func(cause error)

	// StoreUp: the store works: for the first time (away is 0 then), or after
	// StoreDown, away ago.
	StoreUp func(away time.Duration)
}

// and returns hooks that call those of h, and then those of g.
func (h Hooks) and(g Hooks) Hooks {
	return Hooks{
		Campaigning:        both1(h.Campaigning, g.Campaigning),
		Withdrawn:          both3(h.Withdrawn, g.Withdrawn),
		Elected:            both3(h.Elected, g.Elected),
		HandedOver:         both3(h.HandedOver, g.HandedOver),
		Lost:               both4(h.Lost, g.Lost),
		Resigned:           both4(h.Resigned, g.Resigned),
		WorkStarted:        both2(h.WorkStarted, g.WorkStarted),
		WorkReturned:       both4(h.WorkReturned, g.WorkReturned),
		Failed:             both2(h.Failed, g.Failed),
		Recovered:          both3(h.Recovered, g.Recovered),
		Done:               both2(h.Done, g.Done),
		Stuck:              both3(h.Stuck, g.Stuck),
		LeaseAcquired:      both1(h.LeaseAcquired, g.LeaseAcquired),
		LeaseRenewed:       both2(h.LeaseRenewed, g.LeaseRenewed),
		LeaseRenewalFailed: both1(h.LeaseRenewalFailed, g.LeaseRenewalFailed),
		LeaseLost:          both1(h.LeaseLost, g.LeaseLost),
		LeaseReleased:      both0(h.LeaseReleased, g.LeaseReleased),
		StoreDown:          both1(h.StoreDown, g.StoreDown),
		StoreUp:            both1(h.StoreUp, g.StoreUp),
	}
}

// via returns hooks that hand the calls of those of h to tell.
func (h Hooks) via(tell func(func())) Hooks {
	return Hooks{
		Campaigning:        via1(tell, h.Campaigning),
		Withdrawn:          via3(tell, h.Withdrawn),
		Elected:            via3(tell, h.Elected),
		HandedOver:         via3(tell, h.HandedOver),
		Lost:               via4(tell, h.Lost),
		Resigned:           via4(tell, h.Resigned),
		WorkStarted:        via2(tell, h.WorkStarted),
		WorkReturned:       via4(tell, h.WorkReturned),
		Failed:             via2(tell, h.Failed),
		Recovered:          via3(tell, h.Recovered),
		Done:               via2(tell, h.Done),
		Stuck:              via3(tell, h.Stuck),
		LeaseAcquired:      via1(tell, h.LeaseAcquired),
		LeaseRenewed:       via2(tell, h.LeaseRenewed),
		LeaseRenewalFailed: via1(tell, h.LeaseRenewalFailed),
		LeaseLost:          via1(tell, h.LeaseLost),
		LeaseReleased:      via0(tell, h.LeaseReleased),
		StoreDown:          via1(tell, h.StoreDown),
		StoreUp:            via1(tell, h.StoreUp),
	}
}

func via0(tell func(func()), f func()) func() {
	if f == nil {
		return nil
	}
	return func() { tell(func() { f() }) }
}

func via1[A any](tell func(func()), f func(A)) func(A) {
	if f == nil {
		return nil
	}
	return func(a A) { tell(func() { f(a) }) }
}

func via2[A, B any](tell func(func()), f func(A, B)) func(A, B) {
	if f == nil {
		return nil
	}
	return func(a A, b B) { tell(func() { f(a, b) }) }
}

func via3[A, B, C any](tell func(func()), f func(A, B, C)) func(A, B, C) {
	if f == nil {
		return nil
	}
	return func(a A, b B, c C) { tell(func() { f(a, b, c) }) }
}

func via4[A, B, C, D any](tell func(func()), f func(A, B, C, D)) func(A, B, C, D) {
	if f == nil {
		return nil
	}
	return func(a A, b B, c C, d D) { tell(func() { f(a, b, c, d) }) }
}

func both0(f, g func()) func() {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func() { f(); g() }
}

func both1[A any](f, g func(A)) func(A) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A) { f(a); g(a) }
}

func both2[A, B any](f, g func(A, B)) func(A, B) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A, b B) { f(a, b); g(a, b) }
}

func both3[A, B, C any](f, g func(A, B, C)) func(A, B, C) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A, b B, c C) { f(a, b, c); g(a, b, c) }
}

func both4[A, B, C, D any](f, g func(A, B, C, D)) func(A, B, C, D) {
	if f == nil || g == nil {
		return either(f == nil, g, f)
	}
	return func(a A, b B, c C, d D) { f(a, b, c, d); g(a, b, c, d) }
}

// either returns a if cond holds, and else b.
func either[T any](cond bool, a, b T) T {
	if cond {
		return a
	}
	return b
}

func (h *Hooks) campaigning(job string) {
	if h.Campaigning != nil {
		h.Campaigning(job)
	}
}

func (h *Hooks) withdrawn(job string, waited time.Duration, cause error) {
	if h.Withdrawn != nil {
		h.Withdrawn(job, waited, cause)
	}
}

func (h *Hooks) elected(job string, token int64, waited time.Duration) {
	if h.Elected != nil {
		h.Elected(job, token, waited)
	}
}

func (h *Hooks) handedOver(job string, token int64, gap time.Duration) {
	if h.HandedOver != nil {
		h.HandedOver(job, token, gap)
	}
}

func (h *Hooks) lost(job string, token int64, held time.Duration, cause error) {
	if h.Lost != nil {
		h.Lost(job, token, held, cause)
	}
}

func (h *Hooks) resigned(job string, token int64, held time.Duration, cause error) {
	if h.Resigned != nil {
		h.Resigned(job, token, held, cause)
	}
}

func (h *Hooks) workStarted(job string, token int64) {
	if h.WorkStarted != nil {
		h.WorkStarted(job, token)
	}
}

func (h *Hooks) workReturned(job string, token int64, took time.Duration, err error) {
	if h.WorkReturned != nil {
		h.WorkReturned(job, token, took, err)
	}
}

func (h *Hooks) failed(r JobRecord, err error) {
	if h.Failed != nil {
		h.Failed(r, err)
	}
}

func (h *Hooks) recovered(job string, token int64, failures int) {
	if h.Recovered != nil {
		h.Recovered(job, token, failures)
	}
}

func (h *Hooks) done(job string, token int64) {
	if h.Done != nil {
		h.Done(job, token)
	}
}

func (h *Hooks) stuck(job string, token int64, since time.Duration) {
	if h.Stuck != nil {
		h.Stuck(job, token, since)
	}
}

func (h *Hooks) leaseAcquired(took time.Duration) {
	if h.LeaseAcquired != nil {
		h.LeaseAcquired(took)
	}
}

func (h *Hooks) leaseRenewed(latency, remaining time.Duration) {
	if h.LeaseRenewed != nil {
		h.LeaseRenewed(latency, remaining)
	}
}

func (h *Hooks) leaseRenewalFailed(cause error) {
	if h.LeaseRenewalFailed != nil {
		h.LeaseRenewalFailed(cause)
	}
}

func (h *Hooks) leaseLost(cause error) {
	if h.LeaseLost != nil {
		h.LeaseLost(cause)
	}
}

func (h *Hooks) leaseReleased() {
	if h.LeaseReleased != nil {
		h.LeaseReleased()
	}
}

func (h *Hooks) storeDown(cause error) {
	if h.StoreDown != nil {
		h.StoreDown(cause)
	}
}

func (h *Hooks) storeUp(away time.Duration) {
	if h.StoreUp != nil {
		h.StoreUp(away)
	}
}
