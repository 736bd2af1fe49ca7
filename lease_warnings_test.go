package distributed_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

const (
	namesakeWarning  = "another live node has this instance name"
	claimsWarning    = "claims cannot be written, trying again"
	claimsWorkAgain  = "claims can be written again"
	warningsInstance = "twin"
)

// touchyStore is a way to a hub on which the test can hold up or refuse writes.
type touchyStore struct {
	distributed.Store
	mu     sync.Mutex
	refuse map[string]error         // by kind of document
	hold   map[string]chan struct{} // likewise: until it is closed, whatever the caller's context says
	held   chan string              // gets the key of what is held
}

func openTouchy(hub *distributed.MemoryHub, name string) *touchyStore {
	return &touchyStore{
		Store: hub.Open(name), refuse: map[string]error{}, hold: map[string]chan struct{}{}, held: make(chan string, 100),
	}
}

func (s *touchyStore) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	kind := strings.Split(key, "/")[1]
	s.mu.Lock()
	refused, held := s.refuse[kind], s.hold[kind]
	s.mu.Unlock()
	if refused != nil {
		return 0, refused
	}
	if held != nil {
		s.held <- key
		<-held
		return s.Store.Put(context.Background(), key, value, rev)
	}
	return s.Store.Put(ctx, key, value, rev)
}

func (s *touchyStore) refuseAll(kind string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[kind] = err
}

// holdUp returns what lets the writes through that it has held up.
func (s *touchyStore) holdUp(kind string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.hold[kind] = gate
	return func() { close(gate) }
}

// touchyNode is a node that opens one store after the other.
type touchyNode struct {
	*distributed.Concurrency
	journal journal
	stores  []*touchyStore
}

// newTouchyNode gives the node a name on the hub that may differ from its instance.
func newTouchyNode(t *testing.T, hub *distributed.MemoryHub, name string) *touchyNode {
	n := new(touchyNode)
	provider := distributed.NewLeaseProvider(func(context.Context, distributed.LeaseRequest) (distributed.Store, error) {
		n.stores = append(n.stores, openTouchy(hub, name))
		return n.stores[len(n.stores)-1], nil
	})
	n.Concurrency = distributed.NewConcurrency("app", warningsInstance, provider, n.journal.logger())
	t.Cleanup(func() { _ = n.Close() }) // what it could not tell the store is not what the test is about
	return n
}

func (n *touchyNode) id(t *testing.T) string {
	view, ok := n.View()
	require.True(t, ok)
	return view.Self
}

func (n *touchyNode) warnedOf(t *testing.T) (nodes []any) {
	for _, line := range n.journal.with(t, namesakeWarning) {
		require.Equal(t, "WARN", line["level"])
		nodes = append(nodes, line["node"])
	}
	return nodes
}

func TestTwoLiveNodesWithOneNameAreToldOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newTouchyNode(t, hub, "a"), newTouchyNode(t, hub, "b")
		lead(t, a.Concurrency, "x")
		time.Sleep(time.Hour)
		require.Empty(t, a.warnedOf(t))
		lead(t, b.Concurrency, "y")
		time.Sleep(time.Hour)
		require.Equal(t, []any{b.id(t)}, a.warnedOf(t))
		require.Equal(t, []any{a.id(t)}, b.warnedOf(t))
		c := newTouchyNode(t, hub, "c")
		lead(t, c.Concurrency, "z")
		time.Sleep(time.Hour)
		require.Equal(t, []any{b.id(t), c.id(t)}, a.warnedOf(t))
		require.ElementsMatch(t, []any{a.id(t), b.id(t)}, c.warnedOf(t))
	})
}

func TestAPredecessorThatIsSilentIsNoOtherLiveNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a, b := newTouchyNode(t, hub, "a"), newTouchyNode(t, hub, "b")
		lead(t, a.Concurrency, "x")
		hub.Refuse("a", errAway)
		lead(t, b.Concurrency, "x")
		time.Sleep(time.Hour)
		require.Empty(t, a.warnedOf(t))
		require.Empty(t, b.warnedOf(t))
		require.NoError(t, b.Close())

		c := newTouchyNode(t, hub, "c")
		lead(t, c.Concurrency, "x")
		time.Sleep(time.Hour)
		require.Empty(t, c.warnedOf(t), "of one that has drained")
	})
}

// A heartbeat that was under way when its session ended comes later than the next
// session of the same node.
func TestTheOwnLastSessionIsNoOtherLiveNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newTouchyNode(t, hub, "a")
		l := lead(t, a.Concurrency, "x")
		release := a.stores[0].holdUp("nodes")
		require.Contains(t, <-a.stores[0].held, "app/nodes/")
		require.True(t, hub.RemoveCandidate("app", "x", warningsInstance))
		<-l.Context().Done()
		again := campaignFor(t, a.Concurrency, "y") // under another lease; it waits for the old one to be void
		time.Sleep(time.Second)
		old := hub.Writes()
		release()
		synctest.Wait()
		require.Greater(t, hub.Writes(), old, "the heartbeat has arrived")
		require.NoError(t, l.Resign(t.Context()))
		again.won()
		require.Empty(t, a.warnedOf(t))
	})
}

func TestClaimsThatCannotBeWrittenAreToldOnceWhileHeartbeatsCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newTouchyNode(t, hub, "a")
		lead(t, a.Concurrency, "x")
		for range 2 {
			refused := errors.New("no permission to write claims/")
			a.stores[0].refuseAll("claims", refused)
			start := time.Now()
			y := campaignFor(t, a.Concurrency, "y")
			time.Sleep(30 * time.Second)
			a.stores[0].refuseAll("claims", nil)
			l := y.won()
			took := time.Since(start)
			require.NoError(t, l.Resign(t.Context()))
			lines := a.journal.with(t, claimsWarning)
			require.NotEmpty(t, lines)
			require.Equal(t, refused.Error(), lines[len(lines)-1]["error"])
			require.Equal(t, "WARN", lines[len(lines)-1]["level"])
			told := a.journal.with(t, claimsWorkAgain)
			require.Len(t, told, len(lines))
			require.InDelta(t, took, told[len(told)-1]["away"], float64(time.Second))
		}
		require.Len(t, a.journal.with(t, claimsWarning), 2, "once each time")
		require.Len(t, a.stores, 1, "the lease lasts")
	})
}

// What the store's absence explains is told as that.
func TestAStoreThatIsAwayIsNotTakenForOneThatRefusesClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := new(distributed.MemoryHub)
		a := newTouchyNode(t, hub, "a")
		lead(t, a.Concurrency, "x")
		for range 3 {
			hub.Refuse("a", errAway)
			y := campaignFor(t, a.Concurrency, "y")
			time.Sleep(4 * time.Second)
			hub.Refuse("a", nil)
			require.NoError(t, y.won().Resign(t.Context()))
			time.Sleep(time.Minute)
		}
		a.stores[0].refuseAll("claims", errAway)
		y := campaignFor(t, a.Concurrency, "y")
		synctest.Wait()
		a.stores[0].refuseAll("claims", nil)
		y.won()
		require.Empty(t, a.journal.with(t, claimsWarning), "one attempt that fails is nothing")
		require.Len(t, a.stores, 1, "the lease lasts")
	})
}
