//go:build unix

// Load-balancing shows side by side how jobs spread over nodes that come one after
// the other: by terms that end at random, and by load balancing. Run it with -h
// for more.
package main

import (
	"context"
	"time"

	"github.com/b2552be4/distributed/examples/internal/demo"
	"github.com/b2552be4/distributed/examples/internal/play"
)

const (
	nodes  = 3
	term   = 7 * time.Second  // of a job of the app without load balancing, on average
	report = 10 * time.Second // how often the terminal says how the jobs are spread
)

func main() { demo.Main(loadBalancing()) }

func loadBalancing() *demo.Demo {
	return &demo.Demo{
		Name:  "load-balancing",
		Title: "Load balancing",
		Help: `Runs two apps of 29 jobs each on the same three nodes, which are processes of
their own and start one after the other. The jobs of one app have terms that end
at random (WithVoluntaryTimeout), so that others get their turn; those of the
other are spread by WithLoadBalancing. The page that it prints the address of
shows both side by side, and has buttons to restart, kill, freeze and cut off each
node, and to add more. In the end it says how evenly the jobs were spread and how
often they moved, and checks, from what the nodes recorded, that no job ever ran
twice at once. It exits with 0 if so, with 1 if not, and with 2 if it was called
wrongly.
`,
		Apps: []demo.App{
			{Name: "timeouts", Title: "Voluntary timeouts", Term: term},
			{Name: "balanced", Title: "Load balancing", Balance: true},
		},
		Play: playOneByOne,
	}
}

// playOneByOne starts one node after the other, each when the jobs have spread
// over those before, and then only looks on.
func playOneByOne(ctx context.Context, s *demo.Stage) {
	for i := range nodes {
		s.Start()
		if !s.AwaitEven(ctx) || !s.Pause(ctx) {
			return
		}
		if i > 0 {
			s.Say("Load balancing has evened its jobs out.")
		}
		s.Report()
	}
	for play.Sleep(ctx, report) {
		s.Report()
	}
}
