package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/internal/core"
)

// listPage is how many documents a listing asks for at once: at 64 KiB each, no
// more than etcd and its client stand.
const listPage = 1000

// WithProgress makes whoever follows hear from etcd each d also when nothing
// changes, as an empty step, so that a watch that hangs can be told from one that
// has nothing to say. It needs etcd 3.4.25, 3.5.8 or newer: older ones may say so
// before what has changed (etcd issue 15220), and the client then loses that when
// it connects anew. Default: never.
func WithProgress(d time.Duration) Option { return func(s *Store) { s.progress = d } }

// Follow implements [core.Store].
func (s *Store) Follow(ctx context.Context, prefix string, after int64, tell func(core.Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := follower{client: s.client, prefix: prefix, position: after, progress: s.progress, tell: tell}
	err := f.run(clientv3.WithRequireLeader(ctx)) // so that a member which is cut off from the others ends it
	return s.explain(err)
}

// follower is a call of Follow.
type follower struct {
	client   *clientv3.Client
	prefix   string
	position int64 // the revision that has been told
	progress time.Duration
	tell     func(core.Step)
}

func (f *follower) run(ctx context.Context) error {
	for {
		err := f.watch(ctx)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		f.position = 0
	}
}

// list tells what there is, read in pages that are all of the first one's revision.
func (f *follower) list(ctx context.Context) error {
	step := core.Step{Whole: true}
	end := clientv3.GetPrefixRangeEnd(f.prefix)
	for from := f.prefix; ; {
		resp, err := f.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(step.Revision))
		if errors.Is(err, rpctypes.ErrCompacted) {
			step = core.Step{Whole: true}
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

func (f *follower) advance(step core.Step) {
	f.position = step.Revision
	f.tell(step)
}

// watch tells what changes, on a stream of its own so that nobody else's events
// are in the way. Without a position it lists once it watches: a watch that begins
// with what has just happened waits up to 100 ms for its turn in etcd, one that
// begins with what will happen does not.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := int64(0) // from now on
	if f.position != 0 {
		from = f.position + 1
	}
	watcher := clientv3.NewWatcher(f.client)
	defer func() { _ = watcher.Close() }() // says only that ctx is done
	responses := watcher.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	ticks, stop := f.ticks()
	defer stop()
	for {
		select {
		case resp, ok := <-responses:
			if !ok {
				return errors.Join(ctx.Err(), errEnded)
			}
			if err := f.take(ctx, resp); err != nil {
				return err
			}
		case <-ticks:
			if err := watcher.RequestProgress(ctx); err != nil {
				return err
			}
		}
	}
}

var errEnded = errors.New("distributed: the watch has ended")

func (f *follower) ticks() (<-chan time.Time, func()) {
	if f.progress <= 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(f.progress)
	return ticker.C, ticker.Stop
}

func (f *follower) take(ctx context.Context, resp clientv3.WatchResponse) error {
	switch {
	case resp.Err() != nil:
		return resp.Err()
	case resp.Created && f.position == 0:
		return f.list(ctx)
	case resp.IsProgressNotify():
		f.advance(core.Step{Revision: max(f.position, resp.Header.Revision)})
	default:
		f.change(resp.Events)
	}
	return nil
}

// change tells events, which are whole revisions in order, revision by revision.
func (f *follower) change(events []*clientv3.Event) {
	for len(events) > 0 {
		step := core.Step{Revision: events[0].Kv.ModRevision}
		for len(events) > 0 && events[0].Kv.ModRevision == step.Revision {
			step.Documents = append(step.Documents, changed(events[0]))
			events = events[1:]
		}
		if step.Revision > f.position { // or else the listing has shown it
			f.advance(step)
		}
	}
}

func changed(e *clientv3.Event) core.Document {
	d := document(e.Kv)
	if e.Type == mvccpb.DELETE {
		d.Value = nil
	}
	return d
}
