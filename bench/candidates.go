//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// awaitCandidates returns what blocks until n more candidates of app are in etcd,
// counted from now: keys, or what documents claim.
func awaitCandidates(ctx context.Context, client *clientv3.Client, app string, n int) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	events := client.Watch(ctx, app+"/", clientv3.WithPrefix(), clientv3.WithFilterDelete(), clientv3.WithCreatedNotify(), clientv3.WithPrevKV())
	if created := <-events; !created.Created {
		cancel()
		return nil, fmt.Errorf("watch candidates: %w", created.Err())
	}
	return func() error {
		defer cancel()
		for resp := range events {
			for _, e := range resp.Events {
				more, err := candidates(app, e)
				if err != nil {
					return err
				}
				n -= more
			}
			if n <= 0 {
				return nil
			}
		}
		return fmt.Errorf("%d more candidates should come: %w", n, ctx.Err())
	}, nil
}

// candidates returns how many an event adds.
func candidates(app string, e *clientv3.Event) (int, error) {
	key := string(e.Kv.Key)
	if e.IsCreate() && strings.Contains(key, "/leader/") {
		return 1, nil
	}
	if !strings.HasPrefix(key, app+"/claims/") {
		return 0, nil
	}
	before := claims{}
	if e.PrevKv != nil {
		var err error
		if before, err = parseClaims(e.PrevKv.Value); err != nil {
			return 0, err
		}
	}
	now, err := parseClaims(e.Kv.Value)
	n := 0
	for job := range now {
		if _, ok := before[job]; !ok {
			n++
		}
	}
	return n, err
}

// claims is what a document of claims holds: job by job, its place in the queue.
type claims map[string]int64

func parseClaims(value []byte) (claims, error) {
	var v struct {
		Jobs    string
		Numbers []int64
	}
	if err := json.Unmarshal(value, &v); err != nil || v.Jobs == "" {
		return nil, err
	}
	all := claims{}
	for i, job := range strings.Split(v.Jobs, "\n") {
		all[job] = v.Numbers[min(i, len(v.Numbers)-1)]
	}
	return all, nil
}

// awaitNumbered waits until all claims of the nodes of app that live have their numbers
// written down.
func awaitNumbered(ctx context.Context, client *clientv3.Client, app string) error {
	for {
		done, err := numbered(ctx, client, app)
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func numbered(ctx context.Context, client *clientv3.Client, app string) (bool, error) {
	resp, err := client.Get(ctx, app+"/", clientv3.WithPrefix())
	if err != nil {
		return false, err
	}
	ended := map[string]bool{} // by ID
	for _, kv := range resp.Kvs {
		if id, ok := strings.CutPrefix(string(kv.Key), app+"/nodes/"); ok {
			ended[id] = strings.Contains(string(kv.Value), `"state":`)
		}
	}
	for _, kv := range resp.Kvs {
		path, ok := strings.CutPrefix(string(kv.Key), app+"/claims/")
		if id, _, _ := strings.Cut(path, "/"); !ok || ended[id] {
			continue
		}
		found, err := parseClaims(kv.Value)
		if err != nil {
			return false, err
		}
		for _, place := range found {
			if place == 0 {
				return false, nil
			}
		}
	}
	return true, nil
}
