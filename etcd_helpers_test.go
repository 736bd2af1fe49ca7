package distributed_test

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
)

// patience is how long a test waits for what must happen sooner or later.
const patience = time.Minute

// ttl is that of the leases in tests that wait for one to expire: the shortest
// that etcd grants by default.
const ttl = 2 * time.Second

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// gate is a network between a node and etcd that can be cut: what is sent then
// is held back, in both directions, and goes on when it is healed.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the network works
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return net.ErrClosed
	}
}

// option makes a provider connect through the gate.
func (g *gate) option() distributed.ETCDOption {
	return distributed.WithETCDConfig(clientv3.Config{DialOptions: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if err := g.wait(ctx); err != nil {
				return nil, err
			}
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return nil, err
			}
			closed, closeIt := context.WithCancel(context.Background())
			return &gatedConn{Conn: conn, gate: g, closed: closed, closeIt: closeIt}, nil
		}),
	}})
}

type gatedConn struct {
	net.Conn
	gate    *gate
	closed  context.Context
	closeIt context.CancelFunc
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if gone := c.gate.wait(c.closed); gone != nil {
		return 0, gone
	}
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if err := c.gate.wait(c.closed); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.closeIt()
	return c.Conn.Close()
}

// etcdView is what an operator sees of an app.
type etcdView struct {
	t      *testing.T
	client *clientv3.Client
	prefix string
}

func (v etcdView) keys() []string {
	resp, err := v.client.Get(testContext(v.t), v.prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	require.NoError(v.t, err)
	var keys []string
	for _, kv := range resp.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

// nodes returns the instances by id of the sessions that have not ended.
func (v etcdView) nodes() map[string]string {
	resp, err := v.client.Get(testContext(v.t), v.prefix+"nodes/", clientv3.WithPrefix())
	require.NoError(v.t, err)
	alive := map[string]string{}
	for _, kv := range resp.Kvs {
		var node struct{ Instance, State string }
		require.NoError(v.t, json.Unmarshal(kv.Value, &node))
		if node.State == "" {
			alive[strings.TrimPrefix(string(kv.Key), v.prefix+"nodes/")] = node.Instance
		}
	}
	return alive
}

// node returns the id of the only session of an instance.
func (v etcdView) node(instance string) string {
	var ids []string
	for id, of := range v.nodes() {
		if of == instance {
			ids = append(ids, id)
		}
	}
	require.Len(v.t, ids, 1, "nodes called %s", instance)
	return ids[0]
}

// candidates returns how many sessions claim a job.
func (v etcdView) candidates(job string) (n int) {
	for id := range v.nodes() {
		resp, err := v.client.Get(testContext(v.t), v.prefix+"claims/"+id+"/", clientv3.WithPrefix())
		require.NoError(v.t, err)
		for _, kv := range resp.Kvs {
			var document struct{ Jobs string }
			require.NoError(v.t, json.Unmarshal(kv.Value, &document))
			if slices.Contains(strings.Split(document.Jobs, "\n"), job) {
				n++
			}
		}
	}
	return n
}

// left returns what is there beyond the documents of sessions that have ended, which
// stay until nobody can take them for anything else, and lists of jobs.
func (v etcdView) left() (keys []string) {
	alive := v.nodes()
	for _, key := range v.keys() {
		dir, rest, _ := strings.Cut(strings.TrimPrefix(key, v.prefix), "/")
		id, _, _ := strings.Cut(rest, "/")
		if _, ok := alive[id]; ok || (dir != "nodes" && dir != "claims" && dir != "info" && dir != "lists") {
			keys = append(keys, key)
		}
	}
	return keys
}

func (v etcdView) delete(key string, opts ...clientv3.OpOption) {
	resp, err := v.client.Delete(testContext(v.t), v.prefix+key, opts...)
	require.NoError(v.t, err)
	require.Positive(v.t, resp.Deleted, "keys deleted at %s", v.prefix+key)
}

func (v etcdView) put(key, value string) {
	_, err := v.client.Put(testContext(v.t), v.prefix+key, value)
	require.NoError(v.t, err)
}

func (v etcdView) revision() int64 {
	resp, err := v.client.Get(testContext(v.t), "revision")
	require.NoError(v.t, err)
	return resp.Header.Revision
}

// lead campaigns and returns the leadership, which must come.
func lead(t *testing.T, c *distributed.Concurrency, name string) *distributed.Leadership {
	l, err := c.Campaign(testContext(t), name)
	require.NoError(t, err)
	return l
}

// candidate is a campaign under way.
type campaign struct {
	t    *testing.T
	done chan struct{}
	at   time.Time // when it was over
	l    *distributed.Leadership
	err  error
}

func campaignFor(t *testing.T, c *distributed.Concurrency, name string) *campaign {
	r := &campaign{t: t, done: make(chan struct{})}
	ctx := testContext(t)
	go func() {
		defer close(r.done)
		r.l, r.err = c.Campaign(ctx, name)
		r.at = time.Now()
	}()
	return r
}

func (c *campaign) won() *distributed.Leadership {
	<-c.done
	require.NoError(c.t, c.err)
	return c.l
}

// awaitCandidates waits until n candidates wait for job.
func (v etcdView) awaitCandidates(job string, n int) {
	for ctx := testContext(v.t); v.candidates(job) != n; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			require.FailNow(v.t, "waited in vain", "%d candidates for %s", n, job)
		}
	}
}

// stopped notes when a leadership's context was done.
func stopped(l *distributed.Leadership) <-chan time.Time {
	at := make(chan time.Time, 1)
	context.AfterFunc(l.Context(), func() { at <- time.Now() })
	return at
}
