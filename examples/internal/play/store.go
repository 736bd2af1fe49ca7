package play

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed/internal/etcdtest"
)

// AnswerTimeout is how long etcd may take to answer before and after the play.
const AnswerTimeout = 5 * time.Second

// Store is the etcd that everything happens in, below a prefix of this run's
// own.
type Store struct {
	Endpoints []string
	Prefix    string
	Client    *clientv3.Client
	embedded  *etcdtest.Cluster // nil if the etcd is somebody else's
}

// OpenStore connects to the etcd at endpoints, or runs one if there are none, for
// the example called name. The caller closes it.
func OpenStore(ctx context.Context, name string, endpoints []string) (*Store, error) {
	s := &Store{Endpoints: endpoints, Prefix: "distributed-" + name + "/" + strings.ToLower(rand.Text()[:8]) + "/"}
	if err := s.open(ctx); err != nil {
		s.disconnect()
		if ctx.Err() != nil {
			return nil, errors.New("interrupted before anything ran")
		}
		return nil, err
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if len(s.Endpoints) == 0 {
		if s.embedded, err = etcdtest.Start(ctx, etcdtest.Config{}); err != nil {
			return fmt.Errorf("cannot run etcd: %w", err)
		}
		s.Endpoints = s.embedded.Endpoints()
	}
	s.Client, err = clientv3.New(clientv3.Config{Endpoints: s.Endpoints, Logger: zap.NewNop()})
	if err != nil {
		return fmt.Errorf("cannot use the etcd at %s: %w", s.address(), err)
	}
	timed, cancel := context.WithTimeout(ctx, AnswerTimeout)
	defer cancel()
	if _, err = s.Client.Get(timed, s.Prefix); timed.Err() != nil {
		return fmt.Errorf("no answer from the etcd at %s within %v", s.address(), AnswerTimeout)
	} else if err != nil {
		return fmt.Errorf("the etcd at %s: %w", s.address(), err)
	}
	return nil
}

func (s *Store) address() string { return strings.Join(s.Endpoints, ", ") }

// Where says where the etcd is.
func (s *Store) Where() string {
	if s.embedded != nil {
		return "run here, in a temporary directory"
	}
	return s.address()
}

// Close removes what this run has written and frees everything.
func (s *Store) Close() {
	if s.embedded == nil {
		ctx, cancel := context.WithTimeout(context.Background(), AnswerTimeout)
		defer cancel()
		_, _ = s.Client.Delete(ctx, s.Prefix, clientv3.WithPrefix())
	}
	s.disconnect()
}

func (s *Store) disconnect() {
	if s.Client != nil {
		_ = s.Client.Close()
	}
	if s.embedded != nil {
		_ = s.embedded.Close()
	}
}

// ParseEndpoints reads what a flag says about where etcd is.
func ParseEndpoints(urls string) ([]string, error) {
	endpoints := strings.Split(urls, ",")
	for _, endpoint := range endpoints {
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		u, err := url.Parse(endpoint)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, errors.New("must be URLs such as http://127.0.0.1:2379")
		}
	}
	return endpoints, nil
}
