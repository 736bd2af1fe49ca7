package distributed_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/storetest"
)

func TestMemoryStoreConforms(t *testing.T) {
	storetest.Run(t, memorySpace, storetest.Within(synctest.Test))
}

func memorySpace(*testing.T) storetest.Space {
	hub := new(distributed.MemoryHub)
	names := map[distributed.Store]string{}
	return storetest.Space{
		Open: func() distributed.Store {
			name := fmt.Sprint(len(names))
			s := hub.Open(name)
			names[s] = name
			return s
		},
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s distributed.Store) func() { return hub.HoldRequests(names[s]) },
		HoldReplies:  func(s distributed.Store) func() { return hub.HoldReplies(names[s]) },
		Compact:      hub.Compact,
	}
}
