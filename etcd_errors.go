package distributed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// refusals are etcd's answers that stay the same until somebody changes something,
// there or here, if all members give them for a while.
var refusals = []error{
	rpctypes.ErrAuthFailed,
	rpctypes.ErrPermissionDenied,
	rpctypes.ErrUserEmpty,
	rpctypes.ErrUserNotFound,
	rpctypes.ErrInvalidAuthToken,
	clientv3.ErrOldCluster,
}

// staleTokens are etcd's answers that another login may fix.
var staleTokens = []error{
	rpctypes.ErrInvalidAuthToken,
	rpctypes.ErrAuthOldRevision,
	rpctypes.ErrUserEmpty,
}

// isRefusal reports whether this node, or its user, was turned away.
func isRefusal(err error) bool { return isAny(err, refusals) || isTLS(err) }

func isStale(err error) bool { return isAny(err, staleTokens) }

func isAny(err error, targets []error) bool {
	for _, t := range targets {
		if isETCD(err, t) {
			return true
		}
	}
	return false
}

// isETCD reports whether err is the given error of etcd's, which reaches us
// either as itself or as a gRPC status with its text.
func isETCD(err, target error) bool {
	return err != nil && (errors.Is(err, target) || strings.Contains(err.Error(), rpctypes.ErrorDesc(target)))
}

// isTLS recognizes a handshake in which one side turned the other away, by its
// text: gRPC passes on nothing else. A connection that broke off during the
// handshake has neither prefix.
func isTLS(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	for _, t := range passingTLS {
		if strings.Contains(text, t) {
			return false
		}
	}
	return strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ")
}

// passingTLS are failed handshakes that pass: a certificate that has expired is
// replaced sooner or later, and what speaks no TLS, or no HTTP/2, is no member, but
// perhaps a balancer that has none to offer at the moment.
var passingTLS = []string{
	"x509: certificate has expired or is not yet valid",
	"tls: first record does not look like a TLS handshake",
	"tls: no application protocol",
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

// refusal marks err with ErrRefused if this node, or its user, was turned away: by
// two members at least, if there are so many, for one of them may be wrong. Of the
// caller's client it is not known which have answered.
func (c *connection) refusal(err error) error {
	if isRefusal(err) && (!c.own || c.client == nil || c.wires.refusers.enough(c.members)) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// explain adds to err where etcd is looked for, and, if nobody has answered, what is
// known of why.
func (c *connection) explain(err error) error {
	if isTimeout(err) {
		if last := c.wires.trouble(); last != nil && !isTimeout(last) {
			err = fmt.Errorf("%w: %w", err, last)
		}
	}
	if err == nil {
		return nil
	}
	return c.refusal(fmt.Errorf("etcd at %s: %w", strings.Join(c.client.Endpoints(), ", "), err))
}

// refusers are the members that have refused this process, and not taken a write from
// it since, for all connections of a provider.
type refusers struct {
	mu sync.Mutex
	at map[string]bool // by address; nowhere if no member could be reached, for such a reason
}

const nowhere = ""

func (r *refusers) add(by net.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = map[string]bool{}
	}
	delete(r.at, nowhere)
	r.at[address(by)] = true
}

func (r *refusers) remove(by net.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, nowhere)
	delete(r.at, address(by))
}

func address(of net.Addr) string {
	if of == nil {
		return nowhere
	}
	return of.String()
}

// enough reports whether so many have refused that it is no mistake of one of them.
func (r *refusers) enough(members int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[nowhere] || len(r.at) >= min(2, members)
}
