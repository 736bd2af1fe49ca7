package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// etcdRecord is what the leases and observers of an app that this provider has made
// have learnt, for those that follow.
type etcdRecord struct {
	mu     sync.Mutex
	memory memory

	joining, writing, viewing admission
}

func (p *etcdProvider) record(prefix string) *etcdRecord {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.records[prefix] == nil {
		p.records[prefix] = new(etcdRecord)
	}
	return p.records[prefix]
}

func (r *etcdRecord) recall() memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.memory
}

func (r *etcdRecord) remember(m memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.epoch != 0 {
		r.memory = m
	}
}

// accept takes in that etcd has taken a candidacy, the last thing that a node needs.
func (r *etcdRecord) accept() {
	r.joining.succeed(true)
	r.writing.succeed(true)
}

// admission is whether etcd admits this process. What refuses it for good as it
// starts is a mistake that ends it, so that somebody sees it. Later it is a change
// that somebody made and may undo.
type admission struct {
	mu       sync.Mutex
	admitted bool    // etcd has once taken all that this is about
	verdict  verdict // of what refuses us now
	told     bool    // that we go on although we are refused
	failed   int     // attempts in a row that have reached nobody
}

// refused takes in that an attempt was refused. It returns err, marked with
// ErrPermanent if there is no use in trying again; tell is set, once, if there is
// none as far as we know, but we go on.
func (a *admission) refused(err error, by []string, members int) (_ error, tell bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.verdict.refused(time.Now(), by, members) {
		return err, false
	}
	if !a.admitted {
		return permanent(err), false
	}
	tell = !a.told
	a.told = true
	return err, tell
}

// succeed takes in that an attempt has succeeded, and that with all that this is about, if all is set.
func (a *admission) succeed(all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verdict.admitted()
	a.admitted = a.admitted || all
	a.told, a.failed = false, 0
}

// patience is how long an attempt waits until it has reached a member: the first
// time not long, so that we can say why not, then longer, as etcd may be slow.
func (a *admission) patience() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return min(callTimeout<<min(a.failed, 3), 5*callTimeout)
}

func (a *admission) unreached() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed++
}

// attempt makes a connection, and f with it, which keeps it if it succeeds. The
// error says all that is known of why it did not.
func (p *etcdProvider) attempt(ctx context.Context, log *slog.Logger, a *admission, f func(*connection) error) error {
	if p.invalid != nil {
		return p.invalid
	}
	if ctx == nil {
		return fmt.Errorf("%w: ctx is nil", ErrInvalidConfig)
	}
	c, err := p.connect(ctx, log)
	if err != nil {
		return p.judge(ctx, log, a, nil, err)
	}
	err = c.reach(ctx, a.patience())
	if err != nil {
		a.unreached()
	} else if err = f(c); err == nil {
		a.succeed(false)
		return nil
	} else {
		err = c.explain(ctx, err)
	}
	return errors.Join(p.judge(ctx, log, a, c, err), c.close())
}

// judge tells what waiting cannot mend from all else.
func (p *etcdProvider) judge(ctx context.Context, log *slog.Logger, a *admission, c *connection, err error) error {
	switch {
	case ctx.Err() != nil || errors.Is(err, ErrInvalidConfig):
		return err
	case isImpossible(err):
		return permanent(err)
	case isRefusal(err):
		return a.refusal(log, c, err)
	}
	return err
}

// refusal is refused for a call on c, which is nil if there was none.
func (a *admission) refusal(log *slog.Logger, c *connection, err error) error {
	members := 1
	var by []string
	if c != nil {
		members = len(c.client.Endpoints())
		by = c.refusers()
	}
	err, tell := a.refused(err, by, members)
	if tell {
		log.Warn("etcd refuses what it took before, trying again", "error", err)
	}
	return err
}

// refusers are the members known to have refused a call on c; of the caller's client
// nothing is known.
func (c *connection) refusers() []string {
	if !c.own {
		return nil
	}
	_, by := c.wires.trouble()
	return by
}

// explain adds to err where etcd is looked for, and, if nobody has answered, what is
// known of why.
func (c *connection) explain(ctx context.Context, err error) error {
	if isTimeout(err) {
		if last, _ := c.wires.trouble(); last != nil {
			err = fmt.Errorf("%w: %w", err, last)
		}
	}
	if isTimeout(err) && ctx.Err() == nil {
		if cause := c.reach(ctx, callTimeout); cause != nil {
			return fmt.Errorf("%w: %w", err, cause)
		}
	}
	return c.locate(err)
}
