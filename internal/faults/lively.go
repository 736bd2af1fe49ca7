//go:build unix

package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
)

// lively is a job of which the test says what becomes of it, and to which it tells
// what happens: its Work fails, it is prepared, and it saves.
func (w *worker) lively(name string) distributed.Job {
	j := distributed.Job{Name: name, Work: func(ctx context.Context) error { return w.live(ctx, name) }}
	if w.config.Balance {
		j.SaysReady = true
		j.Prepare = func(ctx context.Context) error { return w.prepare(ctx, name) }
	}
	return j
}

// live works, and saves, until ctx is done or what the test has said comes.
func (w *worker) live(ctx context.Context, job string) error {
	l, _ := distributed.LeadershipFromContext(ctx)
	after, how, err := w.fate("work", job, l.Token())
	if err != nil {
		return nil // the test is over
	}
	term, end := context.WithCancel(ctx)
	defer end()
	if how != well {
		defer time.AfterFunc(after, end).Stop()
	}
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		w.keep(term, job, l)
	}()
	if err := w.work(term, job, l.Token(), l.Valid, kept); err != nil {
		return err
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, distributed.ErrMoved):
		w.tell("moved", job, l.Token())
	case cause != nil:
	case how == panics:
		panic("as the test wants it")
	case how == fails:
		return errFate
	case how == finishes:
		return distributed.ErrDone
	}
	return nil
}

// keep begins with what was saved last, and saves again and again; once more when it
// has been told to stop.
func (w *worker) keep(ctx context.Context, job string, l *distributed.Leadership) {
	found, err := l.Saved(ctx)
	l.Ready()
	if err != nil {
		w.refused(l, job, err)
		return
	}
	w.tell("found", job, l.Token(), cmp.Or(string(found), "0.0"))
	for i := 1; ; i++ {
		stopping := ctx.Err() != nil
		w.tell("saving", job, l.Token(), i)
		if err := l.Save(ctx, fmt.Appendf(nil, "%d.%d", l.Token(), i)); err == nil {
			w.tell("saved", job, l.Token(), i)
		} else {
			w.refused(l, job, err)
		}
		if stopping {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// refused tells of a leader that is said to lead and may not save.
func (w *worker) refused(l *distributed.Leadership, job string, err error) {
	if errors.Is(err, distributed.ErrLeadershipLost) && l.Valid() {
		w.tell("refused", job, l.Token())
	}
}

func (w *worker) prepare(ctx context.Context, job string) error {
	after, how, err := w.fate("prepare", job)
	if err != nil {
		return err
	}
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return ctx.Err()
	}
	if how != well {
		return errFate
	}
	w.tell("prepared", job, w.records.Process())
	return nil
}

// What becomes of a Work, or of a Prepare.
const (
	well     = "well"
	fails    = "fails"
	panics   = "panics"
	returns  = "returns"
	finishes = "finishes" // for good
)

var errFate = errors.New("as the test wants it")

// fate asks the test what is to happen, and when.
func (w *worker) fate(args ...any) (after time.Duration, how string, err error) {
	answer, err := w.register.ask("life " + fmt.Sprintln(args...))
	if err != nil {
		return 0, "", err
	}
	_, err = fmt.Sscan(answer, &after, &how)
	return after, how, err
}

// tell tells the test what has happened. If the test is over, nobody needs to know.
func (w *worker) tell(args ...any) { _, _ = w.register.ask("life " + fmt.Sprintln(args...)) }
