package distributed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// permanentErrors are etcd's answers that stay the same until somebody changes
// the configuration, here or there.
var permanentErrors = []error{
	rpctypes.ErrAuthFailed,
	rpctypes.ErrPermissionDenied,
	rpctypes.ErrUserEmpty,
	rpctypes.ErrUserNotFound,
	rpctypes.ErrLeaseTTLTooLarge,
	rpctypes.ErrRequestTooLarge,
	clientv3.ErrMutuallyExclusiveCfg,
	clientv3.ErrOldCluster,
}

// classify marks err with ErrPermanent if waiting cannot mend it.
func classify(err error) error {
	if isPermanent(err) && !errors.Is(err, ErrPermanent) {
		return fmt.Errorf("%w: %w", ErrPermanent, err)
	}
	return err
}

func isPermanent(err error) bool {
	for _, p := range permanentErrors {
		if isETCD(err, p) {
			return true
		}
	}
	return isTLS(err)
}

// isFinal reports whether repeating the same call cannot help.
func isFinal(err error) bool {
	return isPermanent(err) || errors.Is(err, errTornAway) ||
		isETCD(err, rpctypes.ErrLeaseNotFound) || isETCD(err, rpctypes.ErrTooManyOps)
}

// isETCD reports whether err is the given error of etcd's, which reaches us
// either as itself or as a gRPC status with its text.
func isETCD(err, target error) bool {
	return err != nil && (errors.Is(err, target) || strings.Contains(err.Error(), rpctypes.ErrorDesc(target)))
}

// isTLS recognizes a failed handshake by its text: gRPC passes on nothing else.
// A connection that broke off during the handshake has neither prefix.
func isTLS(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "x509: "))
}

// diagnose finds out why err was a mere timeout: calls of a client that is not
// ours wait for a connection, and do not say why there is none.
func diagnose(ctx context.Context, client *clientv3.Client, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) && status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, cause := pb.NewKVClient(client.ActiveConnection()).Range(ctx, &pb.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1})
	if isTLS(cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
