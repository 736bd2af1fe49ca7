package distributed_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/storetest"
)

func TestETCDStoreConformsOnOneMember(t *testing.T)    { etcdStoreConforms(t, startETCD(t, 1), 3<<19) }
func TestETCDStoreConformsOnThreeMembers(t *testing.T) { etcdStoreConforms(t, startETCD(t, 3), 3<<19) }

// Who runs etcd may make it take less at once than the driver thinks.
func TestETCDStoreConformsOnAMemberWithSmallLimits(t *testing.T) {
	etcdStoreConforms(t, etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true, Configure: func(cfg *embed.Config) {
		cfg.MaxTxnOps, cfg.MaxRequestBytes = 10, 100<<10
	}}), 100<<10)
}

func etcdStoreConforms(t *testing.T, cluster *etcdtest.Cluster, tooLarge int) {
	storetest.Run(t, func(t *testing.T) storetest.Space {
		space := etcdSpace(t, cluster)
		space.TooLarge = tooLarge
		return space
	})
}

// When nothing changes at all, in no app, etcd does not answer how far a watch is.
// A follower hears that it lives all the same.
func TestFollowersOfAnIdleETCDHearThatItLives(t *testing.T) {
	space := etcdSpace(t, startETCD(t, 1))
	s := space.Open()
	defer func() { require.NoError(t, s.Close()) }()
	rev, err := s.Put(t.Context(), "app/key", []byte("value"), 0)
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	err = s.Follow(ctx, "app/", func(step distributed.Step) {
		if !step.Whole {
			require.Empty(t, step.Documents)
			require.Equal(t, rev, step.Revision)
			stop()
		}
	})
	require.ErrorIs(t, err, context.Canceled, "nothing was told of an idle etcd")
}

// startETCD makes no member stand for election just because the machine is busy: the
// conformance of a store that is well is what is tested.
func startETCD(t etcdtest.TB, members int) *etcdtest.Cluster {
	return etcdtest.New(t, etcdtest.Config{Members: members, UnsafeNoFsync: true, Configure: func(cfg *embed.Config) {
		cfg.BcryptCost = 4 // the least: a password that is checked slowly is tested elsewhere
		if members > 1 {
			cfg.TickMs, cfg.ElectionMs = 500, 5000
		}
	}})
}

// etcdSpace opens stores each of which has a link of its own, to one of the members.
func etcdSpace(t *testing.T, cluster *etcdtest.Cluster) storetest.Space {
	links := map[distributed.Store]*link.Link{}
	endpoints := cluster.Endpoints()
	return storetest.Space{
		Open: func() distributed.Store {
			l, err := link.New(strings.TrimPrefix(endpoints[len(links)%len(endpoints)], "http://"))
			require.NoError(t, err)
			s, err := distributed.OpenETCDStore([]string{"http://" + l.Addr()}, clientv3.Config{})
			require.NoError(t, err)
			links[s] = l
			t.Cleanup(l.Close)
			return s
		},
		HoldRequests: func(s distributed.Store) func() { links[s].HoldUp(); return links[s].Heal },
		HoldReplies:  func(s distributed.Store) func() { links[s].HoldDown(); return links[s].Heal },
		Compact: func(rev int64) {
			_, err := cluster.Client().Compact(context.Background(), rev)
			require.NoError(t, err)
		},
	}
}

// openETCDStore opens a store on the cluster's first member.
func openETCDStore(t testing.TB, cluster *etcdtest.Cluster, config clientv3.Config) distributed.Store {
	s, err := distributed.OpenETCDStore(cluster.Endpoints()[:1], config)
	require.NoError(t, err)
	return s
}

// followStore returns what is told, and what ends it and returns why it ended.
func followStore(ctx context.Context, s distributed.Store, prefix string) (<-chan distributed.Step, func() error) {
	ctx, cancel := context.WithCancel(ctx)
	steps, ended := make(chan distributed.Step, 10_000), make(chan error, 1)
	go func() {
		err := s.Follow(ctx, prefix, func(step distributed.Step) { steps <- step })
		close(steps)
		ended <- err
	}()
	return steps, func() error { cancel(); return <-ended }
}

