package distributed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// jobsThatStop are jobs that stop one after the other, apart.
func jobsThatStop(n int, apart time.Duration) works {
	jobs := works{}
	for i := range n {
		jobs[fmt.Sprintf("job-%04d", i)] = stopsAfter(time.Duration(i) * apart)
	}
	return jobs
}

func TestANodeThatStopsReleasesByOneWriteWhatReturnsTogether(t *testing.T) {
	for name, c := range map[string]struct {
		jobs  int
		apart time.Duration
	}{
		"one":                 {1, 0},
		"two at once":         {2, 0},
		"many at once":        {300, 0},
		"fifty a millisecond": {300, 20 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				a := s.execute("a", jobsThatStop(c.jobs, c.apart))
				time.Sleep(time.Second)
				s.execute("b", jobsThatStop(c.jobs, 0))
				time.Sleep(3 * time.Second) // claims have their numbers by then
				synctest.Wait()
				require.Equal(t, "a", s.runner("job-0000"))

				before := s.hub.Writes()
				a.stop(errShutdown)
				time.Sleep(time.Duration(c.jobs) * c.apart)
				require.NoError(t, a.result())
				synctest.Wait()
				for job := range jobsThatStop(c.jobs, 0) {
					require.Equal(t, "b", s.runner(job))
				}
				require.Equal(t, 1, s.hub.Writes()-before, "that the node has drained")
			})
		})
	}
}

func TestAJobDoesNotWaitLongForOthersOfANodeThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const apart = 100 * time.Microsecond // ten a millisecond
		s := newService(t)
		a := s.execute("a", jobsThatStop(300, apart))
		time.Sleep(time.Second)
		s.execute("b", jobsThatStop(300, 0))
		time.Sleep(3 * time.Second)
		a.stop(errShutdown)
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, "b", s.runner("job-0000"))
		require.Equal(t, "b", s.runner("job-0030"), "as soon as its own Work has returned")
		require.Equal(t, "a", s.runner("job-0060"))
		time.Sleep(300 * apart)
		require.NoError(t, a.result())
	})
}
