//go:build unix

// Rolling-restart restarts three nodes in turn, for ever, while their 29 jobs go
// on, and shows it in the browser. Run it with -h for more.
package main

import (
	"context"
	"flag"

	"github.com/b2552be4/distributed/examples/internal/demo"
)

func main() { demo.Main(rollingRestart()) }

func rollingRestart() *demo.Demo {
	var rounds uint
	return &demo.Demo{
		Name:  "rolling-restart",
		Title: "Rolling restart",
		Help: `Runs 29 jobs on three nodes, each a process of its own, and restarts the nodes in
turn, as a deployment does. The page that it prints the address of shows which
node runs what, and has buttons to restart, kill, freeze and cut off each node, and
to add more. In the end it checks, from what the nodes recorded, that no job ever
ran twice at once. It exits with 0 if so, with 1 if not, and with 2 if it was
called wrongly.
`,
		Apps: []demo.App{{Name: "shop", Title: "Jobs of the shop", Balance: true}},
		Flags: func(fs *flag.FlagSet) {
			fs.UintVar(&rounds, "rounds", 0, "end after this `number` of restarts of each node (default: at Ctrl-C)")
		},
		Play: func(ctx context.Context, s *demo.Stage) { play(ctx, s, rounds) },
	}
}

// play restarts each node in turn, and each only when the jobs are even again.
func play(ctx context.Context, s *demo.Stage, rounds uint) {
	for range 3 {
		s.Start()
	}
	if !s.AwaitEven(ctx) {
		return
	}
	s.Say("All jobs run.")
	s.Report()
	for round := uint(0); rounds == 0 || round < rounds; round++ {
		for _, node := range s.Nodes() {
			if !s.Pause(ctx) || !s.Restart(ctx, node) || !s.AwaitEven(ctx) {
				return
			}
			s.Say("The jobs are even again.")
			s.Report()
		}
	}
	s.Pause(ctx)
}
