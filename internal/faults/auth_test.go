//go:build unix

package faults

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// secret is everybody's password.
const secret = "secret"

// authenticate gives each node a user and a role of its own, both with the name
// of the node, and lets the role do what the keys of the app need. From then on
// etcd asks everybody for a password.
func authenticate(t *testing.T, c *Cluster, nodes int) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	users := []string{"root"}
	for i := range nodes {
		users = append(users, nodeName(i))
	}
	app := appOf(t)
	for _, user := range users {
		_, err := c.client.UserAdd(ctx, user, secret)
		require.NoError(t, err)
		_, err = c.client.RoleAdd(ctx, user)
		require.NoError(t, err)
		_, err = c.client.UserGrantRole(ctx, user, user)
		require.NoError(t, err)
		_, err = c.client.RoleGrantPermission(ctx, user, app+"/", clientv3.GetPrefixRangeEnd(app+"/"), clientv3.PermissionType(clientv3.PermReadWrite))
		require.NoError(t, err)
	}
	_, err := c.client.AuthEnable(ctx)
	require.NoError(t, err)
	require.NoError(t, c.client.Close())
	c.client, err = clientv3.New(clientv3.Config{Endpoints: c.client.Endpoints(), Logger: zap.New(silent), Username: "root", Password: secret})
	require.NoError(t, err)
}

// The tokens of etcd's own authentication expire, and must be renewed in time.
func TestAuthWithTokensThatExpire(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, func(m *memberConfig) { m.AuthTokenTTL = 2 })
	authenticate(t, c, 3)
	w := newWorld(t, c, options{jobs: 2, ttl: 3 * time.Second, auth: true})
	leader := w.startAll()
	before := w.holders()
	time.Sleep(6 * time.Second) // three tokens
	w.unmoved(before)
	leader.Kill()
	w.awaitTaken(before)

	leader.password = "wrong"
	w.start(0)
	w.awaitRefused(leader, "authentication failed, invalid user ID or password")
	w.hold(w.gapAfterLoss(), false)
}

// An administrator may take away what a node needs while it leads. It stops in
// time, as if etcd were away, says why, and comes back when that is undone. The
// others have rights of their own.
func TestRightsTakenAwayFromANodeThatLeads(t *testing.T) {
	t.Parallel()
	grant := func(ctx context.Context, c *clientv3.Client, app, node string) error {
		_, err := c.RoleGrantPermission(ctx, node, app+"/", clientv3.GetPrefixRangeEnd(app+"/"), clientv3.PermissionType(clientv3.PermReadWrite))
		return err
	}
	for _, f := range []struct {
		name, reason string
		do, undo     func(ctx context.Context, c *clientv3.Client, app, node string) error
	}{
		{"role revoked", "permission denied", func(ctx context.Context, c *clientv3.Client, _, node string) error {
			_, err := c.UserRevokeRole(ctx, node, node)
			return err
		}, func(ctx context.Context, c *clientv3.Client, _, node string) error {
			_, err := c.UserGrantRole(ctx, node, node)
			return err
		}},
		{"password changed", "authentication failed, invalid user ID or password", func(ctx context.Context, c *clientv3.Client, _, node string) error {
			_, err := c.UserChangePassword(ctx, node, "another")
			return err
		}, func(ctx context.Context, c *clientv3.Client, _, node string) error {
			_, err := c.UserChangePassword(ctx, node, secret)
			return err
		}},
		{"permission revoked", "permission denied", func(ctx context.Context, c *clientv3.Client, app, node string) error {
			_, err := c.RoleRevokePermission(ctx, node, app+"/", clientv3.GetPrefixRangeEnd(app+"/"))
			return err
		}, grant},
		{"user deleted", "authentication failed, invalid user ID or password", func(ctx context.Context, c *clientv3.Client, _, node string) error {
			_, err := c.UserDelete(ctx, node)
			return err
		}, func(ctx context.Context, c *clientv3.Client, _, node string) error {
			_, err := c.UserAdd(ctx, node, secret)
			if err == nil {
				_, err = c.UserGrantRole(ctx, node, node)
			}
			return err
		}},
	}[:times(2, 4)] {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 3, nil)
			authenticate(t, c, 3)
			w := newWorld(t, c, options{jobs: 3, ttl: 3 * time.Second, linger: 250 * time.Millisecond, auth: true})
			leader := w.startAll()
			before := w.holders()
			w.operate(func(ctx context.Context, c *clientv3.Client) error { return f.do(ctx, c, w.app, leader.name) })
			taken := monotonic()
			w.await("the node has stopped", func() bool { return w.stoppedAfter(before, taken) >= 0 })
			require.LessOrEqual(t, w.stoppedAfter(before, taken), w.silentFor()+w.stalls.Worst())
			w.awaitTaken(before)
			w.await("the node says why it cannot come back", func() bool {
				return regexp.MustCompile(`level=WARN.*the store no longer accepts this process.*` + f.reason).MatchString(w.said(leader))
			})
			require.True(t, leader.Running())
			w.operate(func(ctx context.Context, c *clientv3.Client) error { return f.undo(ctx, c, w.app, leader.name) })
			w.awaitCandidates(len(w.nodes))
			w.hold(w.gapAfterLoss(), false)
		})
	}
}

// awaitRefused waits until a node has ended by itself, and requires that it said
// for which reason, and that nothing but that could have helped.
func (w *world) awaitRefused(n *node, reason string) {
	w.t.Helper()
	w.await(n.name+" gives up", func() bool { return !n.Running() })
	require.Error(w.t, n.Err())
	require.Regexp(w.t, `(?m)^node: .*permanent failure.*`+reason, w.said(n))
}

// said returns what a node has logged.
func (w *world) said(n *node) string {
	said, err := os.ReadFile(filepath.Join(w.dir, n.name+".log"))
	require.NoError(w.t, err)
	return string(said)
}
