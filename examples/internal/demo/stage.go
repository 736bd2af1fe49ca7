//go:build unix

package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed/examples/internal/play"
	"github.com/b2552be4/distributed/verify"
)

const numberOfJobs = 29

// Stage is a demo that is being played: its nodes, and what shows them.
type Stage struct {
	demo    *Demo
	records play.Records
	fleet   *fleet
	shows   []*show
	news    *news
	server  *http.Server
	serving sync.WaitGroup
}

// open makes the stage, without a node yet, and serves its page.
func (d *Demo) open(ctx context.Context, store *play.Store, records play.Records, out io.Writer) (s *Stage, err error) {
	s = &Stage{demo: d, records: records, news: newNews(out)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var jobs []string
	for i := range numberOfJobs {
		jobs = append(jobs, fmt.Sprintf("job-%02d", i+1))
	}
	if s.fleet, err = newFleet(d, store, records, jobs, s.Say, s.Report); err != nil {
		return nil, err
	}
	for _, app := range d.Apps {
		show, err := openShow(ctx, app, store, s.news.wake)
		if err != nil {
			return nil, err
		}
		s.shows = append(s.shows, show)
	}
	listener, err := d.config.open()
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	s.serve(listener)
	fmt.Fprintf(out, "%s, each on one node at a time; etcd: %s.\nWatch it, and break it, at http://%s/\n\n",
		play.Count(numberOfJobs, "job"), store.Where(), listener.Addr())
	return s, nil
}

// Say tells in the terminal and on the page what happens.
func (s *Stage) Say(format string, args ...any) { s.news.say(fmt.Sprintf(format, args...)) }

// Report tells in the terminal how the jobs of all apps are spread: on the page that
// can be seen.
func (s *Stage) Report() {
	for _, show := range s.shows {
		s.news.print(fmt.Sprintf("    %s: %v", show.Title, show.current()))
	}
}

// Start starts another node.
func (s *Stage) Start() {
	if n, err := s.fleet.add(); err != nil && n != nil {
		s.fleet.fail(n, err)
	}
}

// Nodes returns the names of the nodes that there are, up or not.
func (s *Stage) Nodes() (names []string) {
	for _, n := range s.fleet.list() {
		names = append(names, n.name)
	}
	return names
}

// Restart stops a node in order and starts it again, and returns whether both
// happened before ctx was done. It leaves alone what somebody else has frozen, cut
// off or ended.
func (s *Stage) Restart(ctx context.Context, name string) bool {
	for _, n := range s.fleet.list() {
		if n.name == name && (n.state != up || n.paused || n.cut) {
			return ctx.Err() == nil
		}
	}
	done, err := s.fleet.act(name, "restart")
	if err != nil {
		return ctx.Err() == nil
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// AwaitEven waits until all jobs of all balanced apps are spread evenly over the
// nodes that are up, and all jobs of the others run. It returns whether that was
// before ctx was done.
func (s *Stage) AwaitEven(ctx context.Context) bool {
	for !s.even() {
		if !play.Sleep(ctx, 50*time.Millisecond) {
			return false
		}
	}
	return true
}

func (s *Stage) even() bool {
	working := 0
	for _, n := range s.fleet.list() {
		if n.state == up && !n.paused && !n.cut {
			working++
		}
	}
	for _, show := range s.shows {
		t := show.current()
		if t.Running < numberOfJobs || show.Balance && (t.Apart() > 1 || len(t.Loads) != working) {
			return false
		}
	}
	return true
}

// Pause waits for long enough to look at it, and returns whether ctx is not done.
func (s *Stage) Pause(ctx context.Context) bool { return play.Sleep(ctx, s.demo.config.pause) }

func (s *Stage) freezeTallies() {
	for _, show := range s.shows {
		show.freeze()
	}
}

// rulesWithFreezes allow for what nobody can prevent: that a process that was
// frozen goes on for a moment before it knows.
var rulesWithFreezes = verify.Rules{Silence: 3 * tick, Wake: time.Second}

// judge prints the verdict on each app, and returns whether all is well.
func (s *Stage) judge(interrupted bool, out io.Writer) bool {
	frozen, trouble := s.fleet.was()
	rules := verify.Rules{}
	if frozen {
		rules = rulesWithFreezes
	}
	ok := true
	for i, show := range s.shows {
		if len(s.shows) > 1 {
			t := show.current()
			fmt.Fprintf(out, "%s%s: most − least = %d − %d = %d in the end; %s\n",
				strings.Repeat("\n", min(i, 1)), show.Title, t.Most, t.Least, t.Apart(), play.Count(t.Moves, "move"))
		}
		var files []string
		for _, n := range s.fleet.list() {
			files = append(files, recordOf(show.App, n.name))
		}
		report, err := s.records.Check(rules, files...)
		var violations []string
		for _, v := range report.Violations {
			violations = append(violations, v.String())
		}
		if err := errors.Join(trouble, err); err != nil {
			violations = append(violations, strings.Split(err.Error(), "\n")...)
		} else if idle := numberOfJobs - report.Jobs; idle > 0 && !interrupted {
			violations = append(violations, play.Count(idle, "job")+" never ran")
		}
		ok = play.PrintVerdict(out, report, violations) && ok
	}
	return ok
}

// close frees everything. All nodes have stopped by then.
func (s *Stage) close() {
	if s.fleet != nil {
		s.fleet.stop()
	}
	s.stopServing()
	for _, show := range s.shows {
		show.close()
	}
}

func sortLoads(loads []load) {
	slices.SortFunc(loads, func(a, b load) int { return cmp.Or(cmp.Compare(len(a.Node), len(b.Node)), cmp.Compare(a.Node, b.Node)) })
}
