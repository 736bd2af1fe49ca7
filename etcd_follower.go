package distributed

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// follower keeps a picture of all keys below a prefix up to date: it lists them
// once, and watches them from there. When a stream ends, the next one goes on
// where it was; when etcd has compacted that away, everything is listed anew.
type follower struct {
	client   *clientv3.Client
	log      *slog.Logger
	prefix   string
	patience time.Duration // the longest pause between two attempts

	created  func()                             // a stream has begun; may be nil
	position func() int64                       // the revision that the picture is of
	listed   func(rev int64, listed []keyEvent) // takes in a listing
	changed  func(events []*clientv3.Event)     // takes in what the watch says

	mu     sync.Mutex
	cancel context.CancelFunc // ends the current stream
}

// listPage is how many keys a listing asks for at once.
const listPage = 10_000

// list replaces the picture by what etcd holds now.
func (f *follower) list(ctx context.Context) error {
	var listed []keyEvent
	rev := int64(0) // the first page's, for all of them
	end := clientv3.GetPrefixRangeEnd(f.prefix)
	for from := f.prefix; ; {
		var resp *clientv3.GetResponse
		err := insist(ctx, f.patience, func(ctx context.Context) (err error) {
			resp, err = f.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev))
			return err
		})
		if err != nil {
			return err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			listed = append(listed, keyEvent{key: string(kv.Key), value: kv.Value, create: kv.CreateRevision, mod: kv.ModRevision})
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	f.listed(rev, listed)
	return nil
}

// run watches until ctx is done.
func (f *follower) run(ctx context.Context) {
	pace := backoff{limit: f.patience}
	for sleep(ctx, pace.next()) == nil {
		started := time.Now()
		err := f.follow(ctx)
		if errors.Is(err, rpctypes.ErrCompacted) {
			err = f.listAgain(ctx)
		}
		if ctx.Err() == nil {
			f.log.Debug("watch ended, starting another", "error", err)
		}
		pace.lasted(time.Since(started))
	}
}

func (f *follower) listAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*callTimeout)
	defer cancel()
	return f.list(ctx)
}

// follow takes in one watch stream, of its own so that nobody else's events are
// in the way, and with a leader required so that a member which is cut off from
// the others ends it.
func (f *follower) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	f.mu.Lock()
	f.cancel = cancel
	f.mu.Unlock()
	watcher := clientv3.NewWatcher(f.client)
	defer func() { _ = watcher.Close() }() // says only that ctx is done
	for resp := range watcher.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(f.position()+1), clientv3.WithCreatedNotify()) {
		if err := resp.Err(); err != nil {
			return err
		}
		if resp.Created {
			if f.created != nil {
				f.created()
			}
			continue
		}
		f.changed(resp.Events)
	}
	return ctx.Err()
}

// restart ends the current stream; another begins.
func (f *follower) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		f.cancel()
	}
}

// revisions yields the events of a response revision by revision.
func revisions(events []*clientv3.Event) iter.Seq[[]keyEvent] {
	return func(yield func([]keyEvent) bool) {
		changes := make([]keyEvent, len(events))
		for i, e := range events {
			changes[i] = keyEvent{
				key: string(e.Kv.Key), value: e.Kv.Value, deleted: e.Type == mvccpb.DELETE,
				create: e.Kv.CreateRevision, mod: e.Kv.ModRevision,
			}
		}
		for len(changes) > 0 {
			rev := changes[0].mod
			n := slices.IndexFunc(changes, func(c keyEvent) bool { return c.mod != rev })
			if n < 0 {
				n = len(changes)
			}
			if !yield(changes[:n]) {
				return
			}
			changes = changes[n:]
		}
	}
}
