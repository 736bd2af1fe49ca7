package leasetest

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/b2552be4/distributed"
)

// OnDocuments returns s with Expire, RemoveCandidate and Candidates for a provider that
// was made by [distributed.NewLeaseProvider] without a namespace: they read and delete
// its documents in store, which is to be closed by whoever has opened it, after the
// case. What fails there fails t.
func (s Store) OnDocuments(t testing.TB, store distributed.Store) Store {
	o := owner{t, store}
	s.Expire = func(app, instance string) {
		for id := range o.nodes(app, instance) {
			o.remove(app + "/nodes/" + id)
		}
	}
	s.RemoveCandidate = func(app, election, instance string) {
		for _, key := range o.claims(app, election, instance) {
			o.remove(key)
		}
	}
	s.Candidates = func(app, election string) int { return len(o.claims(app, election, "")) }
	return s
}

// owner does what an operator could, who reads the documents and knows their names.
type owner struct {
	t     testing.TB
	store distributed.Store
}

// documents returns what there is below prefix, by key.
func (o owner) documents(prefix string) map[string]distributed.Document {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	all := map[string]distributed.Document{}
	listed := false
	err := o.store.Follow(ctx, prefix, 0, func(step distributed.Step) {
		if !listed {
			for _, d := range step.Documents {
				all[d.Key] = d
			}
		}
		listed = true
		cancel()
	})
	if !listed {
		o.t.Errorf("leasetest: read the documents below %s: %v", prefix, err)
	}
	return all
}

// nodes returns the ids of those called instance, and of all for "", that live.
func (o owner) nodes(app, instance string) map[string]bool {
	ids := map[string]bool{}
	for key, d := range o.documents(app + "/nodes/") {
		var node struct{ Instance, State string }
		o.read(d, &node)
		if node.State == "" && (instance == "" || node.Instance == instance) {
			ids[strings.TrimPrefix(key, app+"/nodes/")] = true
		}
	}
	return ids
}

// claims returns the keys of the documents in which live nodes called instance claim
// the election.
func (o owner) claims(app, election, instance string) (keys []string) {
	live := o.nodes(app, instance)
	for key, d := range o.documents(app + "/claims/") {
		var claims struct{ Jobs string }
		o.read(d, &claims)
		id, _, _ := strings.Cut(strings.TrimPrefix(key, app+"/claims/"), "/")
		if live[id] && slices.Contains(strings.Split(claims.Jobs, "\n"), election) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (o owner) read(d distributed.Document, v any) {
	if err := json.Unmarshal(d.Value, v); err != nil {
		o.t.Errorf("leasetest: read the document %s: %v", d.Key, err)
	}
}

// remove deletes a document, which may be changing.
func (o owner) remove(key string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		d, there := o.documents(key)[key]
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
