package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// operate calls give with an operator of the app.
func (c *conn) operate(ctx context.Context, give func(ctx context.Context, o *distributed.Operator) error) error {
	provider, err := c.provider()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	o, err := distributed.NewOperator(ctx, c.app, provider, distributed.WithLogger(quiet()))
	if err != nil {
		return err
	}
	err = errors.Join(give(ctx, o), o.Close())
	if errors.Is(err, distributed.ErrUnknown) || errors.Is(err, distributed.ErrOrdered) || errors.Is(err, distributed.ErrNotOrdered) {
		return no{err}
	}
	return err
}

// verb is one that gives an order, or takes one back.
type verb struct {
	use, short string
	stops      string // asked before, as it stops work: a format for the arguments; "" if it does not
	done       string // said afterwards, likewise
	noted      bool   // it has --why and --by
	all        bool   // the only argument may be left out, with --all
	complete   func(c *conn, args []string) ([]string, error)
	order      func(ctx context.Context, o *distributed.Operator, args []string, n distributed.Note) error
}

var verbs = []verb{
	{use: "pause JOB", short: "Let no node run a job, or with --all any, until resume", noted: true, all: true,
		stops: "Stop %s, wherever it runs", done: "%s is paused", complete: jobNames,
		order: func(ctx context.Context, o *distributed.Operator, args []string, n distributed.Note) error {
			if len(args) == 0 {
				return o.PauseAll(ctx, n)
			}
			return o.Pause(ctx, args[0], n)
		}},
	{use: "resume JOB", short: "Undo pause", all: true, done: "%s may run", complete: jobNames,
		order: func(ctx context.Context, o *distributed.Operator, args []string, _ distributed.Note) error {
			if len(args) == 0 {
				return o.ResumeAll(ctx)
			}
			return o.Resume(ctx, args[0])
		}},
	{use: "move JOB INSTANCE", short: "Run a job on an instance, until that goes", noted: true,
		stops: "Move %s to %s", done: "%s is to run on %s", complete: jobThenInstance,
		order: func(ctx context.Context, o *distributed.Operator, args []string, n distributed.Note) error {
			return o.Move(ctx, args[0], args[1], n)
		}},
	{use: "pin JOB INSTANCE", short: "Run a job on an instance whenever that can take it, until unpin", noted: true,
		stops: "Move %s to %s, and keep it there", done: "%s is pinned to %s", complete: jobThenInstance,
		order: func(ctx context.Context, o *distributed.Operator, args []string, n distributed.Note) error {
			return o.Pin(ctx, args[0], args[1], n)
		}},
	{use: "unpin JOB", short: "Undo pin and move", done: "%s is not pinned any more", complete: jobNames,
		order: func(ctx context.Context, o *distributed.Operator, args []string, _ distributed.Note) error {
			return o.Unpin(ctx, args[0])
		}},
	{use: "drain INSTANCE", short: "Let an instance take no jobs, and hand over those it has, until undrain", noted: true,
		stops: "Take all jobs from %s", done: "%s is drained", complete: instances,
		order: func(ctx context.Context, o *distributed.Operator, args []string, n distributed.Note) error {
			return o.Drain(ctx, args[0], n)
		}},
	{use: "undrain INSTANCE", short: "Undo drain", done: "%s may take jobs", complete: instances,
		order: func(ctx context.Context, o *distributed.Operator, args []string, _ distributed.Note) error {
			return o.Undrain(ctx, args[0])
		}},
	{use: "resign JOB", short: "Let the node that leads a job let go of it, once", noted: true,
		stops: "Stop %s where it runs now", done: "%s is let go", complete: jobNames,
		order: func(ctx context.Context, o *distributed.Operator, args []string, n distributed.Note) error {
			return o.Resign(ctx, args[0], n)
		}},
	{use: "forget JOB", short: "Run a job again that is done, or has failed and pauses",
		stops: "Let %s run again, though it is done or pauses after a failure", done: "%s is forgotten", complete: jobNames,
		order: func(ctx context.Context, o *distributed.Operator, args []string, _ distributed.Note) error {
			return o.Forget(ctx, args[0])
		}},
}

