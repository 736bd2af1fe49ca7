package distributed_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// node returns the Concurrency of a node, closed at the end of the test.
func node(t *testing.T, c *etcdtest.Cluster, instance string, opts ...distributed.ETCDOption) *distributed.Concurrency {
	opts = append([]distributed.ETCDOption{distributed.WithLeaseTTL(ttl)}, opts...)
	n := distributed.NewConcurrency("app", instance, distributed.NewETCDLeaseProvider(c.Endpoints(), opts...))
	t.Cleanup(func() { _ = n.Close() }) // its errors, if any, are not what the test is about
	return n
}

func view(t *testing.T, c *etcdtest.Cluster) etcdView {
	return etcdView{t: t, client: c.Client(), prefix: "app/"}
}

// The ways in which a node that is cut off can lose its leadership while it goes
// on working. Whoever leads next must wait until that node has stopped, even one
// that starts after the loss and sees in etcd only what is left.
func TestNobodyLeadsBeforeANodeThatIsCutOffHasStopped(t *testing.T) {
	for name, lose := range map[string]func(v etcdView){
		"others bury the node":         func(etcdView) {},
		"the node document is deleted": func(v etcdView) { v.delete("nodes/" + v.node("a")) },
		"the claims are deleted":       func(v etcdView) { v.delete("claims/" + v.node("a") + "/0") },
		"the claims are broken":        func(v etcdView) { v.put("claims/"+v.node("a")+"/0", "{}") },
	} {
		for _, starts := range []string{"waits already", "starts later"} {
			t.Run(name+", successor "+starts, func(t *testing.T) {
				t.Parallel()
				cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
				v := view(t, cluster)
				network := newGate()
				a, b := node(t, cluster, "a", network.option()), node(t, cluster, "b")
				t.Cleanup(network.heal)
				first := lead(t, a, "x")
				ended := stopped(first)
				var next *campaign
				if starts == "waits already" {
					next = campaignFor(t, b, "x")
					v.awaitCandidates("x", 2)
				}
				network.cut()
				lose(v)
				if next == nil {
					next = campaignFor(t, b, "x")
				}
				second := next.won()
				select {
				case at := <-ended:
					require.True(t, at.Before(next.at), "a stopped %v after b began", at.Sub(next.at))
				default:
					t.Fatal("b leads while a works")
				}
				require.False(t, first.Valid())
				require.ErrorIs(t, context.Cause(first.Context()), distributed.ErrLeadershipLost)
				require.Greater(t, second.Token(), first.Token())
				require.True(t, second.Valid())
			})
		}
	}
}

// When all documents go at once, etcd tells nothing of the nodes that run. Whoever has
// known the app must wait all the same.
func TestNobodyLeadsBeforeANodeThatIsCutOffHasStoppedWhenETCDForgetsAll(t *testing.T) {
	for name, forget := range map[string]func(t *testing.T, c *etcdtest.Cluster){
		"all documents are deleted": func(t *testing.T, c *etcdtest.Cluster) {
			view(t, c).delete("", clientv3.WithPrefix())
		},
		"etcd loses its data": func(t *testing.T, c *etcdtest.Cluster) {
			c.Members()[0].Stop()
			require.NoError(t, c.Members()[0].Wipe())
			require.NoError(t, c.Members()[0].Restart(testContext(t)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
			network := newGate()
			a, b := node(t, cluster, "a", network.option()), node(t, cluster, "b")
			t.Cleanup(network.heal)
			ended := stopped(lead(t, a, "x"))
			other := lead(t, b, "y")
			network.cut()
			forget(t, cluster)
			<-other.Context().Done()
			require.NoError(t, other.Resign(testContext(t)))
			next := campaignFor(t, b, "x")
			next.won()
			select {
			case at := <-ended:
				require.True(t, at.Before(next.at), "a stopped %v after b began", at.Sub(next.at))
			default:
				t.Fatal("b leads while a works")
			}
		})
	}
}

// When the owner is well, and has stopped, nobody needs to wait: it says so.
func TestAnOwnerThatNoticesItsLossHandsOverAtOnce(t *testing.T) {
	for name, lose := range map[string]func(v etcdView){
		"the node document is deleted": func(v etcdView) { v.delete("nodes/" + v.node("a")) },
		"the claims are deleted":       func(v etcdView) { v.delete("claims/" + v.node("a") + "/0") },
		"the claims are broken":        func(v etcdView) { v.put("claims/"+v.node("a")+"/0", "{}") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
			v := view(t, cluster)
			long := distributed.WithLeaseTTL(200 * time.Second) // a wait would be longer than the patience
			a, b := node(t, cluster, "a", long), node(t, cluster, "b", long)
			first := lead(t, a, "x")
			next := campaignFor(t, b, "x")
			v.awaitCandidates("x", 2)
			lose(v)
			<-first.Context().Done()
			require.ErrorIs(t, context.Cause(first.Context()), distributed.ErrLeadershipLost)
			require.False(t, first.Valid())
			require.NoError(t, first.Resign(testContext(t)))
			again := campaignFor(t, a, "x") // gives the lost lease back
			second := next.won()
			require.Greater(t, second.Token(), first.Token())
			require.NoError(t, second.Resign(testContext(t)))
			require.Greater(t, again.won().Token(), second.Token())
		})
	}
}

