package distributed_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestStatusFollowsAJobThroughItsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.frozen = true // a will not have stopped when b begins
		added := time.Now()
		p := distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(),
			[]distributed.Job{s.job("a", "x", stopsAfter(time.Minute))})
		require.Equal(t, distributed.Status{Instance: "a", Jobs: []distributed.JobStatus{
			{Name: "x", State: distributed.JobWaiting, Since: added},
		}}, p.Status(), "before Execute")

		time.Sleep(time.Hour)
		a := start(t, t.Context(), p)
		synctest.Wait()
		elected := time.Now()
		s.execute("b", works{"x": untilDone})
		time.Sleep(time.Hour)
		first := s.last("x").token
		view, _ := a.View()
		require.Equal(t, distributed.Status{Instance: "a", Executing: true, Leased: true, Node: view.Self, Jobs: []distributed.JobStatus{
			{Name: "x", State: distributed.JobRunning, Since: elected, Token: first},
		}}, a.Status())

		s.hub.RemoveCandidate("app", "x", "a")
		lost := time.Now()
		time.Sleep(time.Second - 1)
		x := a.Status().Jobs[0]
		require.ErrorIs(t, x.Cause, distributed.ErrLeadershipLost)
		require.Equal(t, distributed.JobStatus{Name: "x", State: distributed.JobStopping, Since: lost, Token: first, Cause: x.Cause}, x)
		time.Sleep(1)
		require.Equal(t, distributed.JobStatus{Name: "x", State: distributed.JobStuck, Since: lost, Token: first, Cause: x.Cause}, a.Status().Jobs[0])

		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		require.Equal(t, distributed.JobStatus{Name: "x", State: distributed.JobWaiting, Since: time.Now()}, a.Status().Jobs[0])
	})
}

func TestStatusOfAJobThatIsBeingReleasedIsStoppingNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": untilDone}, distributed.WithVoluntaryTimeout(func(string) time.Duration { return time.Second }))
		s.hub.Refuse("a", errAway)
		time.Sleep(time.Second)
		returned := time.Now()
		time.Sleep(4 * time.Second) // of the 5 s that a resignation may take
		status := a.Status()
		require.True(t, status.Executing)
		require.Equal(t, distributed.JobStopping, status.Jobs[0].State)
		require.Equal(t, returned, status.Jobs[0].Since)
		require.Equal(t, distributed.ErrTermEnded, status.Jobs[0].Cause)
		a.stop(errShutdown)
		require.NoError(t, a.result())
		require.Equal(t, distributed.JobWaiting, a.Status().Jobs[0].State)
		require.False(t, a.Status().Leased)
	})
}

func TestStatusHasNoLeaseOnceItIsLostThoughWorkGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": stopsAfter(time.Hour)})
		s.hub.Refuse("", errAway)
		time.Sleep(s.ttl - s.ttl/5)
		synctest.Wait()
		status := a.Status()
		require.True(t, status.Executing)
		require.False(t, status.Leased)
		require.Empty(t, status.Node)
		require.Equal(t, distributed.JobStopping, status.Jobs[0].State)
	})
}

func TestStatusHasNoNodeWhereTheViewHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease := &fakeLease{campaign: func(context.Context, context.CancelCauseFunc) (int64, error) { return 7, nil }}
		s := newService(t)
		a := start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor("app", "a", lease.provider(),
			[]distributed.Job{s.job("a", "x", untilDone)}))
		synctest.Wait()
		status := a.Status()
		require.True(t, status.Leased)
		require.Empty(t, status.Node)
		require.EqualValues(t, 7, status.Jobs[0].Token)
	})
}

func TestStatusSaysWhetherTheNodeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"y": untilDone, "x": untilDone}, balanced())
		require.False(t, a.Status().Draining)
		require.Equal(t, "x", a.Status().Jobs[0].Name, "sorted")
		draining, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, a.Drain(draining), "nobody else can take them")
		require.True(t, a.Status().Draining)
		require.NoError(t, a.Undrain())
		require.False(t, a.Status().Draining)
	})
}
