package leasetest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/b2552be4/distributed"
)

// OnDocuments returns s with Expire, RemoveCandidate and Candidates for a provider that
// was made by [distributed.NewLeaseProvider] without a namespace: they read and delete
// its documents in store, which the caller must close after the case. Errors fail t.
func (s Store) OnDocuments(t testing.TB, store distributed.Store) Store {
	o := &owner{t: t, store: store, apps: map[string]*followed{}}
	s.Expire = func(app, instance string) {
		for id := range o.live(app, o.list(app+"/"), instance) {
			o.remove(app + "/nodes/" + id)
		}
	}
	s.RemoveCandidate = func(app, election, instance string) {
		for _, key := range o.claims(app, o.list(app+"/"), election, instance) {
			o.remove(key)
		}
	}
	s.Candidates = func(app, election string) int { return len(o.claims(app, o.look(app), election, "")) }
	return s
}

// owner does what an operator could, who reads the documents and knows their names.
type owner struct {
	t     testing.TB
	store distributed.Store

	mu   sync.Mutex
	apps map[string]*followed // by app
}

// documents are by key.
type documents map[string]distributed.Document

func (all documents) take(step distributed.Step) {
	if step.Whole {
		clear(all)
	}
	for _, d := range step.Documents {
		if all[d.Key] = d; d.Value == nil {
			delete(all, d.Key)
		}
	}
}

// followed is what there is of an app, up to a moment ago.
type followed struct {
	mu    sync.Mutex
	all   documents
	first chan struct{} // closed when there is one
}

func (f *followed) take(step distributed.Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = documents{}
		close(f.first)
	}
	f.all.take(step)
}

// look returns what the app has, from a picture that is kept until the test ends: who
// waits asks every few milliseconds, and a listing for each would keep the store busy.
func (o *owner) look(app string) documents {
	f := o.follow(app)
	select {
	case <-f.first:
	case <-time.After(patience):
		o.t.Errorf("leasetest: nothing was told of the documents of %s", app)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.all)
}

// patience is for what the store does at once.
const patience = 30 * time.Second

func (o *owner) follow(app string) *followed {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.apps[app]; f != nil {
		return f
	}
	f := &followed{first: make(chan struct{})}
	o.apps[app] = f
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		for ctx.Err() == nil {
			_ = o.store.Follow(ctx, app+"/", f.take) // it may end at any time, and begins anew
			time.Sleep(20 * time.Millisecond)
		}
	})
	o.t.Cleanup(func() { stop(); following.Wait() })
	return f
}

// list returns what there is below prefix now.
func (o *owner) list(prefix string) documents {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var all documents
	err := o.store.Follow(ctx, prefix, func(step distributed.Step) {
		if all == nil {
			all = documents{}
			all.take(step)
		}
		cancel()
	})
	if all == nil {
		o.t.Errorf("leasetest: read the documents below %s: %v", prefix, err)
	}
	return all
}

// live returns the ids of the nodes called instance, and of all for "", that live.
func (o *owner) live(app string, all documents, instance string) map[string]bool {
	ids := map[string]bool{}
	for key, d := range all {
		id, ok := strings.CutPrefix(key, app+"/nodes/")
		if !ok {
			continue
		}
		var node struct{ Instance, State string }
		o.read(d, &node)
		if node.State == "" && (instance == "" || node.Instance == instance) {
			ids[id] = true
		}
	}
	return ids
}

// claims returns the keys of the documents in which live nodes called instance claim
// the election.
func (o *owner) claims(app string, all documents, election, instance string) (keys []string) {
	live := o.live(app, all, instance)
	for key, d := range all {
		id, ok := strings.CutPrefix(key, app+"/claims/")
		if !ok {
			continue
		}
		var claims struct{ Jobs string }
		o.read(d, &claims)
		id, _, _ = strings.Cut(id, "/")
		if live[id] && slices.Contains(strings.Split(claims.Jobs, "\n"), election) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (o *owner) read(d distributed.Document, v any) {
	if err := json.Unmarshal(d.Value, v); err != nil {
		o.t.Errorf("leasetest: read the document %s: %v", d.Key, err)
	}
}

// remove deletes a document, which may be changing.
func (o *owner) remove(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		d, there := o.list(key)[key]
		if !there {
			return
		}
		err := o.store.Delete(ctx, key, d.Revision)
		if conflict := new(*distributed.ConflictError); err != nil && !errors.As(err, conflict) {
			o.t.Errorf("leasetest: delete the document %s: %v", key, err)
			return
		}
	}
}