// What others write moves the picture on, and is not told.
func TestETCDStoreSaysNothingOfOthersDocuments(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	s := openETCDStore(t, cluster, clientv3.Config{})
	steps, end := followStore(ctx, s, "mine/")
	listed := <-steps
	require.True(t, listed.Whole)
	put, err := cluster.Client().Put(ctx, "others", "value")
	require.NoError(t, err)
	require.Equal(t, distributed.Step{Revision: put.Header.Revision}, <-steps, "as a proof of life")
	rev, err := s.Put(ctx, "mine/a", []byte("value"), 0)
	require.NoError(t, err)
	require.Equal(t, distributed.Step{Revision: rev, Documents: []distributed.Document{{Key: "mine/a", Value: []byte("value"), Revision: rev}}}, documented(steps))
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

// documented returns the next step that is more than a proof of life.
func documented(steps <-chan distributed.Step) distributed.Step {
	for step := range steps {
		if len(step.Documents) > 0 {
			return step
		}
	}
	return distributed.Step{}
}

// What is written together is told together: the documents of one revision are one
// change.
func TestETCDStoreTellsATransactionAsOneStep(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	s := openETCDStore(t, cluster, clientv3.Config{})
	steps, end := followStore(ctx, s, "mine/")
	<-steps
	writes := make([]distributed.Write, 100)
	for i := range writes {
		writes[i] = distributed.Write{Key: fmt.Sprintf("mine/%03d", i), Value: []byte("value")}
	}
	results := s.(distributed.BatchStore).PutAll(ctx, writes)
	step := documented(steps)
	require.Len(t, step.Documents, len(writes))
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, step.Revision, r.Revision)
		require.Equal(t, distributed.Document{Key: writes[i].Key, Value: writes[i].Value, Revision: r.Revision}, step.Documents[i])
	}
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

// An operator may empty a document; that is not to delete it.
func TestETCDStoreShowsAnEmptyDocument(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	s := openETCDStore(t, cluster, clientv3.Config{})
	steps, end := followStore(ctx, s, "mine/")
	<-steps
	put, err := cluster.Client().Put(ctx, "mine/a", "")
	require.NoError(t, err)
	empty := distributed.Document{Key: "mine/a", Value: []byte{}, Revision: put.Header.Revision}
	require.Equal(t, []distributed.Document{empty}, documented(steps).Documents)
	listing, endListing := followStore(ctx, s, "mine/")
	require.Equal(t, []distributed.Document{empty}, (<-listing).Documents)
	_, err = s.Put(ctx, "mine/a", []byte("value"), 0)
	require.Equal(t, &distributed.ConflictError{Key: "mine/a", Known: true, There: empty}, err)
	require.ErrorIs(t, end(), context.Canceled)
	require.ErrorIs(t, endListing(), context.Canceled)
	require.NoError(t, s.Close())
}

// A page of a listing may come when etcd has forgotten the revision of the first.
func TestETCDStoreListsAnewWhenTheRevisionOfAListingIsCompacted(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	documents := 1500
	fillETCD(t, cluster.Client(), documents)
	pages := 0
	s := openETCDStore(t, cluster, clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if r, ok := req.(*pb.RangeRequest); ok && !r.CountOnly {
				if pages++; pages == 2 {
					resp, err := cluster.Client().Put(ctx, "00000", "changed")
					require.NoError(t, err)
					_, err = cluster.Client().Compact(ctx, resp.Header.Revision)
					require.NoError(t, err)
				}
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})}})
	steps, end := followStore(ctx, s, "0")
	step := <-steps
	require.True(t, step.Whole)
	require.Len(t, step.Documents, documents)
	require.Equal(t, "changed", string(step.Documents[0].Value))
	require.Equal(t, step.Documents[0].Revision, step.Revision)
	require.GreaterOrEqual(t, pages, 3, "one before, and all from the first on after")
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

func fillETCD(t *testing.T, client *clientv3.Client, documents int) {
	for first := 0; first < documents; first += 100 {
		var ops []clientv3.Op
		for i := first; i < first+100; i++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("%05d", i), "value"))
		}
		_, err := client.Txn(t.Context()).Then(ops...).Commit()
		require.NoError(t, err)
	}
}

