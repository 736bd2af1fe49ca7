//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/verify"
)

// history is everything that ever happened to an app's keys in etcd, as told by
// a watch from the first revision.
type history struct {
	prefix string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	events  []change
	picture *picture
	byHand  map[int64]bool // revisions that are the harness's own
	rev     int64
	err     error
}

// change is an event.
type change struct {
	key     string
	value   []byte
	deleted bool
	rev     int64
}

func follow(client *clientv3.Client, app string) *history {
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{prefix: app + "/", cancel: cancel, picture: newPicture(), byHand: map[int64]bool{}}
	h.wg.Go(func() {
		watch := client.Watch(clientv3.WithRequireLeader(ctx), h.prefix, clientv3.WithPrefix(), clientv3.WithRev(1))
		for {
			for resp := range watch {
				h.take(resp)
			}
			if ctx.Err() != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
			h.mu.Lock()
			next := max(h.rev, 0) + 1
			h.mu.Unlock()
			watch = client.Watch(clientv3.WithRequireLeader(ctx), h.prefix, clientv3.WithPrefix(), clientv3.WithRev(next))
		}
	})
	return h
}

func (h *history) take(resp clientv3.WatchResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if resp.CompactRevision != 0 {
		h.err = fmt.Errorf("etcd has compacted the history up to %d, of which only %d was seen", resp.CompactRevision, h.rev)
		return
	}
	first := len(h.events) // of its revision
	for _, e := range resp.Events {
		if e.Kv.ModRevision != h.rev {
			h.picture.revision(h.events[first:])
			first = len(h.events)
		}
		h.rev = e.Kv.ModRevision
		h.events = append(h.events, change{
			key: strings.TrimPrefix(string(e.Kv.Key), h.prefix), value: e.Kv.Value, deleted: e.Type == mvccpb.DELETE, rev: e.Kv.ModRevision,
		})
	}
	h.picture.revision(h.events[first:])
}

// seen returns the changes so far.
func (h *history) seen() []change {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// all makes one more change, and waits until the history has reached that.
func (h *history) all(ctx context.Context, client *clientv3.Client) ([]change, error) {
	rev, err := h.mark(ctx, client)
	if err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		h.mu.Lock()
		reached, err := h.rev >= rev, h.err
		h.mu.Unlock()
		if err != nil || reached {
			return h.seen(), err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, ctx.Err()
}

// look calls f with the picture as of now.
func (h *history) look(f func(*picture)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.picture)
}

// versions returns what a document has held, the first one first.
func (h *history) versions(key string) [][]byte {
	var out [][]byte
	for _, e := range h.seen() {
		if e.key == key && !e.deleted {
			out = append(out, e.value)
		}
	}
	return out
}

// mine takes note of a revision that the harness has made.
func (h *history) mine(rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.byHand[rev] = true
}

// last returns the revision of the last change that was seen.
func (h *history) last() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rev
}

// mark returns a revision that is new and one of the app's.
func (h *history) mark(ctx context.Context, client *clientv3.Client) (int64, error) {
	var last error
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		resp, err := client.Put(attempt, h.prefix+"mark", "")
		cancel()
		if err == nil {
			return resp.Header.Revision, nil
		}
		last = err
		time.Sleep(20 * time.Millisecond)
	}
	return 0, errors.Join(ctx.Err(), last)
}

func (h *history) close() {
	h.cancel()
	h.wg.Wait()
}

// contradictions compares what the jobs say with what etcd says.
func (h *history) contradictions(runs []verify.Run) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, r := range runs {
		instance, ok := h.picture.firsts[r.Job][r.Token]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s ran on %s with token %d, which was never the first claim", r.Job, r.Node, r.Token))
		case instance != r.Node:
			out = append(out, fmt.Sprintf("%s ran on %s with token %d, which was %s's", r.Job, r.Node, r.Token, instance))
		}
	}
	return append(out, h.risen()...)
}

// risen finds the sessions that were there again after they had ended, or their
// document had gone: a heartbeat went through that should not have. For mu.
func (h *history) risen() []string {
	var out []string
	gone := map[string]bool{}
	for _, e := range h.events {
		if !strings.HasPrefix(e.key, "nodes/") {
			continue
		}
		var v struct{ State string }
		alive := !e.deleted && read(e.key, e.value, &v) && v.State == ""
		if alive && gone[e.key] && !h.byHand[e.rev] {
			out = append(out, fmt.Sprintf("%s was there again at revision %d, after it had gone", e.key, e.rev))
		}
		gone[e.key] = gone[e.key] || !alive
	}
	return out
}
