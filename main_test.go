package distributed_test

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
)

func TestMain(m *testing.M) {
	// Most of what runs in parallel waits for a lease to end. The command line, which is read later, has the last word.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // where nodes without a logger warn, of faults that tests make
	goleak.VerifyTestMain(m, etcdleak.Options()...)
}
