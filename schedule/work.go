package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
)

// Option changes what [Every] and [Cron] return.
type Option func(*work)

// Missed is what is done about times that were missed: see [WithMissed].
type Missed int

// What [WithMissed] may say.
const (
	Once Missed = iota // run for the last of them, late
	Skip               // run for none of them
	All                // run for each of them, in order; if one fails it is tried until it succeeds, and the later ones wait
)

// WithMissed says what to do about times that came while no node led the job, however
// briefly, or while the function was running for an earlier one. Default: [Once].
func WithMissed(m Missed) Option { return func(w *work) { w.missed = m } }

// work does something at times. It may be led by many nodes, one after the other.
type work struct {
	times  times
	do     func(ctx context.Context, at time.Time) error
	missed Missed
}

// times is when something is to be done.
type times interface {
	next(after time.Time) time.Time
}

func newWork(t times, do func(context.Context, time.Time) error, opts []Option) (func(context.Context) error, error) {
	w := &work{times: t, do: do}
	if do == nil {
		return nil, fmt.Errorf("%w: the function of a schedule is nil", distributed.ErrInvalidConfig)
	}
	for _, opt := range opts {
		if opt == nil {
			return nil, fmt.Errorf("%w: an option is nil", distributed.ErrInvalidConfig)
		}
		opt(w)
	}
	if w.missed < Once || w.missed > All {
		return nil, fmt.Errorf("%w: WithMissed(%d): must be Once, Skip or All", distributed.ErrInvalidConfig, w.missed)
	}
	return w.lead, nil
}

// lead is the Work: it runs until ctx is done, or something fails.
func (w *work) lead(ctx context.Context) error {
	l, ok := distributed.LeadershipFromContext(ctx)
	if !ok {
		return fmt.Errorf("%w: a schedule is the Work of a job: ctx has no leadership", distributed.ErrInvalidConfig)
	}
	last, err := load(ctx, l)
	for err == nil {
		at := w.due(last, now())
		if !wait(ctx, at) {
			return nil
		}
		last = record{Time: at}
		err = w.run(ctx, l, at)
	}
	return err
}

// due returns what to run for next: a time that has come already, or one to wait for.
func (w *work) due(last record, now time.Time) time.Time {
	next := w.times.next(last.Time)
	switch {
	case last.Failed && (w.missed == All || now.Before(next)):
		return last.Time
	case w.missed == Skip && next.Before(now):
		return w.times.next(now.Add(-1)) // that of this very moment is not missed
	case w.missed == Once:
		for later := w.times.next(next); !later.After(now); later = w.times.next(later) {
			next = later
		}
	}
	return next
}

// run calls the function for a time. It is on record before that the time has been
// begun, and afterwards that it may be begun again, if the function has failed.
func (w *work) run(ctx context.Context, l *distributed.Leadership, at time.Time) (err error) {
	saving, cancel := outlast(ctx, saveTimeout)
	defer cancel()
	if err := save(saving, l, record{Time: at}); err != nil {
		return err
	}
	err = errNotReturned
	defer func() {
		if err != nil {
			err = errors.Join(err, save(saving, l, record{Time: at, Failed: true}))
		}
	}()
	if ctx.Err() != nil { // saving has taken that long
		return ctx.Err()
	}
	return w.do(ctx, at)
}

// errNotReturned means a panic, which goes on.
var errNotReturned = errors.New("the function has not returned")

// saveTimeout is how long saving goes on after the node was told to stop: a time that is
// on record as begun, and was not, is lost.
const saveTimeout = 5 * time.Second

// outlast returns a context that is done d after ctx is, or when cancel is called.
func outlast(ctx context.Context, d time.Duration) (outlasting context.Context, cancel func()) {
	outlasting, over := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			over()
		case <-outlasting.Done():
		}
	})
	return outlasting, func() { stop(); over() }
}

// longest is how long to sleep at most before looking at the time of day again: that
// may be set, or go on while this machine sleeps.
const longest = time.Minute

// wait reports whether at has come before ctx is done.
func wait(ctx context.Context, at time.Time) bool {
	for left := at.Sub(now()); left > 0 && ctx.Err() == nil; left = at.Sub(now()) {
		timer := time.NewTimer(min(left, longest))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return ctx.Err() == nil
}

// now is the time of day, and only that.
func now() time.Time { return time.Now().Round(0).UTC() }

// record is what is saved of a schedule.
type record struct {
	Time   time.Time `json:"time"`             // the last one that was begun; at first, when the job was led for the first time
	Failed bool      `json:"failed,omitempty"` // it may be begun again
}

// load returns what the last leader has saved. Once it has returned, that one can save,
// and so begin, nothing any more.
func load(ctx context.Context, l *distributed.Leadership) (r record, err error) {
	data, err := l.Saved(ctx)
	if err != nil {
		return r, err
	}
	if len(data) == 0 {
		r.Time = now()
		return r, save(ctx, l, r)
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Time.IsZero() {
		return r, fmt.Errorf("schedule: what %q has saved is not the time of a schedule: %q", l.Name(), data[:min(len(data), 100)])
	}
	return r, nil
}

func save(ctx context.Context, l *distributed.Leadership, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return l.Save(ctx, data)
}
