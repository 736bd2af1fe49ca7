package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/b2552be4/distributed/internal/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// answerTimeout is how long etcd may take to answer before and after the play.
const answerTimeout = 5 * time.Second

// store is the etcd that everything happens in, below a prefix of this run's
// own.
type store struct {
	endpoints []string
	embedded  *etcdtest.Cluster // nil if the etcd is somebody else's
	client    *clientv3.Client  // of the counters
	prefix    string
}

// openStore connects to the etcd at endpoints, or runs one if there are none.
func openStore(ctx context.Context, endpoints []string) (*store, error) {
	s := &store{endpoints: endpoints, prefix: "distributed-quickstart/" + strings.ToLower(rand.Text()[:8]) + "/"}
	if err := s.open(ctx); err != nil {
		s.disconnect()
		if ctx.Err() != nil {
			return nil, errors.New("interrupted before anything ran")
		}
		return nil, err
	}
	return s, nil
}

func (s *store) open(ctx context.Context) (err error) {
	if len(s.endpoints) == 0 {
		if s.embedded, err = etcdtest.Start(ctx, etcdtest.Config{}); err != nil {
			return fmt.Errorf("cannot run etcd: %w", err)
		}
		s.endpoints = s.embedded.Endpoints()
	}
	s.client, err = clientv3.New(clientv3.Config{Endpoints: s.endpoints, Logger: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("cannot use the etcd at %s: %w", s.where(), err)
	}
	timed, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if _, err = s.client.Get(timed, s.prefix); timed.Err() != nil {
		return fmt.Errorf("no answer from the etcd at %s within %v", s.where(), answerTimeout)
	} else if err != nil {
		return fmt.Errorf("the etcd at %s: %w", s.where(), err)
	}
	return nil
}

func (s *store) where() string { return strings.Join(s.endpoints, ", ") }

func (s *store) counterKey(job string) string { return s.prefix + "counters/" + job }

// counters returns the last step of the counter of each job.
func (s *store) counters() (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	got, err := s.client.Get(ctx, s.counterKey(""), clientv3.WithPrefix())
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

// close removes what this run has written and frees everything.
func (s *store) close() {
	if s.embedded == nil {
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		_, _ = s.client.Delete(ctx, s.prefix, clientv3.WithPrefix())
	}
	s.disconnect()
}

func (s *store) disconnect() {
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.embedded != nil {
		_ = s.embedded.Close()
	}
}
