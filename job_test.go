package distributed_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestJobThatCannotWorkIsRefusedByTheFieldAndItsBound(t *testing.T) {
	work := untilDone
	for _, c := range []struct {
		flaw string
		job  distributed.Job
		want string
	}{
		{"no name", distributed.Job{Work: work}, "Job.Name is empty"},
		{"no work", distributed.Job{Name: "x"}, `Job.Work of "x" is nil`},
		{"nothing", distributed.Job{}, "Job.Name is empty"},
		{"a line feed", distributed.Job{Name: "a\nb", Work: work}, `Job.Name "a\nb" contains a control character`},
		{"a zero byte", distributed.Job{Name: "a\x00", Work: work}, `Job.Name "a\x00" contains a control character`},
		{"a C1 control", distributed.Job{Name: "a\u0085", Work: work}, `contains a control character`},
		{"no UTF-8", distributed.Job{Name: "a\xff", Work: work}, `Job.Name "a\xff" is not valid UTF-8`},
		{"a long name", distributed.Job{Name: strings.Repeat("a", 513), Work: work}, `Job.Name "aaaaaaaaaaaaaaaaaaaa"... has 513 bytes, at most 512 are allowed`},
		{"a long name of few characters", distributed.Job{Name: strings.Repeat("ä", 257), Work: work}, "has 514 bytes, at most 512 are allowed"},
		{"a name that is taken", distributed.Job{Name: "taken", Work: work}, `there is a job of this name already: "taken"`},
	} {
		t.Run(c.flaw, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				taken := s.job("a", "taken", untilDone)
				p := distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), []distributed.Job{taken})
				err := p.AddJob(c.job)
				require.ErrorIs(t, err, distributed.ErrInvalidConfig)
				require.ErrorContains(t, err, c.want)

				a := start(t, t.Context(), p)
				require.Equal(t, "a", s.runner("taken"), "AddJob told, Execute runs the others")
				calls := s.hub.Writes()
				err = p.AddJob(c.job)
				require.ErrorIs(t, err, distributed.ErrInvalidConfig)
				require.ErrorContains(t, err, c.want)
				require.Equal(t, "a", s.runner("taken"), "also while executing")
				require.False(t, a.returned())
				require.Equal(t, calls, s.hub.Writes())

				requireRefused(t, c.want, "app", "b", []distributed.Job{taken, c.job})
				requireRefused(t, c.want, "app", "b", []distributed.Job{taken, c.job, {}, {Name: "y", Work: work}})
			})
		})
	}
}

func TestNodeThatCannotWorkIsRefusedByTheFieldAndItsBound(t *testing.T) {
	for _, c := range []struct {
		app, instance string
		want          string
	}{
		{"", "a", "app name is empty"},
		{"app", "", "instance name is empty"},
		{"one/two", "a", `app name "one/two" must not contain "/"`},
		{"a\tb", "a", `app name "a\tb" contains a control character`},
		{"app", "a\x7f", `instance name "a\x7f" contains a control character`},
		{"\xc3", "a", `app name "\xc3" is not valid UTF-8`},
		{"app", "\xc3", `instance name "\xc3" is not valid UTF-8`},
		{strings.Repeat("a", 129), "a", "has 129 bytes, at most 128 are allowed"},
		{"app", strings.Repeat("a", 257), "has 257 bytes, at most 256 are allowed"},
	} {
		t.Run(c.want, func(t *testing.T) {
			requireRefused(t, c.want, c.app, c.instance, []distributed.Job{{Name: "x", Work: untilDone}})
		})
	}
	t.Run("provider is nil", func(t *testing.T) {
		err := distributed.NewLeadershipBasedJobProcessor("app", "a", nil, []distributed.Job{{Name: "x", Work: untilDone}}).Execute(t.Context())
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, "provider is nil")
	})
}

func TestOptionThatCannotWorkIsRefusedByItsNameAndBound(t *testing.T) {
	negative := func(job string) time.Duration {
		if job == "x" {
			return -time.Second
		}
		return 0
	}
	for _, c := range []struct {
		option distributed.ProcessorOption
		want   string
	}{
		{distributed.WithJobQuota(0), "WithJobQuota(0): must be at least 1"},
		{distributed.WithJobQuota(-1), "WithJobQuota(-1): must be at least 1"},
		{distributed.WithStartDelay(negative), `WithStartDelay returned -1s for job "x": must not be negative`},
		{distributed.WithVoluntaryTimeout(negative), `WithVoluntaryTimeout returned -1s for job "x": must not be negative`},
	} {
		t.Run(c.want, func(t *testing.T) {
			requireRefused(t, c.want, "app", "a", []distributed.Job{{Name: "w", Work: untilDone}, {Name: "x", Work: untilDone}}, c.option)
		})
	}
}

