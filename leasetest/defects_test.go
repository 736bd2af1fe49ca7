package leasetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/b2552be4/distributed"
)

// defect is a way to get a provider wrong. Each function that is set replaces a
// method; what it wants of the method that works it finds in the embedded one.
type defect struct {
	name  string
	fails []string // the cases; the first is the one that is about it
	may   []string // cases that it fails or not, as goroutines happen to run
	says  string   // what that one reports, in part

	request  func(*distributed.LeaseRequest)
	acquired func(context.Context, *brokenLease)
	close    func(context.Context, *brokenLease) error
	campaign func(context.Context, *brokenElection, context.CancelCauseFunc) (int64, error)
	lost     func(*brokenElection, context.CancelCauseFunc, error) // called instead of lost
	valid    func(*brokenElection) bool
	resign   func(context.Context, *brokenElection) error
	gap      func(*brokenElection) (time.Duration, bool)
	recorded func(distributed.JobRecord) distributed.JobRecord // changes what Recorded returns
	save     func(context.Context, *brokenElection, []byte) error

	announce  func(context.Context, *brokenLease, distributed.NodeInfo) error
	view      viewing
	silence   func(*brokenSight, map[string]time.Duration) // changes what Silence returns
	opened    func(context.Context, *brokenViewer)
	closeView func(*brokenViewer) error
	age       func(*brokenViewer) time.Duration
}

type brokenLease struct {
	distributed.Lease
	*broken
	app, instance string
	number        int64         // in the order of acquisition, from 1
	lock          chan struct{} // held while there is something in it
	lost          atomic.Bool   // a leadership under it was lost
	removed       atomic.Bool   // a candidate of it was
	closes        atomic.Int32
	shown         *brokenSight
	announced     atomic.Bool

	mu        sync.Mutex
	elections []*brokenElection
}

func (l *brokenLease) Election(name string) distributed.Election {
	e := &brokenElection{Election: l.Lease.Election(name), lease: l, name: name}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elections = append(l.elections, e)
	return e
}

func (l *brokenLease) Close(ctx context.Context) error {
	l.closes.Add(1)
	if l.defect.close != nil {
		return l.defect.close(ctx, l)
	}
	return l.Lease.Close(ctx)
}

type brokenElection struct {
	distributed.Election
	lease    *brokenLease
	name     string
	standing atomic.Bool
	led      atomic.Bool // once
	lost     atomic.Bool
	resigned atomic.Bool
	phantom  atomic.Bool // believes to lead although it does not
	tell     context.CancelCauseFunc
	decided  func(int64, error)
	began    time.Time // the campaign
}

func (e *brokenElection) Campaign(ctx context.Context, decided func(int64, error), lost context.CancelCauseFunc) {
	e.resigned.Store(false)
	e.standing.Store(true)
	e.tell, e.decided, e.began = lost, decided, time.Now()
	told := func(cause error) {
		e.lost.Store(true)
		e.lease.lost.Store(true)
		if e.lease.defect.lost != nil {
			e.lease.defect.lost(e, lost, cause)
			return
		}
		lost(cause)
	}
	campaign := e.lease.defect.campaign
	if campaign == nil {
		campaign = works
	}
	go func() {
		token, err := campaign(ctx, e, told)
		e.standing.Store(false)
		e.led.Store(err == nil)
		decided(token, err)
	}()
}

