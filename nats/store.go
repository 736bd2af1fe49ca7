package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/b2552be4/distributed"
)

// store keeps documents in a stream: a subject a document, a message a change. The
// sequence of a message is its revision; one without data deletes.
type store struct {
	Config
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	own    sync.Map // key: revision, of the documents that this store has written last

	closed context.Context
	close  context.CancelFunc
}

// Put implements [distributed.Store].
func (s *store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	ctx, done := s.bound(ctx)
	defer done()
	at, err := s.write(ctx, key, value, rev)
	if err == nil {
		s.own.Store(key, at)
	}
	return at, s.explain(err)
}

// Delete implements [distributed.Store].
func (s *store) Delete(ctx context.Context, key string, rev int64) error {
	ctx, done := s.bound(ctx)
	defer done()
	at, err := s.write(ctx, key, nil, rev)
	if err == nil {
		s.own.Delete(key)
		s.bury(ctx, key, at)
	}
	return s.explain(err)
}

// write takes effect only if the last message of the document is the one at rev. The
// stream sees to that, but for what it cannot tell: that a message is a deletion,
// whose revision never matches, but 0 does.
func (s *store) write(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	conflict := &distributed.ConflictError{Key: key}
	if last, _ := s.own.Load(key); rev != 0 && last != rev {
		switch deletion, err := s.isDeletion(ctx, rev); {
		case err != nil:
			return 0, err
		case deletion:
			return 0, conflict
		}
	}
	for guard := rev; ; {
		at, err := s.publish(ctx, &nats.Msg{Subject: s.subject(key), Data: value}, guard)
		last, refused := refusedAt(err)
		switch {
		case !refused:
			return at, err
		case rev != 0:
			return 0, conflict
		case last != 0:
			if deletion, err := s.isDeletion(ctx, last); err != nil {
				return 0, err
			} else if !deletion {
				return 0, conflict
			}
		}
		guard = last
	}
}

// isDeletion asks the leader of the stream, as another replica may be behind.
func (s *store) isDeletion(ctx context.Context, rev int64) (bool, error) {
	m, err := s.stream.GetMsg(ctx, uint64(rev))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil // it has been written over, so it is not the last
	}
	return err == nil && len(m.Data) == 0, err
}

// publish makes one attempt. While the leader of the stream has another write of the
// document under way, it writes nothing and does not say what is there: then it is
// asked again.
func (s *store) publish(ctx context.Context, m *nats.Msg, guard int64, opts ...jetstream.PublishOpt) (int64, error) {
	opts = append(opts, jetstream.WithExpectStream(s.Stream), jetstream.WithExpectLastSequencePerSubject(uint64(guard)), jetstream.WithRetryAttempts(0))
	for {
		ack, err := s.js.PublishMsg(ctx, m, opts...)
		if err == nil {
			return int64(ack.Sequence), nil
		}
		if e, ok := errors.AsType[*jetstream.APIError](err); !ok || e.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant {
			return 0, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// refusedAt returns the last message of the subject that a write was refused for.
func refusedAt(err error) (at int64, ok bool) {
	e, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || e.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, false
	}
	_, err = fmt.Sscanf(e.Description, "wrong last sequence: %d", &at)
	return at, err == nil
}

// A deletion is kept for as long as a feed may have to be behind to miss it, and be
// told a listing instead.
const deletionAge = time.Hour

// buried marks deletions of what has been deleted.
const buried = "Distributed-Buried"

// bury lets the subject of a deleted document go. A deletion that expires would let
// the value before it come back. So it is repeated as often as the stream keeps
// messages of a subject: only when the last of these has pushed out all values, and
// the deletion itself, can the subject vanish. If it breaks off, the deletion stays.
func (s *store) bury(ctx context.Context, key string, at int64) {
	for range history {
		m := &nats.Msg{Subject: s.subject(key), Header: nats.Header{buried: {"1"}}}
		var err error
		if at, err = s.publish(ctx, m, at, jetstream.WithMsgTTL(deletionAge)); err != nil {
			return
		}
	}
}

// escape is for what a part of a subject must not have.
var escape = strings.NewReplacer("%", "%25", ".", "%2E", "*", "%2A", ">", "%3E", " ", "%20")

func (c *Config) subject(key string) string { return c.Stream + "." + escape.Replace(key) }

// key returns the key of the document of a subject, unless it is a stranger's.
func (c *Config) key(subject string) (key string, ok bool) {
	key, _ = url.PathUnescape(strings.TrimPrefix(subject, c.Stream+"."))
	return key, c.subject(key) == subject
}

// Close implements [distributed.Store].
func (s *store) Close() error {
	s.close()
	if s.conn != nil {
		s.conn.Close()
	}
	return nil
}

// bound ends ctx when the store is closed.
func (s *store) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// explain says why a call failed, and where.
func (s *store) explain(err error) error {
	if _, conflict := errors.AsType[*distributed.ConflictError](err); err == nil || conflict {
		return err
	}
	if s.closed.Err() != nil {
		return errors.Join(distributed.ErrClosed, err)
	}
	if s.conn != nil { // it knows of a missing permission; the call has only had no answer
		if last := s.conn.LastError(); !s.conn.IsConnected() || errors.Is(last, nats.ErrPermissionViolation) {
			err = errors.Join(err, last)
		}
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	if certificate || slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }) {
		err = fmt.Errorf("%w: %w", distributed.ErrRefused, err)
	}
	return fmt.Errorf("nats at %s: %w", login.ReplaceAllString(strings.Join(s.Servers, ", "), ""), err)
}

// refusals are answers that stay the same until somebody changes something.
var refusals = []error{
	nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrPermissionViolation,
	nats.ErrNkeysNotSupported, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted,
	jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount,
}

// login is what a URL has of a user: no error says it.
var login = regexp.MustCompile(`[^/ ]*@`)
