package distributed

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A metric that shows whether the store works must end up right, whatever is
// going on while it is told.
func TestAvailabilityTellsChangesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		a := availability{
			up: func(away time.Duration, again bool) {
				told = append(told, "up")
				if again {
					told = append(told, "after "+away.String())
				}
			},
			down: func(cause error) { told = append(told, cause.Error()) },
		}
		a.works()
		a.works()
		a.fails(errors.New("away"))
		a.fails(errors.New("still away"))
		time.Sleep(time.Second)
		a.works()
		a.fails(errors.New("away once more"))
		require.Equal(t, []string{"up", "away", "up", "after 1s", "away once more"}, told)
	})
}