func TestJobWithANegativeDurationIsRefusedWhileExecutingToo(t *testing.T) {
	negative := func(job string) time.Duration {
		if job == "bad" {
			return -1
		}
		return time.Hour
	}
	for _, option := range []distributed.ProcessorOption{distributed.WithStartDelay(negative), distributed.WithVoluntaryTimeout(negative)} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t)
			a := s.execute("a", works{"good": untilDone}, option)
			require.ErrorIs(t, a.AddJob(s.job("a", "bad", untilDone)), distributed.ErrInvalidConfig)
			require.False(t, a.returned())
			require.NoError(t, a.AddJob(s.job("a", "better", untilDone)))
		})
	}
}

func TestVoluntaryTimeoutThatTurnsNegativeLaterMakesExecuteFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, timeout := newService(t), 5*time.Second
		a := s.execute("a", works{"x": untilDone}, distributed.WithVoluntaryTimeout(func(string) time.Duration {
			timeout -= 2 * time.Second
			return timeout
		}))
		err := a.result()
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, `WithVoluntaryTimeout returned -1s for job "x": must not be negative`)
		require.Empty(t, s.hub.Candidates("app", "x"))
	})
}

func TestNamesUpToTheBoundsAreGood(t *testing.T) {
	for _, name := range []string{"x", "a/b/c", "leader", "a/leader", "a/leader/b", " ", "日本", strings.Repeat("a", 512)} {
		t.Run(fmt.Sprintf("%.20s", name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				start(t, t.Context(), distributed.NewLeadershipBasedJobProcessor(strings.Repeat("p", 128), strings.Repeat("i", 256), s.provider(),
					[]distributed.Job{s.job("it", name, untilDone)}))
				require.Equal(t, "it", s.runner(name))
			})
		})
	}
}

func TestSecondJobOfANameIsErrJobExists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		a := s.execute("a", works{"x": untilDone})
		require.ErrorIs(t, a.AddJob(s.job("a", "x", untilDone)), distributed.ErrJobExists)
		require.Equal(t, "a", s.runner("x"))

		twice := []distributed.Job{s.job("b", "x", untilDone), s.job("b", "x", untilDone)}
		err := distributed.NewLeadershipBasedJobProcessor("app", "b", s.provider(), twice).Execute(t.Context())
		require.ErrorIs(t, err, distributed.ErrJobExists)
		require.EqualError(t, err, `distributed: invalid configuration: there is a job of this name already: "x"`)
	})
}

// Options may ask anything of the processor, which holds no lock meanwhile.
func TestOptionsMayAddJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		var p *distributed.LeadershipBasedJobProcessor
		more := func(job string) time.Duration {
			if len(job) < 3 {
				_ = p.AddJob(s.job("a", job+"x", untilDone)) // refused the second time
			}
			return 0
		}
		p = distributed.NewLeadershipBasedJobProcessor("app", "a", s.provider(), nil, distributed.WithStartDelay(more), distributed.WithVoluntaryTimeout(more))
		require.NoError(t, p.AddJob(s.job("a", "x", untilDone)))
		start(t, t.Context(), p)
		require.Equal(t, "a", s.runner("x"))
		require.Equal(t, "a", s.runner("xxx"))
	})
}

// requireRefused also requires that the store was not asked for anything.
func requireRefused(t *testing.T, want, app, instance string, jobs []distributed.Job, opts ...distributed.ProcessorOption) {
	t.Helper()
	provider := acquire(func(context.Context, distributed.LeaseRequest) (distributed.Lease, error) {
		t.Error("a lease was acquired")
		return nil, distributed.ErrPermanent
	})
	err := distributed.NewLeadershipBasedJobProcessor(app, instance, provider, jobs, opts...).Execute(t.Context())
	require.ErrorIs(t, err, distributed.ErrInvalidConfig)
	require.ErrorContains(t, err, want)
}
