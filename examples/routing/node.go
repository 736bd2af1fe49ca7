package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/routing"
)

const (
	app    = "examples-routing"
	shards = 6 // each a job
)

// shardOf says where a key lives. It must be the same on all nodes, for good.
func shardOf(key string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return fmt.Sprintf("shard-%d", h.Sum32()%shards)
}

// node serves requests: those for its own shards itself, all others by way of the
// node that runs the shard.
type node struct {
	name, address string
	router        *routing.Router
	stop          func() error
}

// work is the Work of every shard.
func (n *node) work(ctx context.Context) error {
	return n.router.Serve(ctx, http.HandlerFunc(n.answer)) // a real shard would load its state before that
}

// answer answers a request for a shard of this node. If it changed anything in a
// store, that would get the token of the leadership to check.
func (n *node) answer(w http.ResponseWriter, r *http.Request) {
	l, _ := distributed.LeadershipFromContext(r.Context())
	by := ""
	if r.Header.Get("X-Forwarded-For") != "" {
		by = ", passed on"
	}
	fmt.Fprintf(w, "%s, on %s%s\n", l.Name(), n.name, by)
}

// startNode is what main would do in a process of its own.
func startNode(ctx context.Context, name string, endpoints []string) (*node, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &node{name: name, address: "http://" + listener.Addr().String()}
	processor := distributed.NewLeadershipBasedJobProcessor(app, name, distributed.NewETCDLeaseProvider(endpoints), nil,
		distributed.WithMetadata(map[string]string{"address": n.address}), // where others find this node
		distributed.WithLoadBalancing(distributed.WithSettleTime(100*time.Millisecond)))
	observer, err := processor.Observe(ctx)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	n.router, err = routing.New(observer, func(r *http.Request) string { return shardOf(strings.TrimPrefix(r.URL.Path, "/")) })
	for i := range shards {
		err = errors.Join(err, processor.AddJob(distributed.Job{Name: fmt.Sprintf("shard-%d", i), Work: n.work}))
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close(), observer.Close())
	}

	server := &http.Server{Handler: n.router, ReadHeaderTimeout: 5 * time.Second}
	running, cancel := context.WithCancel(ctx)
	executed, served := make(chan error, 1), make(chan error, 1)
	go func() { executed <- processor.Execute(running) }()
	go func() { served <- server.Serve(listener) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		err := <-executed // first the shards: what is asked for them from now on is passed on
		timed, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		err = errors.Join(err, server.Shutdown(timed))
		if failure := <-served; !errors.Is(failure, http.ErrServerClosed) {
			err = errors.Join(err, failure)
		}
		return errors.Join(err, observer.Close())
	})
	return n, nil
}
