package distributed

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A transaction of ours may show that the lease has gone before the watch does.
func TestAnnounceThatFindsTheLeaseGoneReturnsErrLeaseLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newETCDLease(nil, nil, 1, etcdKeys{prefix: "app/"}, timing{ttl: 10 * time.Second}.granted(10*time.Second), memory{},
			LeaseRequest{App: "app", Instance: "a", Logger: slog.New(slog.DiscardHandler)})
		l.clock, _ = newTestClock()
		l.remember = func(memory) {}
		announced := make(chan error)
		go func() { announced <- l.Announce(t.Context(), NodeInfo{}) }()
		synctest.Wait()
		l.update(func() { l.written.settle(l.written.take(), 0, errTornAway) })
		require.Equal(t, ErrLeaseLost, <-announced)
	})
}

func TestNilJobsTakeThePlaceOfThoseAnnouncedBefore(t *testing.T) {
	m := newMirror(etcdKeys{prefix: "app/"}, "1", timing{ttl: time.Second}, memory{})
	jobs := encodeJobs([]JobInfo{{Name: "job", Weight: 1}})
	m.apply([]keyEvent{{key: m.keys.info("2"), value: []byte(`{"version":"1"}`), create: 1, mod: 1}, {key: m.keys.jobs("2"), value: []byte(jobs), create: 1, mod: 1}}, 0)
	require.Equal(t, jobs, string(m.infos["2"].jobs))
	m.apply([]keyEvent{{key: m.keys.info("2"), value: []byte(`{"version":"2"}`), create: 1, mod: 2}, {key: m.keys.jobs("2"), deleted: true, mod: 2}}, 0)
	require.Equal(t, "2", m.infos["2"].info.Version)
	require.Nil(t, m.infos["2"].jobs)
	m.apply([]keyEvent{{key: m.keys.info("2"), deleted: true, mod: 3}, {key: m.keys.jobs("2"), deleted: true, mod: 3}}, 0)
	require.Empty(t, m.infos)
}
