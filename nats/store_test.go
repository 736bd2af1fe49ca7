//go:build unix

package nats

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestWhatCannotWorkIsAnErrorBeforeAnythingIsWritten(t *testing.T) {
	for field, config := range map[string]Config{
		"Config.Servers":    {},
		"Config.Stream":     {Servers: []string{"nats://x"}, Stream: "a.b"},
		"Config.Replicas":   {Servers: []string{"nats://x"}, Replicas: 2},
		"Config.Options[0]": {Servers: []string{"nats://x"}, Options: []nats.Option{nil}},
	} {
		c := distributed.NewConcurrency("app", "node", NewLeaseProvider(config))
		_, err := c.Campaign(t.Context(), "job")
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, field)
		require.NoError(t, c.Close())
	}
}

// patient waits longer for a connection than a node does, which tries again.
var patient = nats.Timeout(10 * time.Second)

// What an operator has made, or changed, may lose documents behind our back.
func TestAStreamThatBreaksAPromiseIsRefused(t *testing.T) {
	c := startCluster(t, 1)
	for says, change := range map[string]func(*jetstream.StreamConfig){
		"subjects":         func(s *jetstream.StreamConfig) { s.Subjects = []string{s.Name + ".a.>"} },
		"file":             func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage },
		"retention":        func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardNew },
		"age":              func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour },
		"max_msgs_per":     func(s *jetstream.StreamConfig) { s.MaxMsgsPerSubject = 1 },
		"allow_direct":     func(s *jetstream.StreamConfig) { s.AllowDirect = true },
		"allow_msg_ttl":    func(s *jetstream.StreamConfig) { s.AllowMsgTTL = false },
		"deny_purge":       func(s *jetstream.StreamConfig) { s.DenyPurge = false },
		"asks for 3":       func(*jetstream.StreamConfig) {},
		"deny_delete":      func(s *jetstream.StreamConfig) { s.DenyDelete = false },
		"bytes or age":     func(s *jetstream.StreamConfig) { s.MaxBytes = 1 << 20 },
		"acknowledgements": func(s *jetstream.StreamConfig) { s.NoAck = true },
	} {
		config := c.config()
		config.Options = []nats.Option{patient}
		config.Stream = strings.Map(func(r rune) rune {
			if r == ' ' || r == '_' {
				return '-'
			}
			return r
		}, says)
		stream := config.wanted()
		change(&stream)
		conn, err := nats.Connect(config.Servers[0])
		require.NoError(t, err)
		js, err := jetstream.New(conn)
		require.NoError(t, err)
		_, err = js.CreateStream(t.Context(), stream)
		require.NoError(t, err, says)
		conn.Close()
		if says == "asks for 3" {
			config.Replicas = 3
		}
		_, err = config.open(t.Context(), distributed.LeaseRequest{Instance: "test"})
		require.ErrorIs(t, err, distributed.ErrRefused)
		require.ErrorContains(t, err, says)
	}
}

// permissions are those that docs/stores.md says a node needs, if the stream is there.
var permissions = []string{
	"distributed.>", "$JS.API.STREAM.INFO.distributed", "$JS.API.STREAM.MSG.GET.distributed",
	"$JS.API.CONSUMER.CREATE.distributed.>",
}

// startWithUsers starts a server, and returns configs for its users.
func startWithUsers(t *testing.T, users ...*server.User) func(user, password string) Config {
	config := memberConfigs(t, 1)[0]
	o := config.options()
	o.Users = users
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(20*time.Second))
	return func(user, password string) Config {
		return Config{Servers: []string{"nats://" + config.addr()}, Replicas: 1, Options: []nats.Option{nats.UserInfo(user, password), patient}}
	}
}

