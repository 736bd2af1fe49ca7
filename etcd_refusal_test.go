package distributed_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// refuser makes members of a cluster refuse calls.
type refuser struct {
	answer  atomic.Pointer[error]
	members string // those that do, such as "m0 m1"
	refused atomic.Int64
}

// configure is for etcdtest.Config.
func (r *refuser) configure(c *embed.Config) {
	if !strings.Contains(r.members, c.Name) {
		return
	}
	c.GRPCAdditionalServerOptions = append(c.GRPCAdditionalServerOptions, grpc.ChainUnaryInterceptor(
		func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if answer := r.answer.Load(); answer != nil && strings.HasPrefix(info.FullMethod, "/etcdserverpb.KV/") {
				r.refused.Add(1)
				return nil, *answer
			}
			return handle(ctx, req)
		}))
}

func (r *refuser) start(answer error) { r.answer.Store(&answer) }
func (r *refuser) stop()              { r.answer.Store(nil) }

// refusedNode is a processor at work.
type refusedNode struct {
	*distributed.LeadershipBasedJobProcessor
	cancel context.CancelFunc
	done   chan struct{} // closed when Execute has returned
	err    error         // what it returned
}

// execute executes jobs, each of which tells running that it has begun.
func execute(t *testing.T, provider distributed.LeaseProvider, running chan<- string, log *logBuffer, jobs ...string) *refusedNode {
	e := &refusedNode{LeadershipBasedJobProcessor: distributed.NewLeadershipBasedJobProcessor("app", "a", provider, nil, distributed.WithLogger(log.logger())), done: make(chan struct{})}
	for _, job := range jobs {
		require.NoError(t, e.AddJob(telling(job, running)))
	}
	var ctx context.Context
	ctx, e.cancel = context.WithCancel(testContext(t))
	go func() {
		defer close(e.done)
		e.err = e.Execute(ctx)
	}()
	t.Cleanup(func() { e.cancel(); <-e.done })
	return e
}

func telling(job string, running chan<- string) distributed.Job {
	return distributed.Job{Name: job, Work: func(ctx context.Context) error {
		running <- job
		return untilDone(ctx)
	}}
}

// runs waits until a job runs, and requires that the processor has not ended.
func (e *refusedNode) runs(t *testing.T, running <-chan string) string {
	t.Helper()
	select {
	case job := <-running:
		return job
	case <-e.done:
		require.FailNow(t, "the node has ended", "%v", e.err)
	case <-time.After(patience):
		require.FailNow(t, "nothing runs")
	}
	return ""
}

// One member of three proves nothing, whatever it answers and whenever it does.
func TestOneMemberThatRefusesEndsNothing(t *testing.T) {
	t.Parallel()
	for _, answer := range []error{rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCUserEmpty, rpctypes.ErrGRPCAuthFailed, rpctypes.ErrGRPCInvalidAuthToken} {
		t.Run(answer.Error(), func(t *testing.T) {
			t.Parallel()
			m1 := &refuser{members: "m1"}
			cluster := etcdtest.New(t, etcdtest.Config{Members: 3, UnsafeNoFsync: true, Configure: m1.configure})
			running := make(chan string, 100)
			m1.start(answer)
			node := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints()), running, new(logBuffer), "first")
			node.runs(t, running)
			var jobs []string
			for i := range 30 {
				job := fmt.Sprint("job-", i)
				jobs = append(jobs, job)
				require.NoError(t, node.AddJob(telling(job, running)))
				if i%10 == 9 {
					for range 10 {
						node.runs(t, running)
					}
				}
			}
			require.Positive(t, m1.refused.Load())
			node.cancel()
			<-node.done
			require.NoError(t, node.err)
			require.Len(t, jobs, 30)
		})
	}
}

// What all members refuse is final at a start, after ten seconds. A node that has
// stood for a job goes on trying, says so once, and leads again when it may.
func TestWhatAllRefuseIsFinalOnlyAtAStart(t *testing.T) {
	t.Parallel()
	all := &refuser{members: "m0 m1 m2"}
	cluster := etcdtest.New(t, etcdtest.Config{Members: 3, UnsafeNoFsync: true, Configure: all.configure})
	running := make(chan string, 100)
	var log logBuffer
	old := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl)), running, &log, "x")
	old.runs(t, running)

	all.start(rpctypes.ErrGRPCPermissionDenied)
	begun := time.Now()
	fresh := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl)), running, new(logBuffer), "x")
	<-fresh.done
	require.ErrorIs(t, fresh.err, distributed.ErrPermanent)
	require.ErrorContains(t, fresh.err, "permission denied")
	require.GreaterOrEqual(t, time.Since(begun), 10*time.Second)

	const told = "the store no longer accepts this process, trying again"
	require.Eventually(t, func() bool { return log.count(told) == 1 }, patience, 10*time.Millisecond)
	all.stop()
	old.runs(t, running)
	require.Equal(t, 1, log.count(told))
}

