package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

func TestOrders(t *testing.T) {
	f := newFleet(t, etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true}))
	defer f.start("a", 2, distributed.WithLoadBalancing(distributed.WithSettleTime(0)))()
	defer f.start("b", 2, distributed.WithLoadBalancing(distributed.WithSettleTime(0)))()

	code, _, errs := f.run("pause", "job-0")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "say --yes where nobody can be asked")
	code, out, errs := f.run("pause", "job-0", "--yes", "--by", "ann", "--why", "repair")
	require.Zero(t, code, errs)
	require.Equal(t, "job-0 is paused\n", out)
	for leaders := range f.observer.Updates(t.Context()) {
		if len(leaders) == 1 {
			break
		}
	}
	code, out, _ = f.run("jobs")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^job-0 +paused +- +- +\S+ +job-0 is paused by ann: repair$`, out)
	code, out, _ = f.run("explain", "job-0")
	require.Zero(t, code)
	require.Contains(t, out, "job-0 is paused by ann: repair")
	code, out, _ = f.run("orders")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^pause +job-0 +- +ann +\S+ +repair$`, out)
	code, _, errs = f.run("pause", "job-0", "-yes")
	require.Equal(t, exitNo, code)
	require.Contains(t, errs, "ordered already: job-0 is paused by ann: repair")
	code, _, _ = f.run("resume", "job-0")
	require.Zero(t, code)
	_, err := f.observer.Await(t.Context(), "job-0")
	require.NoError(t, err)

	for _, args := range [][]string{
		{"drain", "a", "-y"}, {"undrain", "a", "--yes"}, {"pin", "job-1", "b", "-y"}, {"unpin", "job-1", "-y"}, {"move", "job-1", "a", "-y"},
		{"resign", "job-0", "-y"}, {"pause", "--all", "-y"}, {"resume", "--all", "-y"},
	} {
		code, _, errs = f.run(args...)
		require.Zero(t, code, "%v: %s", args, errs)
	}
	for _, args := range [][]string{
		{"pause", "nope", "-y"}, {"drain", "nope", "-y"}, {"undrain", "a"}, {"forget", "job-0", "-y"}, {"move", "job-1", "nope", "-y"},
	} {
		code, _, errs = f.run(args...)
		require.Equal(t, exitNo, code, "%v: %s", args, errs)
	}
	code, out, _ = f.run("__complete", "move", "job-0", "")
	require.Zero(t, code)
	require.Contains(t, out, "a\nb\n")
}

// await blocks until the app looks as wanted.
func (f *fleet) await(looks func(*distributed.View) bool) {
	for range f.observer.Updates(f.t.Context()) {
		if looks(f.observer.View()) {
			return
		}
	}
}

func TestOrdersWithoutBalancing(t *testing.T) {
	f := newFleet(t, etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true}))
	defer f.start("a", 2)()
	defer f.start("b", 2)()
	barred := func(nodes int) func(*distributed.View) bool {
		return func(v *distributed.View) bool {
			n := 0
			for _, node := range v.Nodes {
				if len(node.Barred) == 2 {
					n++
				}
			}
			return n == nodes && (n < 2 || len(v.Jobs) == 0)
		}
	}
	code, _, errs := f.run("pin", "job-0", "a", "-y")
	require.Equal(t, exitNo, code)
	require.Equal(t, "distributed: a runs without WithLoadBalancing: no job can be moved or pinned to it\n", errs)

	code, out, errs := f.run("pause", "--all", "-y", "-o", "json", "--by", "ann", "--why", "repair")
	require.Zero(t, code, errs)
	require.JSONEq(t, `{"order": "pause", "name": "", "done": "all of shop is paused"}`, out)
	f.await(barred(2))
	code, out, _ = f.run("jobs")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^job-0 +paused +- +- +- +all jobs are paused by ann: repair$`, out)
	code, out, errs = f.run("explain", "job-0")
	require.Zero(t, code, errs)
	require.Equal(t, "job-0 runs nowhere: all jobs are paused by ann: repair\n", out)
	code, out, errs = f.run("pause", "job-0", "-y", "-o=json")
	require.Zero(t, code, errs)
	require.JSONEq(t, `{"order": "pause", "name": "job-0", "done": "job-0 is paused"}`, out)
	code, _, errs = f.run("pause", "job-0", "-y", "-ojson", "--by", "bob")
	require.Equal(t, exitNo, code)
	require.Contains(t, errs, `{
  "error": "ordered already: job-0 is paused by `)
	for _, what := range []string{"--all", "job-0"} {
		code, _, errs = f.run("resume", what)
		require.Zero(t, code, errs)
	}
	f.await(barred(0))
	for _, node := range []string{"a", "b"} {
		code, _, errs = f.run("drain", node, "-y", "--by", "ann")
		require.Zero(t, code, errs)
	}
	f.await(barred(2))
	code, out, _ = f.run("jobs")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^job-1 +nowhere +- +- +- +[ab] is drained by ann; [ab] is drained by ann$`, out)
	for _, node := range []string{"a", "b"} {
		code, _, errs = f.run("undrain", node, "-y")
		require.Zero(t, code, errs)
	}
	f.await(barred(0))
	was, err := f.observer.Await(t.Context(), "job-0")
	require.NoError(t, err)
	code, _, errs = f.run("resign", "job-0", "-y")
	require.Zero(t, code, errs)
	f.await(func(v *distributed.View) bool {
		l, ok := f.observer.Locate("job-0")
		return ok && l.Node != was.Node
	})
	code, out, _ = f.run("orders")
	require.Zero(t, code)
	require.Equal(t, "ORDER   JOB   INSTANCE   BY   AGE   WHY\n", out, "it was carried out")
}

func TestAQuestionThatIsNotAgreedToOrdersNothing(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, w.Close())
	require.ErrorContains(t, (&conn{in: r}).ask("Stop it"), "--yes", "a pipe is nobody")
	require.NotEmpty(t, whoami())
}