func TestABlipShorterThanTheValidityChangesNothing(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	network := newGate()
	a, b := node(t, cluster, "a", distributed.WithLeaseTTL(10*time.Second), network.option()), node(t, cluster, "b")
	first := lead(t, a, "x")
	next := campaignFor(t, b, "x")
	view(t, cluster).awaitCandidates("x", 2)
	for range 3 {
		network.cut()
		time.Sleep(time.Second) // the blip itself
		network.heal()
	}
	cluster.Members()[0].Stop()
	require.NoError(t, cluster.Members()[0].Restart(testContext(t)))
	require.NoError(t, first.Context().Err())
	require.True(t, first.Valid())
	require.NoError(t, first.Resign(testContext(t)))
	require.Greater(t, next.won().Token(), first.Token())
}

func TestLeadershipEndsWithETCDAndComesBackWithIt(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var logged logBuffer
	a := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl)), distributed.WithLogger(logged.logger()))
	defer func() { require.NoError(t, a.Close()) }()
	first := lead(t, a, "x")
	cluster.Members()[0].Stop()
	<-first.Context().Done()
	require.NoError(t, first.Resign(context.Background()), "after a loss there is nothing to resign")
	again := campaignFor(t, a, "x")
	require.Eventually(t, func() bool { return logged.count("store unavailable, trying again") == 1 }, patience, 10*time.Millisecond)
	require.NoError(t, cluster.Members()[0].Restart(testContext(t)))
	require.Greater(t, again.won().Token(), first.Token())
	require.Equal(t, 1, logged.count("store unavailable, trying again"), "one line a change, not one an attempt")
	require.Equal(t, 1, logged.count("store available again"))
	require.NotRegexp(t, "level=INFO .*component=etcd-client", logged.String(), "it speaks at each attempt")
	require.Equal(t, 1, strings.Count(logged.String(), `msg="lease lost"`))
	require.Equal(t, 2, strings.Count(logged.String(), `msg="lease acquired"`))
}

// A member that goes away is no reason to lose anything, whichever it is.
func TestLeadershipSurvivesTheLossOfAnyMember(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{Members: 3, UnsafeNoFsync: true})
	a, b := node(t, cluster, "a", distributed.WithLeaseTTL(10*time.Second)), node(t, cluster, "b", distributed.WithLeaseTTL(10*time.Second))
	first := lead(t, a, "x")
	next := campaignFor(t, b, "x")
	for _, m := range cluster.Members() {
		m.Kill()
		time.Sleep(2 * time.Second) // the outage itself
		require.NoError(t, m.Restart(testContext(t)))
	}
	require.NoError(t, first.Context().Err())
	require.NoError(t, first.Resign(testContext(t)))
	require.Greater(t, next.won().Token(), first.Token())
}

// While its watch is down a node misses what etcd then compacts away.
func TestACompactionWhileTheWatchIsDownIsSurvived(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	v := view(t, cluster)
	network := newGate()
	opts := []distributed.ETCDOption{distributed.WithLeaseTTL(10 * time.Second)}
	a, b := node(t, cluster, "a", opts...), node(t, cluster, "b", append(opts, network.option())...)
	held, kept := lead(t, a, "x"), lead(t, b, "y")
	next := campaignFor(t, b, "x")
	v.awaitCandidates("x", 2)
	network.cut()
	require.NoError(t, held.Resign(testContext(t)))
	_, err := v.client.Compact(testContext(t), v.revision(), clientv3.WithCompactPhysical())
	require.NoError(t, err)
	network.heal()
	require.Greater(t, next.won().Token(), held.Token())
	require.NoError(t, kept.Context().Err(), "b was away for less than its validity")
}