func (v verb) command(c *conn) *cobra.Command {
	cmd := &cobra.Command{Use: v.use, Short: v.short, GroupID: "order", Args: cobra.ExactArgs(strings.Count(v.use, " "))}
	cmd.ValidArgsFunction = completion(c, v.complete)
	var note distributed.Note
	var all, yes bool
	if v.noted {
		cmd.Flags().StringVar(&note.Why, "why", "", "why, for others to see")
		cmd.Flags().StringVar(&note.By, "by", "", "who orders it (default: the user of this machine)")
	}
	asks := "do not ask first"
	if v.stops == "" {
		asks = "for scripts that say it to all verbs: this one asks nothing"
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, asks)
	if v.all {
		cmd.Flags().BoolVar(&all, "all", false, "all jobs of the app")
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return errors.New("--all takes no job")
			case all:
				return nil
			case len(args) == 0:
				return errors.New("say which JOB, or --all")
			}
			return cobra.ExactArgs(1)(cmd, args)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		note.By = cmp.Or(note.By, whoami())
		var names []any
		for _, a := range args {
			names = append(names, plain(a))
		}
		if all {
			names = []any{"all of " + plain(c.app)}
		}
		if err := c.validate(); err != nil {
			return err
		}
		if v.stops != "" && !yes {
			if err := c.ask(fmt.Sprintf(v.stops, names...)); err != nil {
				return err
			}
		}
		err := c.operate(cmd.Context(), func(ctx context.Context, o *distributed.Operator) error {
			return v.order(ctx, o, args, note)
		})
		if err != nil {
			return err
		}
		done := fmt.Sprintf(v.done, names...)
		if c.output == "json" {
			return printJSON(cmd.OutOrStdout(), v.given(args, done))
		}
		fmt.Fprintln(cmd.OutOrStdout(), done)
		return nil
	}
	return cmd
}

// given is what is said in JSON after an order.
type given struct {
	Order string `json:"order"`        // the verb
	Name  string `json:"name"`         // of the job or instance; empty for all jobs
	To    string `json:"to,omitempty"` // the instance on which the job is to run
	Done  string `json:"done"`         // in words
}

func (v verb) given(args []string, done string) given {
	g := given{Done: done}
	g.Order, _, _ = strings.Cut(v.use, " ")
	for i, to := range []*string{&g.Name, &g.To} {
		if i < len(args) {
			*to = args[i]
		}
	}
	return g
}

// ask has somebody agree to what stops work. Where there is nobody to ask, it refuses.
func (c *conn) ask(what string) error {
	if in, isFile := c.in.(*os.File); !isFile || !term.IsTerminal(int(in.Fd())) {
		return errors.New("it stops work: say --yes where nobody can be asked")
	}
	fmt.Fprintf(c.errs, "%s? [y/N] ", what)
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return no{errors.New("nothing was ordered")}
	}
	return nil
}

// whoami is who orders, if he does not say.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return plain(name)
}

func ordersCommand(c *conn) *cobra.Command {
	return &cobra.Command{
		Use: "orders", GroupID: "look", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "List what has been ordered: by whom, and why",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.look(cmd.Context(), func(_ *distributed.Observer, v *distributed.View) error {
				if c.output == "json" {
					return printJSON(cmd.OutOrStdout(), v.Orders)
				}
				lines := [][]string{{"ORDER", "JOB", "INSTANCE", "BY", "AGE", "WHY"}}
				for _, o := range v.Orders {
					job := dash(o.Job)
					if o.Kind == distributed.OrderPause && o.Job == "" {
						job = "(all)"
					}
					lines = append(lines, []string{string(o.Kind), job, dash(o.Instance), o.By, short(max(0, time.Since(o.At))), dash(o.Why)})
				}
				return table(cmd.OutOrStdout(), lines)
			})
		},
	}
}

func jobNames(c *conn, args []string) ([]string, error) {
	var names []string
	if len(args) > 0 {
		return nil, nil
	}
	err := c.look(context.Background(), func(_ *distributed.Observer, v *distributed.View) error {
		for _, j := range jobsOf(v) {
			names = append(names, j.Job)
		}
		return nil
	})
	return names, err
}

func instances(c *conn, args []string) ([]string, error) {
	var names []string
	if len(args) > 0 {
		return nil, nil
	}
	err := c.look(context.Background(), func(o *distributed.Observer, v *distributed.View) error {
		for _, n := range nodesOf(v, o.Silence()) {
			names = append(names, n.Instance)
		}
		return nil
	})
	return names, err
}

func jobThenInstance(c *conn, args []string) ([]string, error) {
	if len(args) == 0 {
		return jobNames(c, args)
	}
	return instances(c, args[1:])
}

// completion completes names by asking the store.
func completion(c *conn, names func(c *conn, args []string) ([]string, error)) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		found, err := names(c, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
