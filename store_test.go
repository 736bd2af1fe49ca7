package distributed_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/storetest"
)

func TestTheStoreOfTheExampleConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Space {
		s := newShelf()
		return storetest.Space{Open: func() distributed.Store {
			store, err := s.open(t.Context(), distributed.LeaseRequest{})
			require.NoError(t, err)
			return store
		}}
	}, storetest.Within(synctest.Test))
}