// works waits for what a campaign comes to.
func works(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (token int64, err error) {
	decided := make(chan struct{})
	e.Election.Campaign(ctx, func(t int64, failure error) { token, err = t, failure; close(decided) }, lost)
	<-decided
	return token, err
}

func (e *brokenElection) Valid() bool {
	if e.lease.defect.valid != nil {
		return e.lease.defect.valid(e)
	}
	return e.phantom.Load() || e.Election.Valid()
}

func (e *brokenElection) Gap() (time.Duration, bool) {
	if e.lease.defect.gap != nil {
		return e.lease.defect.gap(e)
	}
	return e.Election.Gap()
}

func (e *brokenElection) Resign(ctx context.Context) error {
	e.resigned.Store(true)
	e.phantom.Store(false)
	if e.lease.defect.resign != nil {
		return e.lease.defect.resign(ctx, e)
	}
	return e.Election.Resign(ctx)
}

func (l *brokenLease) Recorded(job string) (distributed.JobRecord, time.Duration, <-chan struct{}) {
	record, age, outdated := l.Lease.Recorded(job)
	if l.defect.recorded != nil && outdated != nil {
		record = l.defect.recorded(record)
	}
	return record, age, outdated
}

func (e *brokenElection) Save(ctx context.Context, data []byte) error {
	if e.lease.defect.save != nil {
		return e.lease.defect.save(ctx, e, data)
	}
	return e.Election.Save(ctx, data)
}

// leadsAtOnce is what a provider does that finds nobody before it by mistake.
func (e *brokenElection) leadsAtOnce() (int64, error) {
	e.phantom.Store(true)
	return 1000, nil
}

// locked gives up after an hour, so that tests of a deadlock come to an end.
func (l *brokenLease) locked(f func()) {
	select {
	case l.lock <- struct{}{}:
		defer func() { <-l.lock }()
	case <-time.After(time.Hour):
	}
	f()
}

var defects = []defect{
	{
		name: "one candidate too many is let through", fails: []string{"OneLeader"}, says: "it has not resigned, and lost has not been called",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			if len(e.lease.hub.Candidates(e.lease.app, e.name)) == 4 {
				return e.leadsAtOnce()
			}
			return works(ctx, e, lost)
		},
	},
	{
		name: "who comes last leads first", fails: []string{"FirstComeFirstServed", "ResignAfterLoss", "ViewOfQueue", "ViewWithoutLeavers"}, says: "which leads now",
		campaign: overtaking,
	},
	{
		name: "the token is that of the lease", fails: []string{"TokensRise", "CampaignAgain", "ViewOfQueue", "ViewOfLoss", "Viewer"}, says: "before it was 1",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			_, err := works(ctx, e, lost)
			return e.lease.number, err
		},
	},
	{
		name: "nobody renews the lease", fails: []string{"Renewal", "Silence", "WaitingMakesNoCalls"}, says: "lost was called on node-1",
		acquired: func(_ context.Context, l *brokenLease) {
			time.AfterFunc(brokenTTL+3*brokenTTL/4, func() { l.hub.Expire(l.instance) })
		},
	},
	{
		name: "the lease ends with the context of AcquireLease", fails: []string{"AcquireContext"}, says: "after the context of AcquireLease was done",
		acquired: func(ctx context.Context, l *brokenLease) {
			context.AfterFunc(ctx, func() { l.hub.Expire(l.instance) })
		},
	},
	{
		name: "the leadership ends with the context of Campaign", fails: []string{"CampaignContext"}, says: "after the context of its campaign was done",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			token, err := works(ctx, e, lost)
			if err == nil {
				context.AfterFunc(ctx, func() { e.lease.hub.RemoveCandidate(e.lease.app, e.name, e.lease.instance) })
			}
			return token, err
		},
	},
	{
		name: "resigning one election resigns all of the lease", fails: []string{"ManyElections"}, says: "after the same lease resigned another election",
		resign: func(ctx context.Context, e *brokenElection) error {
			e.lease.mu.Lock()
			defer e.lease.mu.Unlock()
			for _, o := range e.lease.elections {
				_ = o.Election.Resign(ctx)
			}
			return nil
		},
	},
	{
		name: "the app is not part of the key", fails: []string{"ManyApps", "ViewOfApp"}, says: "does not lead",
		request: func(r *distributed.LeaseRequest) { r.App = strings.TrimSuffix(r.App, "-other") },
	},
	{
		name: "the lock is reentrant for an instance", fails: []string{"SameInstance"}, says: "although it was somebody else's turn",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			leader, _ := e.lease.hub.Leader(e.lease.app, e.name)
			if leader == e.lease.instance && e.lease.number > 1 {
				defer func() { go func() { _, _ = works(ctx, e, lost) }() }()
				return e.leadsAtOnce()
			}
			return works(ctx, e, lost)
		},
	},
	{
		name: "a cancelled campaign leaves its candidacy", fails: []string{"CancelledCampaign", "ViewWithoutLeavers"}, says: "the store has 3 candidates",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			select {
			case o := <-inBackground(context.Background(), e, lost):
				return o.token, o.err
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		},
	},
	{
		name: "a cancelled campaign waits on", fails: []string{"CancelledCampaign", "ViewWithoutLeavers"}, says: `has not ended with "context canceled"`,
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			late, cancel := context.WithCancel(context.Background())
			defer cancel()
			defer context.AfterFunc(ctx, func() { time.AfterFunc(time.Hour, cancel) })()
			return works(late, e, lost)
		},
	},
	{
		name: "a cancelled campaign does not say why it ended", fails: []string{"CancelledCampaign", "CampaignWithDoneContext"}, says: `ended with "campaign failed", and not "context canceled"`,
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			token, err := works(ctx, e, lost)
			if errors.Is(err, context.Canceled) {
				err = errors.New("campaign failed")
			}
			return token, err
		},
	},
	{
		name: "a context that is done is looked at only while waiting", fails: []string{"CampaignWithDoneContext"}, says: "was won with token",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			if ctx.Err() != nil {
				ctx = context.WithoutCancel(ctx)
			}
			return works(ctx, e, lost)
		},
	},
	{
		name: "a campaign polls", fails: []string{"WaitingMakesNoCalls"}, says: "calls were made while 50 campaigns waited",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			ended := inBackground(ctx, e, lost)
			for {
				select {
				case o := <-ended:
					return o.token, o.err
				case <-time.After(time.Second):
					e.lease.broken.mu.Lock()
					e.lease.calls++
					e.lease.broken.mu.Unlock()
				}
			}
		},
	},
	{
		name: "a candidate that has been removed takes that for its turn", fails: []string{"RemovedWhileWaiting"}, says: "it has not resigned, and lost has not been called",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			return e.whenRemoved(ctx, lost, func() (int64, error) { return e.leadsAtOnce() })
		},
	},
	{
		name: "a candidate that has been removed does not notice", fails: []string{"RemovedWhileWaiting"}, says: "which was removed from the store, has not ended",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			return e.whenRemoved(ctx, lost, func() (int64, error) { <-ctx.Done(); return 0, ctx.Err() })
		},
	},
	{
		name: "a candidate that has been removed fails for good", fails: []string{"RemovedWhileWaiting"}, says: `ended with "removed", and not "distributed: lease lost"`,
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			return e.whenRemoved(ctx, lost, func() (int64, error) { return 0, errors.New("removed") })
		},
	},
	{
		name: "a lease that ends looks like a win (etcd #11456)", fails: []string{"LeaseLostWhileWaiting"}, says: "was won with token",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			token, err := works(ctx, e, lost)
			if errors.Is(err, distributed.ErrLeaseLost) && !e.lease.lost.Load() && !e.lease.removed.Load() && e.lease.closes.Load() == 0 {
				return token, nil
			}
			return token, err
		},
	},
	{
		name: "the lease is looked at only while waiting", fails: []string{"LeaseLostBefore"}, says: "was won with token",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			if e.lease.lost.Load() && !e.lease.removed.Load() {
				return e.leadsAtOnce()
			}
			return works(ctx, e, lost)
		},
	},
	{
		name: "Resign does not tell the store", fails: []string{
			"Resign", "OneLeader", "FirstComeFirstServed", "TokensRise", "ManyElections", "SameInstance", "CampaignContext", "CancelledCampaign",
			"RemovedWhileWaiting", "LeaseLostWhileWaiting", "ResignWithDoneContext", "CampaignAgain", "Gap", "ResignAfterLoss",
			"Close", "ViewIsKept", "ViewOfQueue", "ViewWithoutLeavers",
			"Record", "Saved", "StaleSave",
		}, says: "node-2 of",
		valid:  func(e *brokenElection) bool { return !e.resigned.Load() && e.Election.Valid() },
		resign: func(context.Context, *brokenElection) error { return nil },
	},
	{
		name: "Resign gives up when its context is done", fails: []string{"ResignWithDoneContext"}, says: "does not lead",
		valid: func(e *brokenElection) bool { return !e.resigned.Load() && e.Election.Valid() },
		resign: func(ctx context.Context, e *brokenElection) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return e.Election.Resign(ctx)
		},
	},
	{
		name: "Resign that fails leaves the leadership as it is", fails: []string{"ResignWithDoneContext"}, says: "is true after Resign",
		resign: func(ctx context.Context, e *brokenElection) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return e.Election.Resign(ctx)
		},
	},
	{
		name: "failures are not counted", fails: []string{"Record"}, says: "the next leader finds",
		recorded: func(r distributed.JobRecord) distributed.JobRecord { r.Failures = 0; return r },
	},
	{
		name: "what is saved is cut", fails: []string{"Saved"}, says: "was saved last",
		save: func(ctx context.Context, e *brokenElection, data []byte) error {
			return e.Election.Save(ctx, data[:min(len(data), 60_000)])
		},
	},
	{
		name: "who leads no more is told that it has saved", fails: []string{"StaleSave"}, says: "which led before",
		save: func(ctx context.Context, e *brokenElection, data []byte) error {
			_ = e.Election.Save(ctx, data)
			return nil
		},
	},
	{
		name: "who campaigns again leads with the old token", fails: []string{"CampaignAgain", "TokensRise", "ViewOfQueue", "ViewOfLoss", "Viewer"}, says: "in between",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			token, err := works(ctx, e, lost)
			return min(token, e.lease.number), err
		},
	},
	{
		name: "Valid is true while somebody else leads", fails: []string{"Resign"}, says: "is true while it waits",
		valid: func(e *brokenElection) bool { return e.standing.Load() || e.Election.Valid() },
	},
	{
		name: "a resignation is taken for a loss", fails: []string{"Resign"}, says: "which had resigned: told too much",
		resign: func(ctx context.Context, e *brokenElection) error {
			err := e.Election.Resign(ctx)
			e.tell(errors.New("told too much"))
			return err
		},
	},
	{
		name: "Gap is known of whoever leads", fails: []string{"Gap"}, says: "which stood behind nobody, is",
		gap: func(e *brokenElection) (time.Duration, bool) {
			gap, _ := e.Election.Gap()
			return gap, true
		},
	},
	{
		name: "Gap counts from when the campaign began", fails: []string{"Gap"}, says: "and the one before it began to resign no more than",
		gap: func(e *brokenElection) (time.Duration, bool) {
			_, ok := e.Election.Gap()
			return time.Since(e.began), ok
		},
	},
	{
		name: "a loss is taken for a release", fails: []string{"Gap"}, says: "which follows on a loss, is",
		gap: func(e *brokenElection) (time.Duration, bool) {
			gap, ok := e.Election.Gap()
			return gap, ok || time.Since(e.began) > time.Second
		},
	},
	{
		name: "lost is not called", fails: []string{
			"Expiry", "ExpiryOfManyElections", "RemovedWhileLeading", "LostOnce", "LostWithoutLocks", "ResignAfterLoss", "LeaseLostBefore", "TokensRise",
			"Gap", "ViewOfLoss",
		}, says: "it has not resigned, and lost has not been called",
		lost: func(*brokenElection, context.CancelCauseFunc, error) {},
	},
	{
		name: "lost is called when somebody else leads", fails: []string{
			"Expiry", "RemovedWhileLeading", "ResignAfterLoss", "TokensRise", "Gap", "ViewOfLoss",
		}, says: "it has not resigned, and lost has not been called",
		lost: func(_ *brokenElection, lost context.CancelCauseFunc, cause error) {
			time.AfterFunc(brokenTTL+time.Second, func() { lost(cause) })
		},
	},
	{
		name: "lost is called with another cause", fails: []string{
			"Expiry", "ExpiryOfManyElections", "RemovedWhileLeading", "LostOnce", "ResignAfterLoss", "LeaseLostBefore", "ViewOfLoss",
		}, says: `with "gone", which does not wrap ErrLeadershipLost`,
		lost: func(_ *brokenElection, lost context.CancelCauseFunc, _ error) { lost(errors.New("gone")) },
	},
	{
		name: "Valid ignores the loss", fails: []string{
			"Expiry", "ExpiryOfManyElections", "RemovedWhileLeading", "LostOnce", "ResignAfterLoss", "LeaseLostBefore", "TokensRise", "Gap", "ViewOfLoss",
		}, says: "is true after it was lost",
		valid: func(e *brokenElection) bool {
			return e.led.Load() && !e.resigned.Load() && e.lease.closes.Load() == 0
		},
	},
	{
		name: "the loss of a lease ends its first leadership only", fails: []string{"ExpiryOfManyElections"}, says: "lost has not been called",
		lost: func(e *brokenElection, lost context.CancelCauseFunc, cause error) {
			e.lease.mu.Lock()
			first := e.lease.elections[0]
			e.lease.mu.Unlock()
			if e.name == first.name {
				lost(cause)
			}
		},
	},
	{
		name: "nobody notices that the leader was removed", fails: []string{"RemovedWhileLeading", "LostOnce"}, says: "it has not resigned, and lost has not been called",
		lost: func(e *brokenElection, lost context.CancelCauseFunc, cause error) {
			if !e.lease.removed.Load() {
				lost(cause)
			}
		},
	},
	{
		name: "each reason is told", fails: []string{"LostOnce"}, says: "lost was called 2 times",
		close: func(ctx context.Context, l *brokenLease) error {
			l.mu.Lock()
			elections := slices.Clone(l.elections)
			l.mu.Unlock()
			for _, e := range elections {
				if e.lost.Load() {
					e.tell(distributed.ErrLeadershipLost)
				}
			}
			return l.Lease.Close(ctx)
		},
	},
	{
		name: "a campaign is decided again when the leadership is lost", says: "decided was called again",
		fails: []string{
			"LostOnce", "TokensRise", "LeaseLostBefore", "Gap", "Expiry", "ExpiryOfManyElections", "RemovedWhileLeading", "LostWithoutLocks",
			"ResignAfterLoss", "ViewOfLoss", "ViewOfBurial",
		},
		lost: func(e *brokenElection, lost context.CancelCauseFunc, cause error) {
			lost(cause)
			e.decided(0, distributed.ErrLeaseLost)
		},
	},
	{
		name: "lost is called with a lock held that Valid needs", fails: []string{"LostWithoutLocks"}, says: "which calls Valid and Election, has not returned",
		lost: func(e *brokenElection, lost context.CancelCauseFunc, cause error) {
			e.lease.locked(func() { lost(cause) })
		},
		valid: func(e *brokenElection) (valid bool) {
			e.lease.locked(func() { valid = e.Election.Valid() })
			return valid
		},
	},
	{
		name: "a late Resign removes whoever leads", fails: []string{"ResignAfterLoss", "RemovedWhileLeading"}, says: "after the one that had lost it resigned",
		resign: func(ctx context.Context, e *brokenElection) error {
			if e.lost.Load() {
				leader, _ := e.lease.hub.Leader(e.lease.app, e.name)
				e.lease.hub.RemoveCandidate(e.lease.app, e.name, leader)
			}
			return e.Election.Resign(ctx)
		},
	},
	{
		name: "Close does not tell the store", fails: []string{
			"Close", "CloseEndsCampaigns", "CloseTwice", "CloseWithDoneContext", "TokensRise", "LostOnce", "AnnouncementEnds", "ViewSelf", "ViewWithoutLeavers", "ViewOfBurial", "ViewEnds", "Silence",
		}, says: "does not lead",
		valid: func(e *brokenElection) bool { return e.lease.closes.Load() == 0 && e.Election.Valid() },
		close: func(context.Context, *brokenLease) error { return nil },
	},
	{
		name: "Valid ignores Close", fails: []string{"Close", "CloseTwice", "CloseWithDoneContext", "TokensRise"}, says: "is true after Close",
		valid: func(e *brokenElection) bool {
			return e.led.Load() && !e.resigned.Load() && !e.lost.Load()
		},
	},
	{
		name: "Close does not wake campaigns", fails: []string{"CloseEndsCampaigns", "CloseWithDoneContext"}, says: `has not ended with "distributed: lease lost"`,
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			token, err := works(ctx, e, lost)
			if errors.Is(err, distributed.ErrLeaseLost) && e.lease.closes.Load() > 0 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return token, err
		},
	},
	{
		name: "campaigns win under a closed lease", fails: []string{"CloseEndsCampaigns"}, says: "was won with token",
		campaign: func(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
			if e.lease.closes.Load() > 0 {
				return e.leadsAtOnce()
			}
			return works(ctx, e, lost)
		},
	},
	{
		name: "the second Close fails", fails: []string{"CloseTwice", "CloseWithDoneContext"}, says: "the second Close returned closed already",
		close: func(ctx context.Context, l *brokenLease) error {
			if l.closes.Load() > 1 {
				return errors.New("closed already")
			}
			return l.Lease.Close(ctx)
		},
	},
	{
		name: "Close frees nothing when its context is done", fails: []string{"CloseWithDoneContext"}, says: `has not ended with "distributed: lease lost"`,
		close: func(ctx context.Context, l *brokenLease) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return l.Lease.Close(ctx)
		},
	},
	{
		name: "Close ignores its context", fails: []string{"CloseWithDoneContext"}, says: "has not returned after",
		close: func(ctx context.Context, l *brokenLease) error {
			if ctx.Err() != nil {
				time.Sleep(time.Hour)
			}
			return l.Lease.Close(ctx)
		},
	},
}