func TestTheDocumentedPermissionsAreEnough(t *testing.T) {
	text, err := os.ReadFile("../docs/stores.md")
	require.NoError(t, err)
	for _, p := range permissions {
		require.Contains(t, string(text), `"`+p+`"`)
	}
	as := startWithUsers(t, &server.User{Username: "owner", Password: "secret"}, &server.User{Username: "node", Password: "secret", Permissions: &server.Permissions{
		Publish: &server.SubjectPermission{Allow: permissions}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}})
	owner, err := as("owner", "secret").open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.NoError(t, err)
	require.NoError(t, owner.Close())
	node, err := as("node", "secret").open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.NoError(t, err)
	defer node.Close()
	require.True(t, follow(t, node.(*store), "app/").Whole)
	at, err := node.Put(t.Context(), "app/key", []byte("value"), 0)
	require.NoError(t, err)
	_, err = node.Put(t.Context(), "app/key", []byte("value"), 0)
	var conflict *distributed.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.NoError(t, node.Delete(t.Context(), "app/key", at))
}

// Who only looks on makes no stream.
func TestToLookMakesNothing(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	config := c.config()
	config.Options = []nats.Option{patient}
	_, err := config.open(t.Context(), distributed.LeaseRequest{})
	require.ErrorContains(t, err, "there is no stream distributed yet")
	node := c.open(config)
	defer node.Close()
	viewer, err := config.open(t.Context(), distributed.LeaseRequest{})
	require.NoError(t, err)
	defer viewer.Close()
	require.True(t, follow(t, viewer.(*store), "app/").Whole)
}

func TestAnErrorNamesTheServersAndNoPassword(t *testing.T) {
	config := Config{Servers: []string{"nats://me:secret@127.0.0.1:1", "nats://127.0.0.1:2"}}
	_, err := config.open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.ErrorContains(t, err, "nats at nats://127.0.0.1:1, nats://127.0.0.1:2: ")
}

// A user that may not write is told so, and can look on; one that is not known is told so, too.
func TestWhoIsRefusedIsToldWhy(t *testing.T) {
	as := startWithUsers(t, &server.User{Username: "owner", Password: "secret"}, &server.User{Username: "reader", Password: "secret",
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: permissions[1:]}}})
	_, err := as("owner", "wrong").open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.ErrorIs(t, err, distributed.ErrRefused)
	owner, err := as("owner", "secret").open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.NoError(t, err)
	require.True(t, follow(t, owner.(*store), "app/").Whole) // with the first message
	require.NoError(t, owner.Close())
	reader, err := as("reader", "secret").open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	require.NoError(t, err)
	require.True(t, follow(t, reader.(*store), "app/").Whole)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = reader.Put(ctx, "app/key", []byte("value"), 0)
	require.ErrorIs(t, err, distributed.ErrRefused)
	require.ErrorContains(t, err, "distributed.")
	require.NoError(t, reader.Close())
}

// messages returns what the stream has of a document.
func messages(t *testing.T, s *store, key string) (all []*jetstream.RawStreamMsg) {
	info, err := s.stream.Info(t.Context())
	require.NoError(t, err)
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		if m, err := s.stream.GetMsg(t.Context(), seq); err == nil && m.Subject == s.subject(key) {
			all = append(all, m)
		}
	}
	return all
}

// Else the stream would grow by what is gone for ever. What is left of a document that
// was deleted expires as a whole: nothing of it may come back.
func TestWhatIsDeletedLeavesNothingBehind(t *testing.T) {
	c := startCluster(t, 1)
	s := c.open(c.config()).(*store)
	defer s.Close()
	at := int64(0)
	for i := range 3 * history {
		var err error
		at, err = s.Put(t.Context(), "app/key", []byte(fmt.Sprint(i)), at)
		require.NoError(t, err)
	}
	require.Len(t, messages(t, s, "app/key"), history)
	require.NoError(t, s.Delete(t.Context(), "app/key", at))
	left := messages(t, s, "app/key")
	require.Len(t, left, history)
	for _, m := range left {
		require.Empty(t, m.Data)
		require.Equal(t, deletionAge.String(), m.Header.Get(jetstream.MsgTTLHeader))
	}
}

