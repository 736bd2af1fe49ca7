package schedule_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // where nodes warn, of faults that tests make
	goleak.VerifyTestMain(m)
}
