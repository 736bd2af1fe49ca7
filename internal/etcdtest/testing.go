package etcdtest

import (
	"context"
	"io"
	"os"

	"google.golang.org/grpc/grpclog"
)

// TB is what [New] needs of a *testing.T, *testing.B or *rapid.T. It is an
// interface so that programs which import this package do not import testing.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// New is Start for tests: it fails t if the cluster does not start, and closes
// the cluster when t ends.
func New(t TB, cfg Config) *Cluster {
	t.Helper()
	c, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("etcdtest: close: %v", err)
		}
	})
	return c
}

// The log of gRPC is global, and says something on standard error whenever a
// member stops under its clients. It must be replaced before gRPC is used.
func init() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" && os.Getenv("ETCD_CLIENT_DEBUG") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
}