// If the client ends just after a deletion, the deletion stays.
func TestADeletionThatIsNotBuriedStays(t *testing.T) {
	c := startCluster(t, 1)
	s := c.open(c.config()).(*store)
	defer s.Close()
	at, err := s.Put(t.Context(), "app/key", []byte("value"), 0)
	require.NoError(t, err)
	deleted, err := s.write(t.Context(), "app/key", nil, at)
	require.NoError(t, err)
	buriedAt, err := s.publish(t.Context(), &nats.Msg{Subject: s.subject("app/key"), Header: nats.Header{buried: {"1"}}}, deleted, jetstream.WithMsgTTL(time.Second))
	require.NoError(t, err)
	require.Eventually(t, func() bool { // it has expired
		left := messages(t, s, "app/key")
		return !slices.ContainsFunc(left, func(m *jetstream.RawStreamMsg) bool { return int64(m.Sequence) == buriedAt })
	}, 30*time.Second, 50*time.Millisecond)
	_, err = s.Put(t.Context(), "app/key", []byte("late"), at)
	require.Equal(t, &distributed.ConflictError{Key: "app/key"}, err)
	// There is a hole at the end of the stream.
	require.Empty(t, follow(t, s, "app/").Documents)
	anew, err := s.Put(t.Context(), "app/key", []byte("anew"), 0)
	require.NoError(t, err)
	require.Equal(t, []distributed.Document{{Key: "app/key", Value: []byte("anew"), Revision: anew}}, follow(t, s, "app/").Documents)
}

// follow returns the first listing.
func follow(t *testing.T, s *store, prefix string) (listing distributed.Step) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := s.Follow(ctx, prefix, func(step distributed.Step) {
		if step.Whole {
			listing = step
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	return listing
}

// While nothing changes the stream says so.
func TestFollowersOfAnIdleStreamHearThatItLives(t *testing.T) {
	c := startCluster(t, 1)
	s := c.open(c.config())
	defer s.Close()
	rev, err := s.Put(t.Context(), "app/key", []byte("value"), 0)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = s.Follow(ctx, "app/", func(step distributed.Step) {
		if !step.Whole {
			require.Equal(t, distributed.Step{Revision: rev}, step)
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
}

// Who follows an app is told nothing of others, but how far the stream is.
func TestFollowersAreToldNothingOfOtherDocuments(t *testing.T) {
	c := startCluster(t, 1)
	s := c.open(c.config())
	defer s.Close()
	_, err := s.Put(t.Context(), "mine/key", []byte("value"), 0)
	require.NoError(t, err)
	other := int64(0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = s.Follow(ctx, "mine/", func(step distributed.Step) {
		switch {
		case step.Whole:
			var err error
			other, err = s.Put(t.Context(), "other/key", []byte("value"), 0)
			require.NoError(t, err)
		case step.Revision >= other:
			require.Equal(t, distributed.Step{Revision: other}, step)
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
}

// A listing comes faster than a follower takes it in, however many documents there are,
// also of others.
func TestAListingOfMoreDocumentsThanMayWaitIsTold(t *testing.T) {
	c := startCluster(t, 1)
	s := c.open(c.config()).(*store)
	defer s.Close()
	rev, err := s.Put(t.Context(), "mine/key", []byte("value"), 0)
	require.NoError(t, err)
	for i := range 3 * waiting {
		_, err := s.js.PublishAsync(s.subject(fmt.Sprint("other/", i)), []byte("value"), jetstream.WithStallWait(time.Minute))
		require.NoError(t, err)
	}
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		require.Fail(t, "not written")
	}
	listing := follow(t, s, "mine/")
	require.Equal(t, []distributed.Document{{Key: "mine/key", Value: []byte("value"), Revision: rev}}, listing.Documents)
	require.Greater(t, listing.Revision, rev+3*waiting-1)
}