// Starting and draining many jobs takes a few transactions, one watch, and no
// goroutine beyond the campaigns.
func TestManyJobsShareTransactionsAndOneWatch(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	v := view(t, cluster)
	a, b := node(t, cluster, "a", distributed.WithLeaseTTL(60*time.Second)), node(t, cluster, "b", distributed.WithLeaseTTL(60*time.Second))
	lead(t, a, "warm") // joins
	start := v.revision()
	const jobs = 1000
	held := make([]*distributed.Leadership, jobs)
	forAll(jobs, func(i int) { held[i] = lead(t, a, fmt.Sprint("job-", i)) })
	require.Less(t, v.revision()-start, int64(jobs/20))
	next := make([]*campaign, jobs)
	for i := range next {
		next[i] = campaignFor(t, b, fmt.Sprint("job-", i))
	}
	for i := range next {
		v.awaitCandidates(fmt.Sprint("job-", i), 2)
	}
	start = v.revision()
	forAll(jobs, func(i int) { require.NoError(t, held[i].Resign(testContext(t))) })
	for _, c := range next {
		c.won()
	}
	require.Less(t, v.revision()-start, int64(jobs/20))
}

func forAll(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func TestAServerThatTakesFewerOperationsIsServed(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true, Configure: func(c *embed.Config) { c.MaxTxnOps = 7 }})
	a := node(t, cluster, "a", distributed.WithLeaseTTL(10*time.Second))
	lead(t, a, "warm")
	forAll(100, func(i int) {
		l := lead(t, a, fmt.Sprint("job-", i))
		require.NoError(t, l.Resign(testContext(t)))
	})
}

// What stays of a node that has closed are its documents, which say that it has
// drained; others delete them when nobody can take that for a loss any more.
func TestClosingLeavesNothingThatCounts(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	a, b := node(t, cluster, "a"), node(t, cluster, "b")
	lead(t, a, "x")
	next := campaignFor(t, b, "x")
	v := view(t, cluster)
	v.awaitCandidates("x", 2)
	require.NoError(t, a.Close())
	next.won()
	require.NoError(t, b.Close())
	require.Equal(t, []string{"app/epoch"}, v.left())
	require.Len(t, v.keys(), 5, "a node document and one of claims each, and the epoch: %v", v.keys())
	leases, err := cluster.Client().Leases(testContext(t))
	require.NoError(t, err)
	require.Empty(t, leases.Leases)
}

func TestOthersBuryADeadNode(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	v := view(t, cluster)
	network := newGate()
	a, b := node(t, cluster, "a", network.option()), node(t, cluster, "b")
	t.Cleanup(network.heal)
	lead(t, a, "x")
	network.cut() // for good, as far as the others can tell
	lead(t, b, "x")
	for _, instance := range v.nodes() {
		require.Equal(t, "b", instance)
	}
}

func TestNamespacesAndAppsAreApart(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	provider := func(opts ...distributed.ETCDOption) distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider(cluster.Endpoints(), opts...)
	}
	for _, c := range []*distributed.Concurrency{
		distributed.NewConcurrency("app", "a", provider()),
		distributed.NewConcurrency("app2", "a", provider()),
		distributed.NewConcurrency("app", "a", provider(distributed.WithNamespace("ns/"))),
		distributed.NewConcurrency("app", "a", provider(distributed.WithNamespace("other-"))),
	} {
		lead(t, c, "x") // all four at once
		defer func() { require.NoError(t, c.Close()) }()
	}
	for _, prefix := range []string{"app/", "app2/", "ns/app/", "other-app/"} {
		require.Equal(t, 1, etcdView{t: t, client: cluster.Client(), prefix: prefix}.candidates("x"), prefix)
	}
}

func TestAClientOfTheCallersIsUsedAndNotClosed(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider(nil, distributed.WithETCDClient(cluster.Client())))
	lead(t, c, "x")
	require.NoError(t, c.Close())
	require.Equal(t, []string{"app/epoch"}, view(t, cluster).left(), "and the client still works")
}

func TestTheClientLogsToTheLogger(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var logged logBuffer
	c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithLeaseTTL(ttl)), distributed.WithLogger(logged.logger()))
	defer func() { require.NoError(t, c.Close()) }()
	l := lead(t, c, "x")
	cluster.Members()[0].Stop()
	<-l.Context().Done()
	require.Eventually(t, func() bool { return strings.Contains(logged.String(), "component=etcd-client") }, patience, 10*time.Millisecond)
	require.NoError(t, cluster.Members()[0].Restart(testContext(t)))
}

