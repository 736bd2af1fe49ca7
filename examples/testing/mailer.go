package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// outbox is where mails wait to be sent. In a service it is a table in a database.
type outbox interface {
	// next returns the oldest mail that has not been sent, or "" if there is none.
	next(ctx context.Context) (mail string, err error)

	// sent marks it. It returns errStale if it has seen a greater token.
	sent(ctx context.Context, mail string, token int64) error
}

var errStale = errors.New("a later leader has marked mails already")

// mailer sends what is in the outbox. What it needs is handed to it, so that a
// test can hand it something else.
type mailer struct {
	outbox   outbox
	send     func(ctx context.Context, mail string) error
	interval time.Duration // between looks into an outbox that was empty, or failed
	idle     func()        // called when there is nothing to send; may be nil
}

// work is the Work of the job. It looks at ctx between two mails, so that a mail
// in hand is sent and marked when the node stops, and hands ctx on, so that it is
// given up when the leadership is lost: then there is no more time than the grace.
func (m *mailer) work(ctx context.Context) error {
	leadership, _ := distributed.LeadershipFromContext(ctx)
	for ctx.Err() == nil {
		if m.sendNext(ctx, leadership.Token()) == nil {
			continue
		}
		// Nothing to do, or a failure: neither is a reason to stop the node.
		select {
		case <-time.After(m.interval):
		case <-ctx.Done():
		}
	}
	return nil
}

var errEmpty = errors.New("the outbox is empty")

func (m *mailer) sendNext(ctx context.Context, token int64) error {
	// A node that stops in order has the job until Work returns, and may finish.
	finishing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), distributed.ErrLeadershipLost) {
			cancel()
		}
	})()
	mail, err := m.outbox.next(finishing)
	if err != nil {
		return err
	}
	if mail == "" {
		if m.idle != nil {
			m.idle()
		}
		return errEmpty
	}
	if err := m.send(finishing, mail); err != nil {
		return err
	}
	return m.outbox.sent(finishing, mail, token)
}

// memoryOutbox is an outbox for the demonstration and the tests.
type memoryOutbox struct {
	mu     sync.Mutex
	mails  []string
	marked int   // so many of them are sent
	token  int64 // the greatest seen
}

func (o *memoryOutbox) add(mail string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mails = append(o.mails, mail)
}

func (o *memoryOutbox) next(context.Context) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.marked == len(o.mails) {
		return "", nil
	}
	return o.mails[o.marked], nil
}

func (o *memoryOutbox) sent(_ context.Context, mail string, token int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case token < o.token:
		return errStale
	case o.mails[o.marked] == mail:
		o.marked++
	}
	o.token = token
	return nil
}
