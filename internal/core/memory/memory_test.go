package memory_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/core"
	"github.com/b2552be4/distributed/internal/core/memory"
	"github.com/b2552be4/distributed/internal/core/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHubConforms(t *testing.T) {
	storetest.Run(t, space, storetest.Within(synctest.Test))
}

func space(*testing.T) storetest.Space {
	hub := new(memory.Hub)
	names := map[core.Store]string{}
	return storetest.Space{
		Open: func() core.Store {
			name := fmt.Sprint(len(names))
			s := hub.Open(name)
			names[s] = name
			return s
		},
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s core.Store) func() { return hub.HoldRequests(names[s]) },
		HoldReplies:  func(s core.Store) func() { return hub.HoldReplies(names[s]) },
		Compact:      hub.Compact,
	}
}