// overtaking lets a new candidate pass those that wait.
func overtaking(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) (int64, error) {
	b := e.lease.broken
	b.mu.Lock()
	passed := slices.Clone(b.waiting)
	b.mu.Unlock()
	time.AfterFunc(time.Millisecond, func() {
		for _, cancel := range passed {
			cancel()
		}
	})
	for {
		attempt, cancel := context.WithCancel(ctx)
		defer cancel()
		b.mu.Lock()
		b.waiting = append(b.waiting, cancel)
		b.mu.Unlock()
		token, err := works(attempt, e, lost)
		if !errors.Is(err, context.Canceled) || ctx.Err() != nil {
			return token, err
		}
	}
}

// whenRemoved campaigns, and does f once the candidate has been removed by
// somebody else.
func (e *brokenElection) whenRemoved(ctx context.Context, lost context.CancelCauseFunc, f func() (int64, error)) (int64, error) {
	if e.lease.removed.Load() {
		return works(ctx, e, lost)
	}
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := inBackground(attempt, e, lost)
	for !e.lease.removed.Load() {
		select {
		case o := <-ended:
			if e.lease.removed.Load() {
				return f()
			}
			return o.token, o.err
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	<-ended
	return f()
}

type outcome struct {
	token int64
	err   error
}

func inBackground(ctx context.Context, e *brokenElection, lost context.CancelCauseFunc) <-chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		token, err := works(ctx, e, lost)
		ended <- outcome{token, err}
	}()
	return ended
}
