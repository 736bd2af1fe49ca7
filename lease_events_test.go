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
func TestAvailabilityTellsChangesInOrderAndWithoutItsLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		var a availability
		a.up = func(away time.Duration, again bool) {
			told = append(told, "up")
			if again {
				told = append(told, "after "+away.String())
			}
		}
		a.down = func(cause error) {
			told = append(told, cause.Error())
			time.Sleep(time.Second)
			a.works()
			a.fails(errors.New("away once more"))
			told = append(told, "told that")
			a.down = func(cause error) { told = append(told, cause.Error()) }
		}
		a.works()
		a.works()
		a.fails(errors.New("away"))
		a.fails(errors.New("still away"))
		require.Equal(t, []string{"up", "away", "told that", "up", "after 1s", "away once more"}, told)
	})
}