// Whatever the call, a refusal says that it is one.
func TestEachCallThatIsRefusedSaysSo(t *testing.T) {
	t.Parallel()
	cluster := authCluster(t)
	secure := etcdtest.New(t, etcdtest.Config{TLS: true, UnsafeNoFsync: true})
	stranger := secure.Authority().AnonymousConfig()
	stranger.RootCAs = x509.NewCertPool()
	_, err := distributed.OpenETCDStore(secure.Endpoints(), clientv3.Config{TLS: stranger})
	require.ErrorIs(t, err, distributed.ErrRefused)
	for name, c := range map[string]clientv3.Config{
		"permission": {Username: "stranger", Password: "secret"},
		"password":   {Username: "user", Password: "wrong"},
		"no user":    {},
	} {
		s, err := distributed.OpenETCDStore(cluster.Endpoints(), c)
		require.NoError(t, err, name)
		_, err = s.Put(testContext(t), "app/key", nil, 0)
		require.ErrorIs(t, err, distributed.ErrRefused, name)
		require.ErrorIs(t, s.Delete(testContext(t), "app/key", 1), distributed.ErrRefused, name)
		for _, r := range s.(distributed.BatchStore).PutAll(testContext(t), []distributed.Write{{Key: "app/a", Value: []byte{}}, {Key: "app/b", Value: []byte{}}}) {
			require.ErrorIs(t, r.Err, distributed.ErrRefused, name)
		}
		err = s.Follow(testContext(t), "app/", func(distributed.Step) { t.Error(name, "told") })
		require.ErrorIs(t, err, distributed.ErrRefused, name)
		require.ErrorContains(t, err, cluster.Endpoints()[0], name)
		require.NoError(t, s.Close())
	}
}

// issuer gives tokens as an identity provider does.
type issuer struct {
	client *clientv3.Client
	asked  atomic.Int64
}

func (i *issuer) token(ctx context.Context) (string, error) {
	i.asked.Add(1)
	resp, err := i.client.Authenticate(ctx, "user", "secret")
	if err != nil {
		return "", err
	}
	return resp.Token, nil
}

// jwtCluster is an authCluster with JWT that are valid for so long.
func jwtCluster(t *testing.T, valid time.Duration) (*etcdtest.Cluster, *issuer) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "jwt.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	cluster := authClusterWith(t, func(c *embed.Config) {
		c.AuthToken = fmt.Sprintf("jwt,priv-key=%s,sign-method=ES256,ttl=%v", file, valid)
	})
	client, err := cluster.NewClient(clientv3.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return cluster, &issuer{client: client}
}

// An expired token is replaced while the node leads, and as rarely as can be.
func TestATokenThatExpiresIsAskedForAgain(t *testing.T) {
	t.Parallel()
	cluster, issuer := jwtCluster(t, 3*time.Second)
	running := make(chan string, 100)
	var log logBuffer
	begun := time.Now()
	node := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithETCDToken(issuer.token)), running, &log, "x")
	node.runs(t, running)
	lasting := time.After(12 * time.Second)
	select {
	case <-lasting:
	case job := <-running:
		require.FailNow(t, "was lost", job)
	case <-node.done:
		require.FailNow(t, "ended", "%v", node.err)
	}
	require.Zero(t, log.count("lease lost"))
	require.LessOrEqual(t, issuer.asked.Load(), 2+int64(time.Since(begun)/(3*time.Second)), "once a token")
}

// A token that stays invalid is like a wrong password.
func TestATokenThatIsNotValidAnyMore(t *testing.T) {
	t.Parallel()
	cluster, issuer := jwtCluster(t, time.Second)
	expired, err := issuer.token(testContext(t))
	require.NoError(t, err)
	for name, option := range map[string]distributed.ETCDOption{
		"Config.Token":  config(clientv3.Config{Token: expired}),
		"WithETCDToken": distributed.WithETCDToken(func(context.Context) (string, error) { return expired, nil }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			time.Sleep(time.Second) // until it has expired
			node := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints(), option), make(chan string, 1), new(logBuffer), "x")
			<-node.done
			require.ErrorIs(t, node.err, distributed.ErrPermanent)
			require.ErrorContains(t, node.err, "invalid auth token")
		})
	}
}

// Whatever the user's function does to its goroutine, nothing of ours hangs or
// ends, and it is called again.
func TestATokenFunctionThatMisbehaves(t *testing.T) {
	t.Parallel()
	cluster, issuer := jwtCluster(t, time.Minute)
	free := make(chan struct{})
	for name, misbehave := range map[string]func() (string, error){
		"panics":            func() (string, error) { panic("no token") },
		"ends":              func() (string, error) { runtime.Goexit(); return "", nil },
		"fails":             func() (string, error) { return "", errors.New("no token") },
		"returns nothing":   func() (string, error) { return "", nil },
		"returns late":      func() (string, error) { time.Sleep(2 * time.Second); return issuer.token(t.Context()) },
		"returns a bad one": func() (string, error) { return "a.b.c", nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			running := make(chan string, 1)
			node := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithETCDToken(func(ctx context.Context) (string, error) {
				if calls.Add(1) <= 2 {
					return misbehave()
				}
				return issuer.token(ctx)
			})), running, new(logBuffer), "x")
			node.runs(t, running)
		})
	}
	t.Run("blocks for ever", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int64
		var blocked sync.WaitGroup
		blocked.Add(1)
		var log logBuffer
		node := execute(t, distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithETCDToken(func(context.Context) (string, error) {
			defer blocked.Done()
			calls.Add(1)
			<-free
			return "", errors.New("too late")
		})), make(chan string, 1), &log, "x")
		require.Eventually(t, func() bool {
			return strings.Contains(log.String(), "wait for a token from the function of WithETCDToken: ")
		}, patience, 10*time.Millisecond)
		node.cancel()
		stopped := time.Now()
		<-node.done
		require.NoError(t, node.err)
		require.Less(t, time.Since(stopped), 4*time.Second, "sooner than the function is given up, after 10 s")
		require.EqualValues(t, 1, calls.Load(), "it is called once at a time")
		close(free)
		blocked.Wait()
	})
}
