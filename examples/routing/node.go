package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
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
	observer      *distributed.Observer
	server        *http.Server
	stop          func() error

	mu  sync.RWMutex // held for reading while a request for a shard of ours is served
	led map[string]*distributed.Leadership
}

// work is the Work of every shard. It returns only when no request for the shard
// is under way any more: then another node may begin.
func (n *node) work(ctx context.Context) error {
	l, _ := distributed.LeadershipFromContext(ctx)
	n.setLeader(l.Name(), l) // a real shard would load its state before that
	<-ctx.Done()
	n.setLeader(l.Name(), nil)
	return nil
}

func (n *node) setLeader(shard string, l *distributed.Leadership) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.led[shard] = l
}

// passedOn marks a request that has been passed on once: nodes that disagree for a
// moment about who leads must not send it round in circles.
const passedOn = "X-Passed-On-By"

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shard := shardOf(strings.TrimPrefix(r.URL.Path, "/"))
	if n.serveHere(w, r, shard) {
		return
	}
	leader, ok := n.observer.Locate(shard)
	target, err := url.Parse(leader.Metadata["address"])
	if !ok || err != nil || target.Host == "" || leader.Instance == n.name || r.Header.Get(passedOn) != "" {
		unavailable(w, shard) // it is changing hands
		return
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(target)
			p.Out.Header.Set(passedOn, n.name)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { unavailable(w, shard) },
	}
	proxy.ServeHTTP(w, r)
}

// serveHere serves the request if this node leads the shard. What Locate says is
// good for finding a node; who may act is decided by Valid. If the answer changed
// anything in a store, that would get the token to check, too.
func (n *node) serveHere(w http.ResponseWriter, r *http.Request, shard string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	l := n.led[shard]
	if l == nil || !l.Valid() {
		return false
	}
	by := ""
	if from := r.Header.Get(passedOn); from != "" {
		by = ", passed on by " + from
	}
	fmt.Fprintf(w, "%s, on %s%s\n", shard, n.name, by)
	return true
}

func unavailable(w http.ResponseWriter, shard string) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, shard+" is led by nobody just now", http.StatusServiceUnavailable)
}

// startNode is what main would do in a process of its own.
func startNode(ctx context.Context, name string, endpoints []string) (*node, error) {
	provider := distributed.NewETCDLeaseProvider(endpoints)
	observer, err := distributed.Observe(ctx, app, provider)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, observer.Close())
	}
	n := &node{name: name, address: "http://" + listener.Addr().String(), observer: observer, led: map[string]*distributed.Leadership{}}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: 5 * time.Second}
	var jobs []distributed.Job
	for i := range shards {
		jobs = append(jobs, distributed.Job{Name: fmt.Sprintf("shard-%d", i), Work: n.work})
	}
	processor := distributed.NewLeadershipBasedJobProcessor(app, name, provider, jobs,
		distributed.WithMetadata(map[string]string{"address": n.address}), // where others find this node
		distributed.WithLoadBalancing(distributed.WithSettleTime(100*time.Millisecond)))

	running, cancel := context.WithCancel(ctx)
	executed, served := make(chan error, 1), make(chan error, 1)
	go func() { executed <- processor.Execute(running) }()
	go func() { served <- n.server.Serve(listener) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		err := <-executed // first the shards: what is asked for them from now on is passed on
		timed, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		err = errors.Join(err, n.server.Shutdown(timed))
		if failure := <-served; !errors.Is(failure, http.ErrServerClosed) {
			err = errors.Join(err, failure)
		}
		return errors.Join(err, observer.Close())
	})
	return n, nil
}
