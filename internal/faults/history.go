//go:build unix

package faults

import (
	"cmp"
	"context"
	"encoding/json"
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
// a watch from the first revision. It reads the keys by itself: what the library
// takes them for does not count here.
type history struct {
	prefix string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	events []change
	rev    int64
	err    error
}

// change is an event, with the time at which it was seen.
type change struct {
	key     string
	value   []byte
	deleted bool
	create  int64
	rev     int64
	at      time.Duration
}

func follow(client *clientv3.Client, app string) *history {
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{prefix: app + "/", cancel: cancel}
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
	now := monotonic()
	h.mu.Lock()
	defer h.mu.Unlock()
	if resp.CompactRevision != 0 {
		h.err = fmt.Errorf("etcd has compacted the history up to %d, of which only %d was seen", resp.CompactRevision, h.rev)
		return
	}
	for _, e := range resp.Events {
		h.rev = e.Kv.ModRevision
		h.events = append(h.events, change{
			key: strings.TrimPrefix(string(e.Kv.Key), h.prefix), value: e.Kv.Value, deleted: e.Type == mvccpb.DELETE,
			create: e.Kv.CreateRevision, rev: e.Kv.ModRevision, at: now,
		})
	}
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

// deleted reports whether the last thing seen of key is its end.
func (h *history) deleted(key string) bool {
	gone := false
	for _, e := range h.seen() {
		if e.key == key {
			gone = e.deleted
		}
	}
	return gone
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

// owner is who held a candidate key that was the first of its queue for a while.
type owner struct {
	instance    string
	from, until int64 // revisions during which it was the first; until is 0 if it still was in the end
}

// owners replays the history: for each job, who was first in the queue under
// which create revision.
func owners(events []change) map[string]map[int64]owner {
	type candidate struct {
		lease, instance string
		create          int64
	}
	queues := map[string][]candidate{}
	out := map[string]map[int64]owner{}
	for len(events) > 0 {
		rev := events[0].rev
		touched := map[string]bool{}
		for len(events) > 0 && events[0].rev == rev {
			e := events[0]
			events = events[1:]
			job, lease, ok := strings.Cut(e.key, "/leader/")
			if !ok {
				continue
			}
			touched[job] = true
			queue := slices.DeleteFunc(queues[job], func(c candidate) bool { return c.lease == lease && (e.deleted || c.create != e.create) })
			if !e.deleted && !slices.ContainsFunc(queue, func(c candidate) bool { return c.create == e.create }) {
				queue = append(queue, candidate{lease, instanceOf(e.value), e.create})
			}
			slices.SortFunc(queue, func(a, b candidate) int { return cmp.Compare(a.create, b.create) })
			queues[job] = queue
		}
		for job := range touched {
			if out[job] == nil {
				out[job] = map[int64]owner{}
			}
			first := int64(-1)
			if len(queues[job]) > 0 {
				first = queues[job][0].create
			}
			for create, o := range out[job] {
				if o.until == 0 && create != first {
					o.until = rev
					out[job][create] = o
				}
			}
			if _, known := out[job][first]; first >= 0 && !known {
				out[job][first] = owner{instance: queues[job][0].instance, from: rev}
			}
		}
	}
	return out
}

// instanceOf reads a candidate's value, that of a plain election as well.
func instanceOf(value []byte) string {
	var v struct {
		Instance string `json:"instance"`
	}
	if json.Unmarshal(value, &v) == nil {
		return v.Instance
	}
	return string(value)
}

// contradictions compares what the jobs say with what etcd says.
func contradictions(runs []verify.Run, events []change) []string {
	of := owners(events)
	var out []string
	for _, r := range runs {
		o, ok := of[r.Job][r.Token]
		switch {
		case !ok:
			out = append(out, fmt.Sprintf("%s ran on %s with token %d, which was never the first candidate", r.Job, r.Node, r.Token))
		case o.instance != r.Node:
			out = append(out, fmt.Sprintf("%s ran on %s with token %d, which was %s's", r.Job, r.Node, r.Token, o.instance))
		}
	}
	return append(out, risen(events)...)
}

// risen finds the nodes that were there again after their node key had gone: a
// heartbeat went through that should not have. A node that takes leave may say
// so although its key has gone.
func risen(events []change) []string {
	var out []string
	gone := map[string]bool{}
	for _, e := range events {
		if !strings.HasPrefix(e.key, "node/") {
			continue
		}
		var v struct{ State string }
		if !e.deleted && gone[e.key] && json.Unmarshal(e.value, &v) == nil && v.State == "" {
			out = append(out, fmt.Sprintf("%s was there again at revision %d, after it had gone", e.key, e.rev))
		}
		gone[e.key] = e.deleted
	}
	return out
}

// torn returns the alive keys that went although their node had not let go of
// them, and had spoken less than within ago: the lease was revoked while its
// owner was alive.
func torn(events []change, within time.Duration) []change {
	var out []change
	spoke := map[string]time.Duration{}
	for i, e := range events {
		lease, isNode := strings.CutPrefix(e.key, "node/")
		if isNode && !e.deleted {
			spoke[lease] = e.at
			continue
		}
		lease, isAlive := strings.CutPrefix(e.key, "alive/")
		if !isAlive || !e.deleted {
			continue
		}
		byOwner := slices.ContainsFunc(events[max(0, i-3):min(len(events), i+4)], func(o change) bool {
			return o.rev == e.rev && o.key == "node/"+lease && !o.deleted
		})
		if last, ok := spoke[lease]; ok && !byOwner && e.at-last < within {
			out = append(out, e)
		}
	}
	return out
}
