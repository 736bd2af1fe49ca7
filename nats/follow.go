package nats

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/b2552be4/distributed"
)

const (
	// beat is how often a stream without changes says how far it is.
	beat = time.Second

	// silence is after what time without a word it is asked.
	silence = 2500 * time.Millisecond

	// answerTime is how long the answer to what a follower asks may take.
	answerTime = 2 * time.Second

	// waiting is how many messages may wait for a follower, beside a listing; then it
	// begins anew.
	waiting = 8192
)

// Follow implements [distributed.Store].
func (s *store) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := &follower{store: s, prefix: prefix, tell: tell}
	for {
		if err := f.run(ctx); err != nil {
			return s.explain(err)
		}
		select { // what is missed again and again is not asked for without a pause
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return s.explain(ctx.Err())
		}
	}
}

// follower is a call of Follow. It reads the whole stream, as of a part of it
// nobody could tell whether a message is missing: no error says so. What is missing is
// seen by the sequence alone, and then it lists: it reads the last message of each
// subject, and then on.
type follower struct {
	*store
	prefix string
	tell   func(distributed.Step)

	position  int64 // the last message taken in
	delivered int64 // messages by the consumer

	picture map[string]distributed.Document // a listing that has not been told; else nil
	target  int64                           // the position where it is told
	sure    bool                            // or else there is another target behind it
}

// run lists and reads on with one consumer, as long as nothing is missing. It returns nil
// when it is worth beginning anew with another: that lists, too, as nobody can tell
// whether the stream is still the one that it was.
func (f *follower) run(ctx context.Context) error {
	connected := f.conn.StatusChanged(nats.CONNECTED)
	defer f.conn.RemoveStatusListener(connected)
	there, err := f.stream.Info(ctx)
	if err != nil {
		return err
	}
	messages := make(chan *nats.Msg, waiting+there.State.NumSubjects) // nobody reads while info is asked for
	sub, err := f.conn.ChanSubscribe(f.conn.NewInbox(), messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	consumer := jetstream.ConsumerConfig{
		DeliverSubject: sub.Subject, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: f.Stream + ".>", IdleHeartbeat: beat,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: 10 * time.Second, Replicas: 1, MemoryStorage: true,
	}
	if _, err := f.js.CreatePushConsumer(ctx, f.Stream, consumer); err != nil {
		return err
	}
	info, err := f.stream.Info(ctx)
	if err != nil {
		return err
	}
	last := int64(info.State.LastSeq)
	if last == 0 {
		return fmt.Errorf("there is nothing in the stream %s yet", f.Stream)
	}
	f.position, f.delivered = 0, 0
	f.picture, f.target, f.sure = map[string]distributed.Document{}, last, false
	return f.read(ctx, messages, connected)
}

// read takes in what the consumer sends.
func (f *follower) read(ctx context.Context, messages <-chan *nats.Msg, connected <-chan nats.Status) error {
	silent := time.NewTimer(silence)
	defer silent.Stop()
	for {
		select {
		case m := <-messages:
			if !f.take(m) {
				return nil
			}
			if f.picture != nil {
				if err := f.tellWhole(ctx); err != nil {
					return err
				}
			}
		case <-connected: // what was sent meanwhile is lost
			return nil
		case <-silent.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		silent.Reset(silence)
	}
}

// take takes in what the consumer has sent: a message or, if there has been none for a
// while, how far the stream is. It reports whether nothing was missing before it: of
// what the consumer has sent, or else that has to be sent again; and in the
// stream, which has holes only before the first target of a listing.
func (f *follower) take(m *nats.Msg) bool {
	var position, delivered, next int64
	if meta, err := m.Metadata(); err == nil {
		position, delivered, next = int64(meta.Sequence.Stream), int64(meta.Sequence.Consumer), 1
	} else {
		position, _ = strconv.ParseInt(m.Header.Get("Nats-Last-Stream"), 10, 64)
		delivered, _ = strconv.ParseInt(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	}
	if delivered != f.delivered+next || position != f.position+next && (f.picture == nil || f.sure) {
		return false
	}
	f.position, f.delivered = position, delivered
	step := distributed.Step{Revision: position, Documents: f.changed(m, position)}
	if f.picture == nil {
		f.tell(step)
		return true
	}
	for _, d := range step.Documents {
		f.picture[d.Key] = d
	}
	return true
}

// changed returns the document that a message changes, if it is one of ours. What is
// gone is told once; but a listing may find the last deletion only.
func (f *follower) changed(m *nats.Msg, rev int64) []distributed.Document {
	key, ok := f.key(m.Subject)
	if !ok || !strings.HasPrefix(key, f.prefix) || f.picture == nil && m.Header.Get(buried) != "" {
		return nil
	}
	d := distributed.Document{Key: key, Revision: rev}
	if len(m.Data) > 0 {
		d.Value = m.Data
	}
	return []distributed.Document{d}
}

// tellWhole tells a listing when it is exact. A message that was pushed out before it was
// sent is missing. So when the follower has come to where the stream was when the
// listing began, it looks where the stream is then: what pushed that out lies before, and
// it has that, or goes on to there without a hole. It may be that the replica that sends
// is ahead of the leader, which is asked; but by one message of a subject at most, as
// the next is guarded by that, and the stream keeps several.
func (f *follower) tellWhole(ctx context.Context) error {
	if f.position >= f.target && !f.sure {
		info, err := f.stream.Info(ctx)
		if err != nil {
			return err
		}
		f.target, f.sure = int64(info.State.LastSeq), true
	}
	if f.position < f.target {
		return nil
	}
	step := distributed.Step{Revision: f.position, Whole: true}
	for _, d := range f.picture {
		if d.Value != nil {
			step.Documents = append(step.Documents, d)
		}
	}
	f.picture = nil
	f.tell(step)
	return nil
}
