package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/stretchr/testify/require"
)

// The nodes of these tests share a hub, which is their store. All of a test runs in
// a bubble (testing/synctest): time stands still while anybody is doing something,
// and jumps when all are waiting.

func TestAMailIsSentOnceWhileNodesAreRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		stopOne, stopTwo := s.start("node-1"), s.start("node-2")
		for hour := range 24 {
			s.outbox.add(fmt.Sprintf("mail %d", hour))
			time.Sleep(59 * time.Minute)
			s.outbox.add(fmt.Sprintf("mail %d, just before a restart", hour))
			time.Sleep(time.Minute + time.Second) // in the middle of sending it
			stopOne()
			time.Sleep(time.Minute)
			stopOne, stopTwo = stopTwo, s.start(fmt.Sprintf("node-%d", hour+3))
		}
		stopOne()
		stopTwo()
		require.Len(t, s.sent(), 48)
		for mail, count := range s.count() {
			require.Equal(t, 1, count, mail)
		}
	})
}

func TestWhenTheLeaseIsLostAnotherNodeSendsTheMailAndNeverBothAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		defer s.start("node-1")()
		defer s.start("node-2")()
		s.outbox.add("greetings")
		time.Sleep(time.Minute + time.Second) // node-1 is sending
		require.True(t, s.hub.Expire("node-1"))
		synctest.Wait()
		require.Equal(t, []string{"node-1 gives up: greetings"}, s.sent(), "at once")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"node-1 gives up: greetings", "node-2: greetings"}, s.sent())
	})
}

func TestAFrozenNodeCannotMarkAMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		defer s.start("node-1")()
		defer s.start("node-2")()
		_, frozen := s.hub.Leader("shop", "mailer")
		s.hub.Expire("node-1")
		synctest.Wait()
		leader, token := s.hub.Leader("shop", "mailer")
		require.Equal(t, "node-2", leader)
		require.Greater(t, token, frozen)
		s.outbox.add("one")
		s.outbox.add("two")
		time.Sleep(time.Hour)
		require.ErrorIs(t, s.outbox.sent(t.Context(), "two", frozen), errStale)
	})
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		defer s.start("node-1")()
		s.refuse(errors.New("mail server away"))
		s.outbox.add("greetings")
		time.Sleep(time.Hour)
		require.Empty(t, s.sent())
		leader, _ := s.hub.Leader("shop", "mailer")
		require.Equal(t, "node-1", leader, "a mail that cannot be sent does not stop the node")
		s.refuse(nil)
		time.Sleep(2 * time.Minute)
		require.Equal(t, []string{"node-1: greetings"}, s.sent())
	})
}

func TestNothingIsSentWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		defer s.start("node-1")()
		s.hub.Refuse("", errors.New("store away"))
		time.Sleep(10 * time.Second) // a TTL: the lease has run out
		s.outbox.add("greetings")
		time.Sleep(time.Hour)
		require.Empty(t, s.sent())
		s.hub.Refuse("", nil)
		time.Sleep(5 * time.Minute)
		require.Equal(t, []string{"node-1: greetings"}, s.sent())
	})
}

func TestAsAProgram(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	var out strings.Builder
	require.NoError(t, run(t.Context(), cluster.Endpoints(), &out))
	require.Regexp(t, `^node-\d sends "welcome"
node-\d sends "your order"
node-\d sends "your invoice"
all is sent; `, out.String())
}

// service is the nodes of a test, and what they have sent.
type service struct {
	t      *testing.T
	hub    distributed.MemoryHub
	outbox memoryOutbox

	mu      sync.Mutex
	refusal error    // what the mail server says
	sending int      // by how many nodes at this moment
	log     []string // what has been sent, and by whom
}

func newService(t *testing.T) *service { return &service{t: t} }

// start starts a node, and returns what stops it as a service should be stopped.
func (s *service) start(node string) (stop func()) {
	m := &mailer{outbox: &s.outbox, interval: time.Minute, send: func(ctx context.Context, mail string) error { return s.send(ctx, node, mail) }}
	p := distributed.NewLeadershipBasedJobProcessor("shop", node, distributed.NewMemoryLeaseProvider(&s.hub),
		[]distributed.Job{{Name: "mailer", Work: m.work}})
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Execute(ctx) }()
	synctest.Wait() // it leads, or waits behind those that were started before
	return func() {
		cancel()
		require.NoError(s.t, <-done)
	}
}

// send is a mail server that takes two seconds.
func (s *service) send(ctx context.Context, node, mail string) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	select {
	case <-time.After(2 * time.Second):
		s.note(node + ": " + mail)
		return nil
	case <-ctx.Done():
		s.note(node + " gives up: " + mail)
		return ctx.Err()
	}
}

func (s *service) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending++
	require.Equal(s.t, 1, s.sending, "two nodes send at once")
	if s.refusal != nil {
		s.sending--
	}
	return s.refusal
}

func (s *service) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
}

func (s *service) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending--
}

func (s *service) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, line)
}

func (s *service) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// count returns how often each mail was sent, by whichever node.
func (s *service) count() map[string]int {
	count := map[string]int{}
	for _, line := range s.sent() {
		_, mail, _ := strings.Cut(line, ": ")
		count[mail]++
	}
	return count
}
