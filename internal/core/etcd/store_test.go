package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed/internal/core"
	"github.com/b2552be4/distributed/internal/core/etcd"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
)

// patience is how long a test waits for what must happen sooner or later.
const patience = time.Minute

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// follow returns what is told, and what ends it and returns why it ended.
func follow(ctx context.Context, s *etcd.Store, prefix string, after int64) (<-chan core.Step, func() error) {
	ctx, cancel := context.WithCancel(ctx)
	steps, ended := make(chan core.Step, 10_000), make(chan error, 1)
	go func() {
		err := s.Follow(ctx, prefix, after, func(step core.Step) { steps <- step })
		close(steps)
		ended <- err
	}()
	return steps, func() error { cancel(); return <-ended }
}

func TestProgressTellsThatNothingHasChanged(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	s := open(t, cluster, cluster.Endpoints()[0], etcd.WithProgress(time.Millisecond))
	steps, end := follow(ctx, s, "mine/", 0)
	listed := <-steps
	require.True(t, listed.Whole)
	put, err := cluster.Client().Put(ctx, "others", "value")
	require.NoError(t, err)
	for step := range steps {
		require.Empty(t, step.Documents)
		require.False(t, step.Whole)
		if step.Revision == put.Header.Revision {
			break
		}
	}
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

func TestWithoutProgressNothingIsSaidOfOthersChanges(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	s := open(t, cluster, cluster.Endpoints()[0])
	steps, end := follow(ctx, s, "mine/", 0)
	<-steps
	_, err := cluster.Client().Put(ctx, "others", "value")
	require.NoError(t, err)
	rev, err := s.Put(ctx, "mine/a", []byte("value"), 0)
	require.NoError(t, err)
	require.Equal(t, core.Step{Revision: rev, Documents: []core.Document{{Key: "mine/a", Value: []byte("value"), Revision: rev}}}, <-steps)
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

// What is written together is told together: the documents of one revision are one
// change.
func TestATransactionIsOneStep(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	s := open(t, cluster, cluster.Endpoints()[0])
	steps, end := follow(ctx, s, "mine/", 0)
	<-steps
	writes := make([]core.Write, 100)
	for i := range writes {
		writes[i] = core.Write{Key: fmt.Sprintf("mine/%03d", i), Value: []byte("value")}
	}
	results := s.PutAll(ctx, writes)
	step := <-steps
	require.Len(t, step.Documents, len(writes))
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, step.Revision, r.Revision)
		require.Equal(t, core.Document{Key: writes[i].Key, Value: writes[i].Value, Revision: r.Revision}, step.Documents[i])
	}
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

// An operator may empty a document; that is not to delete it.
func TestAnEmptyDocumentIsThere(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	s := open(t, cluster, cluster.Endpoints()[0])
	steps, end := follow(ctx, s, "mine/", 0)
	<-steps
	put, err := cluster.Client().Put(ctx, "mine/a", "")
	require.NoError(t, err)
	empty := core.Document{Key: "mine/a", Value: []byte{}, Revision: put.Header.Revision}
	require.Equal(t, []core.Document{empty}, (<-steps).Documents)
	listing, endListing := follow(ctx, s, "mine/", 0)
	require.Equal(t, []core.Document{empty}, (<-listing).Documents)
	_, err = s.Put(ctx, "mine/a", []byte("value"), 0)
	require.Equal(t, &core.ConflictError{Key: "mine/a", Known: true, There: empty}, err)
	require.ErrorIs(t, end(), context.Canceled)
	require.ErrorIs(t, endListing(), context.Canceled)
	require.NoError(t, s.Close())
}

// A page of a listing may come when etcd has forgotten the revision of the first.
func TestListingBeginsAnewWhenItsRevisionIsCompacted(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	documents := 1500
	fill(t, cluster.Client(), documents)
	pages := 0
	client, err := cluster.NewClient(clientv3.Config{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if _, ok := req.(*pb.RangeRequest); ok {
				if pages++; pages == 2 {
					resp, err := cluster.Client().Put(ctx, "00000", "changed")
					require.NoError(t, err)
					_, err = cluster.Client().Compact(ctx, resp.Header.Revision)
					require.NoError(t, err)
				}
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})}})
	require.NoError(t, err)
	s := etcd.New(client, client.Close)
	steps, end := follow(ctx, s, "0", 0)
	step := <-steps
	require.True(t, step.Whole)
	require.Len(t, step.Documents, documents)
	require.Equal(t, "changed", string(step.Documents[0].Value))
	require.Equal(t, step.Documents[0].Revision, step.Revision)
	require.Equal(t, 4, pages)
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

