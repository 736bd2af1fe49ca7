package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/spf13/cobra"
)

// nodeLine is a node as nodes shows it.
type nodeLine struct {
	Instance string            `json:"instance"`
	ID       string            `json:"id"`
	State    string            `json:"state"`
	Leads    int               `json:"leads"`
	Waits    int               `json:"waits"`
	Capacity int               `json:"capacity"`
	Silence  time.Duration     `json:"silence"` // in nanoseconds
	Started  time.Time         `json:"started,omitzero"`
	Version  string            `json:"version"`
	Labels   map[string]string `json:"labels"`
	Metadata map[string]string `json:"metadata"`
}

func nodesOf(v *distributed.View, silence map[string]time.Duration) []nodeLine {
	leads, waits := map[string]int{}, map[string]int{}
	for _, j := range v.Jobs {
		for i, c := range j.Queue {
			if i == 0 && j.Led {
				leads[c.Node]++
			} else {
				waits[c.Node]++
			}
		}
	}
	lines := make([]nodeLine, 0, len(v.Nodes))
	for _, n := range v.Nodes {
		state := "runs"
		if n.Draining {
			state = "drains"
		}
		lines = append(lines, nodeLine{
			Instance: n.Instance, ID: n.ID, State: state, Leads: leads[n.ID], Waits: waits[n.ID], Capacity: n.Capacity,
			Silence: silence[n.ID], Started: n.Started, Version: n.Version, Labels: n.Labels, Metadata: n.Metadata,
		})
	}
	return sorted(lines, func(n nodeLine) string { return n.Instance + "\x00" + n.ID })
}

func nodesCommand(c *conn) *cobra.Command {
	return &cobra.Command{
		Use: "nodes", GroupID: "look", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "List the nodes: what they lead, and when they were heard of",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.look(cmd.Context(), func(o *distributed.Observer, v *distributed.View) error {
				nodes := nodesOf(v, o.Silence())
				if c.output == "json" {
					return printJSON(cmd.OutOrStdout(), nodes)
				}
				lines := [][]string{{"INSTANCE", "ID", "STATE", "LEADS", "WAITS", "HEARD", "UP", "VERSION", "LABELS", "METADATA"}}
				for _, n := range nodes {
					up := ""
					if !n.Started.IsZero() && n.Started.Unix() > 0 {
						up = short(time.Since(n.Started))
					}
					lines = append(lines, []string{n.Instance, n.ID, n.State, strconv.Itoa(n.Leads), strconv.Itoa(n.Waits),
						short(n.Silence) + " ago", dash(up), dash(n.Version), dash(pairs(n.Labels)), dash(pairs(n.Metadata))})
				}
				return table(cmd.OutOrStdout(), lines)
			})
		},
	}
}

// jobLine is a job as jobs shows it.
type jobLine struct {
	Job     string   `json:"job"`
	State   string   `json:"state"`
	Node    string   `json:"node"` // instance that leads it
	Token   int64    `json:"token"`
	Waiting []string `json:"waiting"` // instances, in the order in which they lead
	Why     string   `json:"why"`     // of a state that is not as usual
}

// recall adds what has been ordered, or is on record.
func (l *jobLine) recall(v *distributed.View) {
	for _, r := range v.Records {
		if r.Job == l.Job && r.Failures > 0 {
			l.Why = fmt.Sprintf("failed %d times, at last: %s", r.Failures, r.Error)
			if l.State == "led" && time.Now().Before(r.Next()) {
				l.State = "failed"
			}
		}
	}
	for _, o := range v.Orders {
		switch {
		case o.Kind == distributed.OrderPause && (o.Job == l.Job || o.Job == ""):
			l.Why = o.String()
			if l.State != "led" && l.State != "done" {
				l.State = "paused"
			}
		case o.Job == l.Job && l.Why == "" && o.Kind != distributed.OrderResign:
			l.Why = o.String()
		}
	}
}

func jobsOf(v *distributed.View) []jobLine {
	instance := map[string]string{}
	for _, n := range v.Nodes {
		instance[n.ID] = n.Instance
	}
	seen := map[string]bool{}
	lines := make([]jobLine, 0, len(v.Jobs))
	for _, j := range v.Jobs {
		line := jobLine{Job: j.Name, State: "starts", Waiting: []string{}}
		queue := j.Queue
		if j.Led {
			line.State, line.Node, line.Token = "led", instance[queue[0].Node], queue[0].Token
			queue = queue[1:]
		}
		for _, c := range queue {
			line.Waiting = append(line.Waiting, instance[c.Node])
		}
		seen[j.Name] = true
		lines = append(lines, line)
	}
	for _, r := range v.Records {
		if r.Done && !seen[r.Job] {
			seen[r.Job] = true
			lines = append(lines, jobLine{Job: r.Job, State: "done", Waiting: []string{}})
		}
	}
	for _, n := range v.Nodes {
		for _, j := range slices.Concat(n.Jobs, n.Barred) {
			if !seen[j.Name] {
				seen[j.Name] = true
				lines = append(lines, jobLine{Job: j.Name, State: "nowhere", Waiting: []string{}})
			}
		}
	}
	for _, o := range v.Orders {
		if o.Kind == distributed.OrderPause && o.Job != "" && !seen[o.Job] {
			lines = append(lines, jobLine{Job: o.Job, State: "nowhere", Waiting: []string{}})
		}
	}
	drains := drainsOf(v)
	for i := range lines {
		if lines[i].State == "nowhere" {
			lines[i].Why = strings.Join(drains[lines[i].Job], "; ")
		}
		lines[i].recall(v)
	}
	return sorted(lines, func(l jobLine) string { return l.Job })
}

