package distributed_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/etcdtest/etcdleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdleak.Options()...) }