func TestWhatWaitingCannotMendIsReturned(t *testing.T) {
	t.Parallel()
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		cluster := authCluster(t)
		err := campaignError(t, cluster, clientv3.Config{Username: "user", Password: "wrong"})
		require.ErrorContains(t, err, "authentication failed")
	})
	t.Run("no password", func(t *testing.T) {
		t.Parallel()
		cluster := authCluster(t)
		require.ErrorContains(t, campaignError(t, cluster, clientv3.Config{}), "user name is empty")
	})
	t.Run("permission denied", func(t *testing.T) {
		t.Parallel()
		// A token that ends between two tries would be the last that is heard of.
		cluster := authClusterWith(t, func(c *embed.Config) { c.AuthTokenTTL = 300 })
		require.ErrorContains(t, campaignError(t, cluster, clientv3.Config{Username: "stranger", Password: "secret"}), "permission denied")
	})
	t.Run("unknown authority", func(t *testing.T) {
		t.Parallel()
		cluster := etcdtest.New(t, etcdtest.Config{TLS: true, UnsafeNoFsync: true})
		config := cluster.Authority().AnonymousConfig()
		config.RootCAs = x509.NewCertPool()
		require.ErrorContains(t, campaignError(t, cluster, clientv3.Config{TLS: config}), "x509: ")
		require.ErrorContains(t, campaignError(t, cluster, clientv3.Config{TLS: config, Username: "user", Password: "x"}), "x509: ")
		client, err := clientv3.New(clientv3.Config{Endpoints: cluster.Endpoints(), TLS: config, Logger: zap.NewNop()})
		require.NoError(t, err)
		defer func() { require.NoError(t, client.Close()) }()
		c := distributed.NewConcurrency("app", "a", distributed.NewETCDLeaseProvider(nil, distributed.WithETCDClient(client)))
		defer func() { require.NoError(t, c.Close()) }()
		_, err = c.Campaign(testContext(t), "x")
		require.ErrorIs(t, err, distributed.ErrPermanent)
		require.ErrorContains(t, err, "x509: ")
	})
	t.Run("no client certificate", func(t *testing.T) {
		t.Parallel()
		cluster := etcdtest.New(t, etcdtest.Config{TLS: true, ClientCertAuth: true, UnsafeNoFsync: true})
		require.ErrorContains(t, campaignError(t, cluster, clientv3.Config{TLS: cluster.Authority().AnonymousConfig()}), "tls: ")
		config, err := cluster.Authority().ClientConfig("user")
		require.NoError(t, err)
		lead(t, node(t, cluster, "a", distributed.WithETCDConfig(clientv3.Config{TLS: config})), "x")
	})
}

func campaignError(t *testing.T, cluster *etcdtest.Cluster, config clientv3.Config) error {
	p := distributed.NewLeadershipBasedJobProcessor("app", "a", distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithETCDConfig(config)),
		[]distributed.Job{{Name: "x", Work: func(context.Context) error { panic("runs without a lease") }}})
	err := p.Execute(testContext(t))
	require.ErrorIs(t, err, distributed.ErrPermanent)
	return err
}

// authCluster has a root, a user who may do what our keys need, and a stranger
// who may nothing. Tokens end after a second.
func authCluster(t *testing.T) *etcdtest.Cluster {
	return authClusterWith(t, func(c *embed.Config) { c.AuthTokenTTL = 1 })
}

func authClusterWith(t *testing.T, configure func(*embed.Config)) *etcdtest.Cluster {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true, Configure: func(c *embed.Config) {
		c.BcryptCost = 4 // the least: under the race detector it is slow enough
		configure(c)
	}})
	ctx, client := testContext(t), cluster.Client()
	for _, user := range []string{"root", "user", "viewer", "stranger"} {
		_, err := client.UserAdd(ctx, user, "secret")
		require.NoError(t, err)
		_, err = client.RoleAdd(ctx, user)
		require.NoError(t, err)
		_, err = client.UserGrantRole(ctx, user, user)
		require.NoError(t, err)
	}
	_, err := client.RoleGrantPermission(ctx, "user", "app/", clientv3.GetPrefixRangeEnd("app/"), clientv3.PermissionType(clientv3.PermReadWrite))
	require.NoError(t, err)
	_, err = client.RoleGrantPermission(ctx, "viewer", "app/", clientv3.GetPrefixRangeEnd("app/"), clientv3.PermissionType(clientv3.PermRead))
	require.NoError(t, err)
	_, err = client.AuthEnable(ctx)
	require.NoError(t, err)
	return cluster
}