// drainsOf returns the drains that keep nodes from campaigning for jobs, by job.
func drainsOf(v *distributed.View) map[string][]string {
	drains := map[string][]string{}
	for _, n := range v.Nodes {
		for _, o := range v.Orders {
			if o.Kind != distributed.OrderDrain || o.Instance != n.Instance {
				continue
			}
			for _, j := range n.Barred {
				drains[j.Name] = append(drains[j.Name], o.String())
			}
		}
	}
	return drains
}

func jobsCommand(c *conn) *cobra.Command {
	cmd := &cobra.Command{
		Use: "jobs", GroupID: "look", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "List the jobs: who leads them, and who waits for them",
	}
	node := cmd.Flags().String("node", "", "only those that this instance leads")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.look(cmd.Context(), func(_ *distributed.Observer, v *distributed.View) error {
			jobs := jobsOf(v)
			if *node != "" {
				if !slices.ContainsFunc(v.Nodes, func(n distributed.NodeView) bool { return n.Instance == *node }) {
					return no{fmt.Errorf("there is no node %q", *node)}
				}
				jobs = filter(jobs, func(j jobLine) bool { return j.Node == *node })
			}
			if c.output == "json" {
				return printJSON(cmd.OutOrStdout(), jobs)
			}
			lines := [][]string{{"JOB", "STATE", "NODE", "TOKEN", "WAITING", "WHY"}}
			for _, j := range jobs {
				token := ""
				if j.Token > 0 {
					token = strconv.FormatInt(j.Token, 10)
				}
				lines = append(lines, []string{j.Job, j.State, dash(j.Node), dash(token), dash(strings.Join(j.Waiting, ",")), dash(j.Why)})
			}
			return table(cmd.OutOrStdout(), lines)
		})
	}
	return cmd
}

func explainCommand(c *conn) *cobra.Command {
	return &cobra.Command{
		Use: "explain JOB", GroupID: "look", Args: cobra.ExactArgs(1), ValidArgsFunction: completion(c, jobNames),
		Short: "Say why a job runs where it runs",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.look(cmd.Context(), func(_ *distributed.Observer, v *distributed.View) error {
				e, ok := v.Explain(args[0])
				if !ok {
					return no{fmt.Errorf("no node has the job %q", args[0])}
				}
				if c.output == "json" {
					return printJSON(cmd.OutOrStdout(), e)
				}
				fmt.Fprintln(cmd.OutOrStdout(), plain(e.String()))
				return nil
			})
		},
	}
}

func planCommand(c *conn) *cobra.Command {
	return &cobra.Command{
		Use: "plan", GroupID: "look", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "Say what balancing is about to move, and what each node carries then",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.look(cmd.Context(), func(_ *distributed.Observer, v *distributed.View) error {
				if len(v.Nodes) > 0 && !balances(v) {
					return no{errors.New("no node balances: each job runs where it was first claimed")}
				}
				plan, out := v.Plan(), cmd.OutOrStdout()
				if c.output == "json" {
					return printJSON(out, plan)
				}
				loads := [][]string{{"INSTANCE", "JOBS", "WEIGHT", "PLANNED", "WEIGHT THEN"}}
				for _, l := range plan.Loads {
					loads = append(loads, []string{l.Instance, strconv.Itoa(l.Jobs), strconv.FormatInt(l.Weight, 10), strconv.Itoa(l.Planned), strconv.FormatInt(l.Expected, 10)})
				}
				if err := table(out, loads); err != nil {
					return err
				}
				fmt.Fprintf(out, "\n%d to move, %d that no node can take\n", len(plan.Moves), len(plan.Homeless))
				for _, job := range plan.Homeless {
					fmt.Fprintf(out, "no node can take %s\n", plain(job))
				}
				if len(plan.Moves) == 0 {
					return nil
				}
				moves := [][]string{{"JOB", "FROM", "TO", "READY", "WHY"}}
				for _, m := range plan.Moves {
					moves = append(moves, []string{m.Job, m.From, m.To, strconv.FormatBool(m.Ready), m.Reason})
				}
				return table(out, moves)
			})
		},
	}
}

// balances reports whether any node takes part in balancing.
func balances(v *distributed.View) bool {
	return slices.ContainsFunc(v.Nodes, func(n distributed.NodeView) bool { return n.Jobs != nil })
}
