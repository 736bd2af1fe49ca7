package distributed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// listPage is how many documents a listing asks for at once: at 64 KiB each, no
// more than etcd and its client stand.
const listPage = 1000

// etcdSilence is after what silence a watch is asked whether it is alive. A node
// hears heartbeats more often. Only etcd before 3.4.25 and 3.5.8 can answer before it
// has told what has changed (etcd issue 15220), and then that is lost.
const etcdSilence = 2 * time.Second

// etcdAnswer is how long the answer to that may take.
const etcdAnswer = 500 * time.Millisecond

// Follow implements [Store].
func (s *etcdStore) Follow(ctx context.Context, prefix string, tell func(Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := etcdFollower{client: s.client, connection: s.connection, prefix: prefix, tell: tell}
	err := f.run(clientv3.WithRequireLeader(ctx)) // so that a member which is cut off from the others ends it
	return s.explain(err)
}

// etcdFollower is a call of Follow.
type etcdFollower struct {
	client     *clientv3.Client
	connection *connection
	prefix     string
	position   int64 // the revision that has been told; 0 before a listing
	tell       func(Step)
}

func (f *etcdFollower) run(ctx context.Context) error {
	for pace := (backoff{limit: callTimeout}); ; {
		started := time.Now()
		err := f.watch(ctx)
		if !errors.Is(err, errLost) && !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		f.position = 0
		pace.lasted(time.Since(started))
		if err := sleep(ctx, pace.next()); err != nil {
			return err
		}
		if err := f.look(ctx); err != nil { // it says why etcd cannot be reached
			return err
		}
	}
}

// list tells what there is, read in pages that are all of the first one's revision.
func (f *etcdFollower) list(ctx context.Context) error {
	step := Step{Whole: true}
	end := clientv3.GetPrefixRangeEnd(f.prefix)
	for from := f.prefix; ; {
		resp, err := f.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(step.Revision))
		if errors.Is(err, rpctypes.ErrCompacted) {
			step = Step{Whole: true}
			from = f.prefix
			continue
		}
		if err != nil {
			return err
		}
		if step.Revision == 0 {
			step.Revision = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			step.Documents = append(step.Documents, document(kv))
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	if ctx.Err() != nil { // the pages may be of different histories
		return context.Cause(ctx)
	}
	f.advance(step)
	return nil
}

func (f *etcdFollower) advance(step Step) {
	f.position = step.Revision
	f.tell(step)
}

// watch tells what there is and what changes, on a stream of its own so that nobody
// else's events are in the way. It lists once it watches: a watch that begins with
// what has just happened waits up to 100 ms for its turn in etcd, one that begins with
// what will happen does not.
func (f *etcdFollower) watch(ctx context.Context) error {
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	streams := &etcdStreams{WatchClient: etcdserverpb.NewWatchClient(f.client.ActiveConnection()), lost: cancel}
	watcher := clientv3.NewWatchFromWatchClient(streams, f.client)
	defer func() {
		_ = watcher.Close() // says only that ctx is done
		if caller.Err() != nil {
			streams.givenUp(f.connection)
		}
	}()
	responses := watcher.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	silence := time.NewTimer(etcdSilence)
	defer silence.Stop()
	for pause := etcdSilence; ; silence.Reset(pause) {
		select {
		case resp, ok := <-responses:
			if !ok || ctx.Err() != nil { // it may be of the next stream
				return cmp.Or(context.Cause(ctx), errEnded)
			}
			if err := f.take(ctx, resp); err != nil {
				return cmp.Or(context.Cause(ctx), err)
			}
			pause = etcdSilence
		case <-silence.C:
			if pause == etcdSilence && requestProgress(ctx, watcher) {
				pause = etcdAnswer
				continue
			}
			if err := f.look(ctx); err != nil {
				return cmp.Or(context.Cause(ctx), err)
			}
			pause = etcdSilence
		}
	}
}

// etcdStreams tells when a stream is lost, and why. etcd's client opens another and goes
// on behind the revision at which it was, and would not notice if etcd is another by
// then: put back to a backup, and past that revision again.
type etcdStreams struct {
	etcdserverpb.WatchClient
	lost context.CancelCauseFunc

	opened time.Time // the last of them
	last   grpc.ClientStream
}

// Watch implements etcdserverpb.WatchClient.
func (s *etcdStreams) Watch(ctx context.Context, opts ...grpc.CallOption) (etcdserverpb.Watch_WatchClient, error) {
	opened := time.Now()
	stream, err := s.WatchClient.Watch(ctx, opts...)
	if err == nil {
		s.opened, s.last = opened, stream
	}
	return etcdStream{stream, s.lost}, err
}

// givenUp tells on which connection the last stream was given up. Its caller may have
// waited for something in vain, and so may the next one's if it is on that again.
func (s *etcdStreams) givenUp(c *connection) {
	if s.last == nil || !c.own {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	of, err := guard(ctx, c, func() (context.Context, error) { return s.last.Context(), nil })
	if err != nil {
		return // of a stream of the user's, which has failed before
	}
	if to, ok := peer.FromContext(of); ok {
		c.wires.ended(to, s.opened, true, status.FromContextError(context.Canceled).Err())
	}
}

type etcdStream struct {
	etcdserverpb.Watch_WatchClient
	lost context.CancelCauseFunc
}

// Recv implements etcdserverpb.Watch_WatchClient.
func (s etcdStream) Recv() (*etcdserverpb.WatchResponse, error) {
	resp, err := s.Watch_WatchClient.Recv()
	if err != nil {
		s.lost(fmt.Errorf("%w: %w", errLost, err)) // before etcd's client knows
	}
	return resp, err
}

// requestProgress asks whether a watch is alive. One that has no connection takes no questions.
func requestProgress(ctx context.Context, watcher clientv3.Watcher) bool {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	return watcher.RequestProgress(ctx) == nil
}

// look asks where etcd is, when a watch has not said how far it is. It does not if
// nothing has happened since it began, and then that is told as a proof of life. The
// error says why etcd cannot be asked, or that it is at an earlier state.
func (f *etcdFollower) look(ctx context.Context) error {
	var resp *clientv3.GetResponse
	var err error
	for range maxUnanswered { // on a connection that has gone silent, the next gets another
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err = f.client.Get(attempt, f.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		cancel()
		if !isTimeout(err) {
			break
		}
	}
	switch {
	case err != nil:
		return err
	case resp.Header.Revision < f.position:
		return errLost
	case resp.Header.Revision == f.position:
		f.advance(Step{Revision: f.position})
	}
	return nil
}

var (
	errEnded = errors.New("distributed: the watch has ended")
	errLost  = errors.New("distributed: the watch has lost its stream") // and so all there is has to be listed again
)

func (f *etcdFollower) take(ctx context.Context, resp clientv3.WatchResponse) error {
	switch {
	case resp.Err() != nil:
		return resp.Err()
	case resp.Created && f.position == 0:
		return f.list(ctx)
	case resp.IsProgressNotify():
		f.advance(Step{Revision: max(f.position, resp.Header.Revision)})
	default:
		f.change(resp.Events)
	}
	return nil
}

// change tells events, which are whole revisions in order, revision by revision.
func (f *etcdFollower) change(events []*clientv3.Event) {
	for len(events) > 0 {
		step := Step{Revision: events[0].Kv.ModRevision}
		for len(events) > 0 && events[0].Kv.ModRevision == step.Revision {
			step.Documents = append(step.Documents, changed(events[0]))
			events = events[1:]
		}
		if step.Revision > f.position { // or else the listing has shown it
			f.advance(step)
		}
	}
}

func changed(e *clientv3.Event) Document {
	d := document(e.Kv)
	if e.Type == mvccpb.DELETE {
		d.Value = nil
	}
	return d
}