func TestAUserWithTheRightsOnTheAppsKeysIsEnough(t *testing.T) {
	t.Parallel()
	cluster := authCluster(t)
	config := distributed.WithETCDConfig(clientv3.Config{Username: "user", Password: "secret"})
	a, b := node(t, cluster, "a", config, distributed.WithLeaseTTL(10*time.Second)), node(t, cluster, "b", config, distributed.WithLeaseTTL(10*time.Second))
	first := lead(t, a, "x")
	next := campaignFor(t, b, "x")
	select {
	case <-first.Context().Done():
		t.Fatal("lost while tokens ran out: ", context.Cause(first.Context()))
	case <-time.After(12 * time.Second): // some tokens, and more than a TTL
	}
	require.NoError(t, first.Resign(testContext(t)))
	require.Greater(t, next.won().Token(), first.Token())
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestToObserveTakesTheRightToReadAndToLeadTakesMore(t *testing.T) {
	t.Parallel()
	cluster := authCluster(t)
	as := func(user string) distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider(cluster.Endpoints(), distributed.WithETCDConfig(clientv3.Config{Username: user, Password: "secret"}))
	}
	ctx, cancel := context.WithCancel(testContext(t))
	p := distributed.NewLeadershipBasedJobProcessor("app", "a", as("user"), []distributed.Job{{Name: "x", Work: untilDone}},
		distributed.WithMetadata(map[string]string{"address": "10.0.0.1:80"}))
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(t, p.Execute(ctx)) })
	defer running.Wait()
	defer cancel()

	o, err := distributed.Observe(ctx, "app", as("viewer"))
	require.NoError(t, err)
	defer func() { require.NoError(t, o.Close()) }()
	for leaders := range o.Updates(ctx) {
		if len(leaders) == 1 {
			require.Equal(t, "10.0.0.1:80", leaders[0].Metadata["address"], "without balancing, too")
			break
		}
	}
	_, ok := o.Locate("x")
	require.True(t, ok)
	_, err = distributed.NewConcurrency("app", "b", as("viewer")).Campaign(ctx, "x")
	require.ErrorIs(t, err, distributed.ErrPermanent)
}

func TestETCDOptionsAreChecked(t *testing.T) {
	endpoints := []string{"127.0.0.1:1"}
	with := func(opts ...distributed.ETCDOption) distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider(endpoints, opts...)
	}
	for want, provider := range map[string]distributed.LeaseProvider{
		"endpoints: there must be at least one":                                    distributed.NewETCDLeaseProvider(nil),
		"endpoints[1] is empty":                                                    distributed.NewETCDLeaseProvider([]string{"a:1", ""}),
		`endpoints[0] " a:1" has space`:                                            distributed.NewETCDLeaseProvider([]string{" a:1"}),
		"WithLeaseTTL(0s): must be between 200ms and 5m0s":                         with(distributed.WithLeaseTTL(0)),
		"WithLeaseTTL(5m1s): must be between":                                      with(distributed.WithLeaseTTL(301 * time.Second)),
		"WithLeaseTTL(300.5ms): must be a whole number of milliseconds":            with(distributed.WithLeaseTTL(300500 * time.Microsecond)),
		"WithLeaseGrace(-1s): must be between 0":                                   with(distributed.WithLeaseGrace(-time.Second)),
		"WithLeaseGrace(8s): must be between 0 and 6.275s with a lease TTL of 10s": with(distributed.WithLeaseGrace(8 * time.Second)),
		"WithClockDrift(0.5): must be between 0 and 0.1":                           with(distributed.WithClockDrift(0.5)),
		"WithNamespace \"a\\n\" contains a control character":                      with(distributed.WithNamespace("a\n")),
		"endpoints and WithETCDClient exclude each other":                          with(distributed.WithETCDClient(&clientv3.Client{})),
	} {
		_, err := distributed.NewConcurrency("app", "a", provider).Campaign(t.Context(), "x")
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, want)
	}
}

// logBuffer is a log that tests can read.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) count(message string) int {
	return strings.Count(b.String(), fmt.Sprintf("msg=%q", message))
}