func fill(t *testing.T, client *clientv3.Client, documents int) {
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
func TestFollowEndsOnAMemberWithoutALeader(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{Members: 3, UnsafeNoFsync: true})
	s := open(t, cluster, cluster.Endpoints()[0])
	steps, end := follow(testContext(t), s, "mine/", 0)
	<-steps
	cluster.Members()[1].Kill()
	cluster.Members()[2].Kill()
	_, more := <-steps
	require.False(t, more)
	require.ErrorIs(t, end(), rpctypes.ErrNoLeader)
	require.NoError(t, s.Close())
}

// The client connects anew by itself, and asks for what comes after what it has
// passed on.
func TestFollowOutlivesARestart(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	s := open(t, cluster, cluster.Endpoints()[0])
	steps, end := follow(ctx, s, "mine/", 0)
	<-steps
	first, err := s.Put(ctx, "mine/a", []byte("first"), 0)
	require.NoError(t, err)
	require.Equal(t, first, (<-steps).Revision)
	cluster.Members()[0].Kill()
	require.NoError(t, cluster.Members()[0].Restart(ctx))
	second := int64(0)
	require.Eventually(t, func() bool {
		second, err = s.Put(ctx, "mine/a", []byte("second"), first)
		return err == nil
	}, patience, 10*time.Millisecond)
	require.Equal(t, second, (<-steps).Revision)
	require.ErrorIs(t, end(), context.Canceled)
	require.NoError(t, s.Close())
}

func TestWritesThatAreNotAllowedFailAlone(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	admin := cluster.Client()
	for _, err := range []error{
		second(admin.RoleAdd(ctx, "root")),
		second(admin.UserAdd(ctx, "root", "secret")),
		second(admin.UserGrantRole(ctx, "root", "root")),
		second(admin.RoleAdd(ctx, "mine")),
		second(admin.RoleGrantPermission(ctx, "mine", "mine/", clientv3.GetPrefixRangeEnd("mine/"), clientv3.PermissionType(clientv3.PermReadWrite))),
		second(admin.UserAdd(ctx, "me", "secret")),
		second(admin.UserGrantRole(ctx, "me", "mine")),
		second(admin.AuthEnable(ctx)),
	} {
		require.NoError(t, err)
	}
	client, err := cluster.NewClient(clientv3.Config{Username: "me", Password: "secret"})
	require.NoError(t, err)
	s := etcd.New(client, client.Close)
	writes := make([]core.Write, 20)
	for i := range writes {
		writes[i] = core.Write{Key: fmt.Sprintf("mine/%d", i), Value: []byte("value")}
	}
	writes[7].Key = "others"
	for i, r := range s.PutAll(ctx, writes) {
		if i == 7 {
			require.ErrorIs(t, r.Err, rpctypes.ErrPermissionDenied)
			continue
		}
		require.NoError(t, r.Err)
	}
	require.NoError(t, s.Close())
}

func second[T any](_ T, err error) error { return err }

func TestCloseFreesEverything(t *testing.T) {
	cluster := start(t, 1, nil)
	ctx := testContext(t)
	before := goleak.IgnoreCurrent()
	s := open(t, cluster, cluster.Endpoints()[0], etcd.WithProgress(time.Millisecond))
	steps, end := follow(ctx, s, "mine/", 0)
	<-steps
	_, err := s.Put(ctx, "mine/a", []byte("value"), 0)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for range steps { // until Follow has returned
	}
	require.ErrorIs(t, end(), etcd.ErrClosed)
	_, err = s.Put(ctx, "mine/b", []byte("value"), 0)
	require.ErrorIs(t, err, etcd.ErrClosed)
	goleak.VerifyNone(t, append(etcdleak.Options(), before)...)
}

func TestCloseReturnsWhyTheClientCannotBeClosed(t *testing.T) {
	cluster := start(t, 1, nil)
	cannot := errors.New("cannot")
	s := etcd.New(cluster.Client(), func() error { return cannot })
	require.ErrorIs(t, s.Close(), cannot)
	require.NoError(t, s.Close())
}
