package distributed_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // where nodes without a logger warn, of faults that tests make
	goleak.VerifyTestMain(m, etcdleak.Options()...)
}
