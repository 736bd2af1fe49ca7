package distributed

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listPage is how many documents a listing asks for at once: at 64 KiB each, no
// more than etcd and its client stand.
const listPage = 1000

// etcdSilence is after what silence a watch is asked whether it is alive. A node
// hears heartbeats more often. Only etcd before 3.4.25 and 3.5.8 can answer before it
// has told what has changed (etcd issue 15220), and its client then loses that when it
// connects anew.
const etcdSilence = 2 * time.Second

// etcdAnswer is how long the answer to that may take.
const etcdAnswer = 500 * time.Millisecond

// Follow implements [Store].
func (s *etcdStore) Follow(ctx context.Context, prefix string, after int64, tell func(Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := etcdFollower{client: s.client, prefix: prefix, position: after, tell: tell}
	err := f.run(clientv3.WithRequireLeader(ctx)) // so that a member which is cut off from the others ends it
	return s.explain(err)
}

// etcdFollower is a call of Follow.
type etcdFollower struct {
	client   *clientv3.Client
	prefix   string
	position int64 // the revision that has been told
	tell     func(Step)
}

func (f *etcdFollower) run(ctx context.Context) error {
	for {
		err := f.watch(ctx)
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		f.position = 0
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
	f.advance(step)
	return nil
}

func (f *etcdFollower) advance(step Step) {
	f.position = step.Revision
	f.tell(step)
}

// watch tells what changes, on a stream of its own so that nobody else's events
// are in the way. It returns nil when all has to be listed again. Without a position
// it lists once it watches: a watch that begins with what has just happened waits up
// to 100 ms for its turn in etcd, one that begins with what will happen does not.
func (f *etcdFollower) watch(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := int64(0) // from now on
	if f.position != 0 {
		from = f.position + 1
	}
	watcher := clientv3.NewWatcher(f.client)
	defer func() { _ = watcher.Close() }() // says only that ctx is done
	responses := watcher.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	resumed := f.resumed(ctx, &asking)
	silence := time.NewTimer(etcdSilence)
	defer silence.Stop()
	for pause := etcdSilence; ; silence.Reset(pause) {
		select {
		case resp, ok := <-responses:
			if !ok {
				return errors.Join(ctx.Err(), errEnded)
			}
			if err := f.take(ctx, resp); err != nil {
				return err
			}
			pause = etcdSilence
		case at := <-resumed:
			if at < from-1 {
				return nil
			}
		case <-silence.C:
			if pause == etcdSilence && requestProgress(ctx, watcher) {
				pause = etcdAnswer
				continue
			}
			if back, err := f.wentBack(ctx); back || err != nil {
				return err
			}
			pause = etcdSilence
		}
	}
}

// requestProgress asks whether a watch is alive. One that has no connection takes no questions.
func requestProgress(ctx context.Context, watcher clientv3.Watcher) bool {
	ctx, cancel := context.WithTimeout(ctx, etcdAnswer)
	defer cancel()
	return watcher.RequestProgress(ctx) == nil
}

// resumed looks where etcd is when a watch goes on from where another was. A watch
// ends when etcd is taken back to a backup, and then the revision is lower for a
// moment; a watch that goes on behind that would miss what has happened since.
func (f *etcdFollower) resumed(ctx context.Context, asking *sync.WaitGroup) <-chan int64 {
	if f.position == 0 {
		return nil
	}
	at := make(chan int64, 1)
	asking.Go(func() {
		resp, err := f.client.Get(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil {
			at <- resp.Header.Revision
		}
	})
	return at
}

// wentBack looks where etcd is, when a watch has not said how far it is. It does not
// if it begins behind the last revision: because nothing has happened since, and
// then that is told as a proof of life; or because etcd goes on from an earlier
// state, a backup. The error says why etcd cannot be asked.
func (f *etcdFollower) wentBack(ctx context.Context) (back bool, err error) {
	var resp *clientv3.GetResponse
	for range maxUnanswered { // on a connection that has gone silent, the next gets another
		attempt, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err = f.client.Get(attempt, f.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		cancel()
		if !isTimeout(err) {
			break
		}
	}
	if err != nil {
		return false, err
	}
	if resp.Header.Revision == f.position {
		f.advance(Step{Revision: f.position})
	}
	return resp.Header.Revision < f.position, nil
}

var errEnded = errors.New("distributed: the watch has ended")

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
