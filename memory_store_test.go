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
			s := distributed.OpenMemoryStore(hub, name)
			names[s] = name
			return s
		},
		TooLarge:     1<<20 + 1,
		HoldRequests: func(s distributed.Store) func() { return distributed.HoldRequests(hub, names[s]) },
		HoldReplies:  func(s distributed.Store) func() { return distributed.HoldReplies(hub, names[s]) },
		Compact:      func(rev int64) { distributed.Compact(hub, rev) },
	}
}