// A member that is cut off from the others would be silent for ever.
func TestETCDStoreStopsFollowingAMemberWithoutALeader(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{Members: 3, UnsafeNoFsync: true})
	s := openETCDStore(t, cluster, clientv3.Config{})
	steps, end := followStore(testContext(t), s, "mine/")
	<-steps
	cluster.Members()[1].Kill()
	cluster.Members()[2].Kill()
	require.Empty(t, documented(steps), "until there are no more")
	require.ErrorIs(t, end(), rpctypes.ErrNoLeader)
	require.NoError(t, s.Close())
}

// What etcd is behind another connection need not be what it was: it may have been put
// back to a backup, and be past where it was. So all there is is listed again.
func TestETCDStoreListsAgainWhenItsConnectionWasLost(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	l, err := link.New(strings.TrimPrefix(cluster.Endpoints()[0], "http://"))
	require.NoError(t, err)
	defer l.Close()
	s, err := distributed.OpenETCDStore([]string{"http://" + l.Addr()}, clientv3.Config{})
	require.NoError(t, err)
	steps, end := followStore(ctx, s, "mine/")
	rev := int64(0)
	for i := range 5 {
		require.True(t, (<-steps).Whole, "after %d lost connections", i)
		rev, err = s.Put(ctx, "mine/a", fmt.Append(nil, i), rev)
		require.NoError(t, err)
		require.Equal(t, rev, documented(steps).Revision)
		l.Cut()
	}
	require.Equal(t, distributed.Step{Revision: rev, Whole: true, Documents: []distributed.Document{{Key: "mine/a", Value: []byte("4"), Revision: rev}}}, <-steps)
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

func TestETCDStoreFailsOnlyTheWritesThatAreNotAllowed(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	admin := cluster.Client()
	for _, err := range []error{
		errorOf(admin.RoleAdd(ctx, "root")),
		errorOf(admin.UserAdd(ctx, "root", "secret")),
		errorOf(admin.UserGrantRole(ctx, "root", "root")),
		errorOf(admin.RoleAdd(ctx, "mine")),
		errorOf(admin.RoleGrantPermission(ctx, "mine", "mine/", clientv3.GetPrefixRangeEnd("mine/"), clientv3.PermissionType(clientv3.PermReadWrite))),
		errorOf(admin.UserAdd(ctx, "me", "secret")),
		errorOf(admin.UserGrantRole(ctx, "me", "mine")),
		errorOf(admin.AuthEnable(ctx)),
	} {
		require.NoError(t, err)
	}
	s := openETCDStore(t, cluster, clientv3.Config{Username: "me", Password: "secret"})
	writes := make([]distributed.Write, 20)
	for i := range writes {
		writes[i] = distributed.Write{Key: fmt.Sprintf("mine/%d", i), Value: []byte("value")}
	}
	writes[7].Key = "others"
	for i, r := range s.(distributed.BatchStore).PutAll(ctx, writes) {
		if i == 7 {
			require.ErrorIs(t, r.Err, rpctypes.ErrPermissionDenied)
			continue
		}
		require.NoError(t, r.Err)
	}
	require.NoError(t, s.Close())
}

func errorOf[T any](_ T, err error) error { return err }

func TestETCDStoreFreesEverythingWhenClosed(t *testing.T) {
	cluster := startETCD(t, 1)
	ctx := testContext(t)
	before := goleak.IgnoreCurrent()
	s := openETCDStore(t, cluster, clientv3.Config{})
	steps, end := followStore(ctx, s, "mine/")
	<-steps
	_, err := s.Put(ctx, "mine/a", []byte("value"), 0)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for range steps { // until Follow has returned
	}
	require.ErrorIs(t, end(), distributed.ErrClosed)
	_, err = s.Put(ctx, "mine/b", []byte("value"), 0)
	require.ErrorIs(t, err, distributed.ErrClosed)
	goleak.VerifyNone(t, append(etcdleak.Options(), before)...)
}
