package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Run is one execution of a job's Work. Times are on the clock that all runs of
// a set have in common; only their differences mean something. In JSON they are in
// nanoseconds.
type Run struct {
	Job     string          `json:"job"`
	Node    string          `json:"node"`
	Process string          `json:"process"`
	Token   int64           `json:"token"` // the fencing token of its leadership
	Start   time.Duration   `json:"start"`
	End     time.Duration   `json:"end"`   // the last sign of life if Ended is false
	Ended   bool            `json:"ended"` // Work is known to have returned
	Told    bool            `json:"told"`  // Work was told to stop, at Stop
	Stop    time.Duration   `json:"stop"`  // 0 unless Told
	Ticks   []time.Duration `json:"ticks"` // in between, rising; with Stop
}

// Runs puts the records together to runs, in the order in which they began.
// records may be in any order, and are not changed; all that are to be compared
// must come in one call. It returns an error for records that contradict each
// other: a run without a start, or with two, or with something after its end, or
// with two jobs, nodes or tokens.
func Runs(records []Record) ([]Run, error) {
	clock := commonClock(records)
	type key struct {
		process string
		run     int64
	}
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b Record) int { return cmp.Or(cmp.Compare(a.Mono, b.Mono), cmp.Compare(a.Wall, b.Wall)) })
	open := map[key]*Run{}
	var order []*Run
	for _, rec := range sorted {
		k, at := key{rec.Process, rec.Run}, clock(rec)
		run := open[k]
		if run == nil {
			if rec.Event != Start {
				return nil, fmt.Errorf("verify: run %d of process %s, job %q: %s without a start", rec.Run, rec.Process, rec.Job, rec.Event)
			}
			run = &Run{Job: rec.Job, Node: rec.Node, Process: rec.Process, Token: rec.Token, Start: at, End: at}
			open[k] = run
			order = append(order, run)
			continue
		}
		if err := run.add(rec, max(at, run.End)); err != nil { // a wall clock may step back
			return nil, fmt.Errorf("verify: run %d of process %s, job %q: %w", rec.Run, rec.Process, rec.Job, err)
		}
	}
	runs := make([]Run, len(order))
	for i, run := range order {
		runs[i] = *run
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return cmp.Compare(a.Start, b.Start) })
	return runs, nil
}

func (r *Run) add(rec Record, at time.Duration) error {
	switch {
	case rec.Job != r.Job || rec.Token != r.Token || rec.Node != r.Node:
		return fmt.Errorf("%s of job %q with token %d on node %s, which began as job %q with token %d on node %s",
			rec.Event, rec.Job, rec.Token, rec.Node, r.Job, r.Token, r.Node)
	case rec.Event == Start:
		return errors.New("a second start")
	case r.Ended:
		return fmt.Errorf("%s after its end", rec.Event)
	}
	r.End = at
	switch rec.Event {
	case End:
		r.Ended = true
		return nil
	case Stop:
		r.Told, r.Stop = true, at
	}
	r.Ticks = append(r.Ticks, at)
	return nil
}

// commonClock returns what tells the time of a record.
func commonClock(records []Record) func(Record) time.Duration {
	for _, r := range records {
		if r.Boot == "" || r.Boot != records[0].Boot {
			return func(r Record) time.Duration { return time.Duration(r.Wall) }
		}
	}
	return func(r Record) time.Duration { return time.Duration(r.Mono) }
}
