package distributed

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

func TestAConnectionIsDroppedAfterTwoAttemptsIntoSilence(t *testing.T) {
	type attempt struct{ sent, now, heard time.Duration }
	for _, c := range []struct {
		name     string
		attempts []attempt
		dead     []bool
	}{
		{"two into silence", []attempt{{10, 20, 5}, {25, 35, 5}}, []bool{false, true}},
		{"something was heard meanwhile", []attempt{{10, 20, 15}, {25, 35, 30}, {40, 50, 45}}, []bool{false, false, false}},
		{"something was heard between them", []attempt{{10, 20, 5}, {25, 35, 22}, {40, 50, 22}}, []bool{false, false, true}},
		{"overlapping attempts are one", []attempt{{10, 20, 5}, {11, 21, 5}, {19, 29, 5}, {30, 40, 5}}, []bool{false, false, false, true}},
	} {
		var q quiet
		for i, a := range c.attempts {
			require.Equal(t, c.dead[i], q.missed(a.sent, a.now, a.heard), "%s: %d", c.name, i)
		}
	}
}

// One member of several proves nothing, in however many attempts.
func TestTwoMembersHaveToRefuse(t *testing.T) {
	at := func(host byte) *peer.Peer {
		return &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, host), Port: 2379}}
	}
	denied := status.Error(codes.PermissionDenied, "etcdserver: permission denied")
	type answer struct {
		by    *peer.Peer
		err   error
		wrote bool
	}
	for _, c := range []struct {
		name    string
		answers []answer
		members int
		enough  bool
	}{
		{"one of one", []answer{{at(1), denied, false}}, 1, true},
		{"one of three, again and again", []answer{{at(1), denied, false}, {at(1), denied, false}}, 3, false},
		{"two of three", []answer{{at(1), denied, false}, {at(2), denied, false}}, 3, true},
		{"one has taken a write since", []answer{{at(1), denied, false}, {at(1), nil, true}, {at(2), denied, false}}, 3, false},
		{"one lets us read", []answer{{at(1), denied, false}, {at(1), nil, false}, {at(2), denied, false}}, 3, true},
		{"no member lets us in", []answer{{new(peer.Peer), denied, false}}, 3, true},
		{"no member let us in before", []answer{{new(peer.Peer), denied, false}, {at(1), denied, false}}, 3, false},
		{"another error", []answer{{at(1), status.Error(codes.Unavailable, "503"), false}}, 1, false},
	} {
		var r refusers
		for _, a := range c.answers {
			newWires(&r).note(a.by, time.Now(), a.wrote, a.err) // each through a connection of its own
		}
		require.Equal(t, c.enough, r.enough(c.members), c.name)
	}
}
