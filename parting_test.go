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

// together has two nodes execute jobs: a, which leads them all, and b, which waits. All
// that they write until then is written. Time is virtual.
func (s *service) together(jobs int, apart time.Duration) (a *executing) {
	a = s.execute("a", jobsThatStop(jobs, apart))
	time.Sleep(time.Second)
	s.execute("b", jobsThatStop(jobs, 0))
	time.Sleep(3 * time.Second)
	synctest.Wait()
	require.Equal(s.t, "a", s.runner("job-0000"))
	return a
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
				a := s.together(c.jobs, c.apart)
				before := s.hub.Writes()
				a.stop(errShutdown)
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
		s := newService(t)
		a := s.together(300, 100*time.Microsecond) // ten a millisecond
		a.stop(errShutdown)
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, "b", s.runner("job-0000"))
		require.Equal(t, "b", s.runner("job-0030"), "as soon as its own Work has returned")
		require.Equal(t, "a", s.runner("job-0060"))
		require.NoError(t, a.result())
	})
}
