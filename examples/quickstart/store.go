package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed/examples/internal/play"
)

// store is the etcd that everything happens in, with the counters of the jobs.
type store struct{ *play.Store }

// openStore connects to the etcd at endpoints, or runs one if there are none.
func openStore(ctx context.Context, endpoints []string) (*store, error) {
	s, err := play.OpenStore(ctx, "quickstart", endpoints)
	if err != nil {
		return nil, err
	}
	return &store{s}, nil
}

func (s *store) counterKey(job string) string { return s.Prefix + "counters/" + job }

// counters returns the last step of the counter of each job.
func (s *store) counters() (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), play.AnswerTimeout)
	defer cancel()
	got, err := s.Client.Get(ctx, s.counterKey(""), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("cannot read the counters: %w", err)
	}
	last := map[string]int64{}
	for _, kv := range got.Kvs {
		var v counterValue
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return nil, fmt.Errorf("counter %s: %w", kv.Key, err)
		}
		last[strings.TrimPrefix(string(kv.Key), s.counterKey(""))] = v.Step
	}
	return last, nil
}
