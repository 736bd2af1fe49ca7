package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/b2552be4/distributed"
)

// silence is after what time without a message the stream is asked how far it is.
const silence = 2 * time.Second

// waiting is how many messages may wait for a follower; then it begins anew behind
// what it has told.
const waiting = 8192

// Follow implements [distributed.Store].
func (s *store) Follow(ctx context.Context, prefix string, after int64, tell func(distributed.Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := &follower{store: s, prefix: prefix, tell: tell, position: after, created: s.created, whole: after == 0}
	for {
		if err := f.run(ctx); err != nil {
			return s.explain(err)
		}
	}
}

// follower is a call of Follow. It reads the whole stream, as of a part of it
// nobody could tell whether a message is missing: no error says so. What is missing
// is seen by the sequence alone, and then all there is is listed.
type follower struct {
	*store
	prefix string
	tell   func(distributed.Step)

	position  int64     // the last message taken in
	delivered uint64    // messages by the consumer
	created   time.Time // the stream was
	whole     bool      // all there is has to be told next

	picture map[string]distributed.Document // until it has been told; else nil
	target  int64                           // of which revision it may be told
}

// run reads with one consumer, as long as nothing is missing. It returns nil when it is
// worth beginning again.
func (f *follower) run(ctx context.Context) error {
	connected := f.conn.StatusChanged(nats.CONNECTED)
	defer f.conn.RemoveStatusListener(connected)
	if f.whole {
		if err := f.begin(ctx); err != nil {
			return err
		}
	}
	info, err := f.info(ctx)
	if err != nil {
		return err
	}
	if last := int64(info.State.LastSeq); f.whole {
		f.created, f.position = info.Created, last
	} else if last < f.position || !info.Created.Equal(f.created) {
		f.whole = true
		return nil
	}
	messages := make(chan *nats.Msg, waiting)
	sub, err := f.conn.ChanSubscribe(f.conn.NewInbox(), messages)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	if err := f.consume(ctx, sub.Subject); err != nil {
		return err
	}
	if f.whole {
		if err := f.list(ctx); err != nil {
			return err
		}
	}
	return f.read(ctx, messages, connected)
}

// consume has the stream send what comes behind the position.
func (f *follower) consume(ctx context.Context, inbox string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	f.delivered = 0
	_, err := f.js.CreatePushConsumer(ctx, f.Stream, jetstream.ConsumerConfig{
		DeliverSubject: inbox, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(f.position) + 1,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: 10 * time.Second, Replicas: 1, MemoryStorage: true,
	})
	f.answered(err)
	return err
}

func (f *follower) read(ctx context.Context, messages <-chan *nats.Msg, connected <-chan nats.Status) error {
	silent := time.NewTimer(silence)
	defer silent.Stop()
	for {
		select {
		case m := <-messages:
			if !f.take(m) {
				return nil
			}
		case <-silent.C:
			if ok, err := f.look(ctx); !ok {
				return err
			}
		case <-connected: // what was sent meanwhile is lost
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		silent.Reset(silence)
	}
}

// take takes a message in, and reports whether it was the next: of the consumer, or
// else it has to be sent again; and of the stream, or else it is not there any more.
func (f *follower) take(m *nats.Msg) bool {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Consumer != f.delivered+1 {
		return false
	}
	f.delivered++
	seq := int64(meta.Sequence.Stream)
	if seq != f.position+1 {
		f.whole = true
		return false
	}
	f.position = seq
	d, ok := f.document(m, seq)
	switch {
	case f.picture != nil:
		if ok {
			f.picture[d.Key] = d
		}
		f.tellWhole()
	case ok:
		f.tell(distributed.Step{Revision: seq, Documents: []distributed.Document{d}})
	default:
		f.tell(distributed.Step{Revision: seq})
	}
	return true
}

// document returns what a message makes of a document, if it changes one of ours.
func (f *follower) document(m *nats.Msg, seq int64) (distributed.Document, bool) {
	key, ok := f.key(m.Subject)
	if !ok || !strings.HasPrefix(key, f.prefix) || m.Header.Get(buried) != "" {
		return distributed.Document{}, false
	}
	d := distributed.Document{Key: key, Revision: seq}
	if len(m.Data) > 0 {
		d.Value = m.Data
	}
	return d, true
}

// look asks the stream how far it is. If it is where we are, that is a proof of life;
// else something is missing that no later message has shown.
func (f *follower) look(ctx context.Context) (same bool, err error) {
	info, err := f.info(ctx)
	if err != nil {
		return false, err
	}
	if int64(info.State.LastSeq) != f.position || !info.Created.Equal(f.created) {
		f.whole = true
		return false, nil
	}
	f.tell(distributed.Step{Revision: f.position})
	return true, nil
}

// list reads what there is as of the position, where the consumer begins. While it
// reads, a document may be written so often that the stream has no message of it as
// of then any more; so it is told as of a moment after that, which the consumer leads to.
func (f *follower) list(ctx context.Context) error {
	f.picture = map[string]distributed.Document{}
	if err := f.listPart(ctx, "*", "*"); err != nil {
		return err
	}
	info, err := f.info(ctx)
	if err != nil {
		return err
	}
	f.target = int64(info.State.LastSeq)
	f.tellWhole()
	return nil
}

func (f *follower) tellWhole() {
	if f.position < f.target {
		return
	}
	step := distributed.Step{Revision: f.position, Whole: true}
	for _, d := range f.picture {
		if d.Value != nil {
			step.Documents = append(step.Documents, d)
		}
	}
	f.whole, f.picture = false, nil
	f.tell(step)
}

// listPart reads the documents on a part of the subjects. If there are too many for
// one answer, it reads the parts of the part.
func (f *follower) listPart(ctx context.Context, first, second string) error {
	err := f.lastMessages(ctx, f.filter(f.prefix, first, second))
	for errors.Is(err, errBehind) {
		if err = pause(ctx); err == nil {
			err = f.lastMessages(ctx, f.filter(f.prefix, first, second))
		}
	}
	if !errors.Is(err, errTooMany) || second != "*" {
		return err
	}
	for digit := range strings.SplitSeq("0123456789abcdef", "") {
		part := [2]string{digit, "*"}
		if first != "*" {
			part = [2]string{first, digit}
		}
		if err := f.listPart(ctx, part[0], part[1]); err != nil {
			return err
		}
	}
	return nil
}

var (
	errTooMany = errors.New("nats: too many documents for one answer")
	errBehind  = errors.New("nats: the server that has answered is behind")
)

// lastMessages reads the last message of each subject as of the position, of which
// the first of the stream is always one: an answer without any is that of a server
// that has not got so far.
func (f *follower) lastMessages(ctx context.Context, filter string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	sub, err := f.conn.SubscribeSync(f.conn.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails if the connection is closed
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"multi_last": []string{filter, f.first()}, "up_to_seq": f.position})
	if err != nil {
		return err
	}
	if err := f.conn.PublishRequest("$JS.API.DIRECT.GET."+f.Stream, sub.Subject, body); err != nil {
		return err
	}
	for before := "0"; ; {
		m, err := sub.NextMsgWithContext(ctx)
		if f.answered(err); err != nil {
			return err
		}
		switch status := m.Header.Get("Status"); {
		case status == "404":
			return errBehind
		case status == "413", status == "204" && m.Header.Get("Nats-Num-Pending") != "0":
			return errTooMany
		case status != "" && status != "204":
			return fmt.Errorf("nats: list: %s %s", status, m.Header.Get("Description"))
		case m.Header.Get("Nats-Last-Sequence") != before:
			return errors.New("nats: list: a part of the answer was lost")
		case status == "204":
			return nil
		}
		before = m.Header.Get(jetstream.SequenceHeader)
		f.keep(m, before)
	}
}

// keep puts a message of a listing into the picture.
func (f *follower) keep(m *nats.Msg, seq string) {
	var rev int64
	m.Subject = m.Header.Get(jetstream.SubjectHeader)
	if _, err := fmt.Sscan(seq, &rev); err != nil {
		return
	}
	if d, ok := f.document(m, rev); ok {
		f.picture[d.Key] = d
	}
}
