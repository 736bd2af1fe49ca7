package nats

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/b2552be4/distributed"
)

// store keeps documents in a stream: a subject a document, a message a change. The
// sequence of a message is its revision; one without data deletes.
type store struct {
	Config
	looks   bool // and makes nothing, not even the stream
	conn    *nats.Conn
	js      jetstream.JetStream
	created time.Time // the stream was

	denied     atomic.Pointer[error] // a permission that was missing last
	unanswered atomic.Int32          // calls in a row

	once   sync.Once // closes
	closed context.Context
	close  context.CancelFunc

	mu  sync.Mutex
	own map[string]int64 // documents that this store has written last
}

func newStore(c Config) *store {
	s := &store{Config: c, own: map[string]int64{}}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// Put implements [distributed.Store].
func (s *store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	if len(value) == 0 {
		return 0, fmt.Errorf("nats: document %q must not be empty", key)
	}
	ctx, done := s.bound(ctx)
	defer done()
	at, err := s.write(ctx, key, value, rev)
	return at, s.explain(err)
}

// Delete implements [distributed.Store].
func (s *store) Delete(ctx context.Context, key string, rev int64) error {
	ctx, done := s.bound(ctx)
	defer done()
	at, err := s.write(ctx, key, nil, rev)
	if err == nil {
		s.bury(ctx, key, at)
	}
	return s.explain(err)
}

// write takes effect only if the last message of the document is the one at rev, and
// that is no deletion.
func (s *store) write(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	subject, guard := s.subject(key), rev
	if value == nil && rev == 0 {
		return 0, &distributed.ConflictError{Key: key}
	}
	if rev != 0 && !s.wrote(key, rev) {
		if there, err := s.message(ctx, rev); err == nil && there.Subject == subject && len(there.Data) == 0 {
			return 0, &distributed.ConflictError{Key: key}
		}
	}
	for {
		at, err := s.publish(ctx, &nats.Msg{Subject: subject, Data: value}, guard)
		last, refused := refusedAt(err)
		switch {
		case err == nil:
			s.note(key, at, value)
			return at, nil
		case isInFlight(err):
		case !refused:
			return 0, err
		case last == 0:
			return 0, &distributed.ConflictError{Key: key, Known: true}
		default:
			there, err := s.message(ctx, last)
			switch {
			case err == nil && len(there.Data) > 0:
				return 0, &distributed.ConflictError{Key: key, Known: true, There: distributed.Document{Key: key, Value: there.Data, Revision: last}}
			case rev != 0:
				return 0, &distributed.ConflictError{Key: key, Known: err == nil}
			case err == nil && guard != last:
				guard = last // it was deleted
				continue
			}
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
}

// pause is for what is over in a moment.
func pause(ctx context.Context) error {
	select {
	case <-time.After(5 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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

// publish makes one attempt.
func (s *store) publish(ctx context.Context, m *nats.Msg, guard int64, opts ...jetstream.PublishOpt) (int64, error) {
	opts = append(opts, jetstream.WithExpectStream(s.Stream), jetstream.WithExpectLastSequencePerSubject(uint64(guard)), jetstream.WithRetryAttempts(0))
	ack, err := s.js.PublishMsg(ctx, m, opts...)
	s.answered(err)
	if err != nil {
		return 0, err
	}
	return int64(ack.Sequence), nil
}

// refusedAt returns at which revision a document is that a write was refused for.
func refusedAt(err error) (at int64, ok bool) {
	e, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || e.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, false
	}
	_, err = fmt.Sscanf(e.Description, "wrong last sequence: %d", &at)
	return at, err == nil
}

// isInFlight recognizes what says nothing of what is there: that the leader of the
// stream has another write of the document under way. Nothing was written.
func isInFlight(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == 10164
}

// message returns the message at rev, as the leader of the stream has it: another
// replica may not have it yet.
func (s *store) message(ctx context.Context, rev int64) (*stored, error) {
	body, _ := json.Marshal(map[string]int64{"seq": rev})
	m, err := s.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.Stream, body)
	if s.answered(err); err != nil {
		return nil, err
	}
	var reply struct {
		Error   *jetstream.APIError
		Message *stored
	}
	if err := json.Unmarshal(m.Data, &reply); err != nil {
		return nil, err
	}
	if reply.Error != nil || reply.Message == nil {
		return nil, errors.Join(jetstream.ErrMsgNotFound, reply.Error)
	}
	return reply.Message, nil
}

type stored struct {
	Subject string
	Data    []byte
}

// info asks the leader of the stream.
func (s *store) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.Stream)
	if s.answered(err); err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// answerTime is how long what a follower asks for may take.
const answerTime = 2 * time.Second

// answered takes note of how a call ended. After two without an answer another
// connection is made, in case this one has gone silent.
func (s *store) answered(err error) {
	switch {
	case err == nil:
		s.unanswered.Store(0)
		s.denied.Store(nil)
	case isTimeout(err) && s.unanswered.Add(1) == 2:
		s.unanswered.Store(0)
		_ = s.conn.ForceReconnect() // fails if it is closed
	}
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

func (s *store) wrote(key string, rev int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own[key] == rev
}

func (s *store) note(key string, at int64, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[key] = at
	if value == nil {
		delete(s.own, key)
	}
}

// atOnce is how many writes of a PutAll are on their way at a time.
const atOnce = 256

// PutAll implements [distributed.BatchStore]: no write waits for the answer to
// another.
func (s *store) PutAll(ctx context.Context, writes []distributed.Write) []distributed.WriteResult {
	results := make([]distributed.WriteResult, len(writes))
	room := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, w := range writes {
		room <- struct{}{}
		wg.Go(func() {
			if w.Value == nil {
				results[i].Err = s.Delete(ctx, w.Key, w.Revision)
			} else {
				results[i].Revision, results[i].Err = s.Put(ctx, w.Key, w.Value, w.Revision)
			}
			<-room
		})
	}
	wg.Wait()
	return results
}

// Close implements [distributed.Store].
func (s *store) Close() error {
	s.once.Do(func() {
		s.close()
		if s.conn != nil {
			s.conn.Close()
		}
	})
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
	if err == nil || isConflict(err) {
		return err
	}
	if s.closed.Err() != nil {
		return errors.Join(distributed.ErrClosed, err)
	}
	if denied := s.denied.Load(); denied != nil {
		err = fmt.Errorf("%w: %w", err, *denied)
	} else if s.conn != nil && !s.conn.IsConnected() {
		err = errors.Join(err, s.conn.LastError())
	}
	if isFinal(err) && !errors.Is(err, distributed.ErrRefused) {
		err = fmt.Errorf("%w: %w", distributed.ErrRefused, err)
	}
	return fmt.Errorf("nats at %s: %w", login.ReplaceAllString(strings.Join(s.Servers, ", "), ""), err)
}

// login is what a URL has of a user: no error says it.
var login = regexp.MustCompile(`[^/ ]*@`)

func isConflict(err error) bool {
	_, ok := errors.AsType[*distributed.ConflictError](err)
	return ok
}

// isFinal recognizes answers that stay the same until somebody changes something.
func isFinal(err error) bool {
	for _, final := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrPermissionViolation,
		nats.ErrNkeysNotSupported, nats.ErrSecureConnRequired, nats.ErrSecureConnWanted,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	return certificate
}
