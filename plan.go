package distributed

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Plan says which jobs [WithLoadBalancing] is about to move, and where.
type Plan struct {
	Loads    []Load   `json:"loads"`    // of the nodes that take part, by instance
	Moves    []Move   `json:"moves"`    // by job
	Homeless []string `json:"homeless"` // jobs that no node can take
}

// Load is the load of a node: its jobs, and the sum of their weights.
type Load struct {
	Node     string `json:"node"` // ID
	Instance string `json:"instance"`
	Jobs     int    `json:"jobs"`     // now
	Weight   int64  `json:"weight"`   // likewise
	Planned  int    `json:"planned"`  // jobs after all moves
	Expected int64  `json:"expected"` // weight then
	Draining bool   `json:"draining"`
}

// Move is a job that runs on one node and should run on another.
type Move struct {
	Job    string `json:"job"`
	From   string `json:"from"` // instance
	To     string `json:"to"`   // likewise
	Reason string `json:"reason"`
	Ready  bool   `json:"ready"` // To waits for it, next in the queue
}

// Explanation says why a job runs where it runs.
type Explanation struct {
	Job     string `json:"job"`
	Runs    string `json:"runs"`    // instance that leads it; empty if none does
	Belongs string `json:"belongs"` // instance that should; empty if no node can take it
	Standby string `json:"standby"` // instance that takes over when that fails; empty if there is none
	Reason  string `json:"reason"`
}

// String returns the explanation as a sentence.
func (e Explanation) String() string {
	where := "runs nowhere"
	if e.Runs != "" {
		where = "runs on " + e.Runs
	}
	if e.Belongs != "" && e.Belongs != e.Runs {
		where += ", should run on " + e.Belongs
	}
	if e.Standby != "" && e.Standby != e.Belongs {
		where += ", with " + e.Standby + " as standby"
	}
	return fmt.Sprintf("%s %s: %s", e.Job, where, e.Reason)
}

// Plan returns what load balancing does with the app as v shows it. Every node computes
// the same for itself. It does not block and makes no call to the store.
func (v *View) Plan() Plan {
	p := place(v)
	plan := Plan{Loads: []Load{}, Moves: []Move{}, Homeless: []string{}}
	for j := range p.jobs {
		job := &p.jobs[j]
		if !p.moves(j) {
			continue
		}
		plan.Moves = append(plan.Moves, Move{
			Job: job.Name, From: p.instance(job.runner), To: p.instance(job.target),
			Reason: p.why(j), Ready: p.handsOver(j, job.runner) && p.nodes[job.target].Warming[job.Name] != Preparing,
		})
	}
	loads := make([]Load, len(p.nodes))
	for j := range p.jobs {
		job := &p.jobs[j]
		if job.target == none && job.runner == none && !job.done && (job.order == nil || job.order.Kind != OrderPause) {
			plan.Homeless = append(plan.Homeless, job.Name)
		}
		if job.runner != none {
			loads[job.runner].Jobs++
			loads[job.runner].Weight += job.weight
		}
		if x := cmp.Or(job.target+1, job.runner+1) - 1; x != none {
			loads[x].Planned++
			loads[x].Expected += job.weight
		}
	}
	for x, n := range p.nodes {
		if n.Jobs == nil {
			continue
		}
		loads[x].Node, loads[x].Instance, loads[x].Draining = n.ID, n.Instance, n.Draining
		plan.Loads = append(plan.Loads, loads[x])
	}
	slices.SortStableFunc(plan.Loads, func(a, b Load) int { return strings.Compare(a.Instance, b.Instance) })
	return plan
}

// Explain says why a job runs where it runs. It returns false for a job that no node
// has.
func (v *View) Explain(job string) (Explanation, bool) {
	if !v.has(job, "") {
		return Explanation{}, false
	}
	p := place(v)
	j, ok := p.job(job)
	if !ok || p.jobs[j].runner == none && !slices.ContainsFunc(v.Nodes, func(n NodeView) bool { return inList(n.Jobs, job) }) {
		return v.explainUnplaced(job), true
	}
	e := Explanation{Job: job, Reason: p.why(j)}
	e.Runs, e.Belongs, e.Standby = p.instance(p.jobs[j].runner), p.instance(p.jobs[j].target), p.instance(p.jobs[j].standby)
	return e, true
}

// explainUnplaced explains a job that no node with load balancing has or runs.
func (v *View) explainUnplaced(job string) Explanation {
	e := Explanation{Job: job}
	i, stands := v.job(job)
	if stands {
		queue := v.Jobs[i].Queue
		e.Belongs = v.instance(queue[0].Node)
		if v.Jobs[i].Led {
			e.Runs = e.Belongs
		}
		if len(queue) > 1 {
			e.Standby = v.instance(queue[1].Node)
		}
	}
	e.Reason = v.whyUnplaced(job, stands)
	return e
}

// whyUnplaced says why such a job runs where it runs; stands says whether any node stands
// for it.
func (v *View) whyUnplaced(job string, stands bool) string {
	for _, o := range v.Orders {
		if o.Kind == OrderPause && (o.Job == job || o.Job == "") {
			return o.String()
		}
	}
	r := slices.IndexFunc(v.Records, func(r JobRecord) bool { return r.Job == job })
	var drains []string
	for _, n := range v.Nodes {
		if o, drained := drainedBy(v.Orders, n.Instance); drained && inList(n.Barred, job) {
			drains = append(drains, o.String())
		}
	}
	why := "its nodes do not balance, and the first to claim it leads"
	switch {
	case r >= 0 && v.Records[r].Done:
		return "it is done, for good"
	case stands:
	case drains != nil:
		why = strings.Join(drains, "; ")
	default:
		why = "no node campaigns for it"
	}
	if r >= 0 {
		why += fmt.Sprintf("; it failed %d times, at last: %s", v.Records[r].Failures, v.Records[r].Error)
	}
	return why
}

// job returns where a job is in v.Jobs.
func (v *View) job(name string) (i int, ok bool) {
	return slices.BinarySearchFunc(v.Jobs, name, func(j JobView, name string) int { return strings.Compare(j.Name, name) })
}

// instance returns that of a node, "" for one that is not in the view.
func (v *View) instance(node string) string {
	x, ok := slices.BinarySearchFunc(v.Nodes, node, func(n NodeView, id string) int { return strings.Compare(n.ID, id) })
	if !ok {
		return ""
	}
	return v.Nodes[x].Instance
}

func (p *placement) instance(x int) string {
	if x == none {
		return ""
	}
	return p.nodes[x].Instance
}

// why puts the reason for a job's target into words.
func (p *placement) why(j int) string {
	job := &p.jobs[j]
	switch {
	case job.order != nil:
		return job.order.String()
	case job.unmet != nil:
		return p.reasonOf(job) + "; " + job.unmet.String() + ", but that cannot take it"
	}
	return p.reasonOf(job)
}

func (p *placement) reasonOf(job *placedJob) string {
	switch job.reason {
	case stays:
		return "it runs there already, and no other node suits it better"
	case newcomer:
		return "it ran nowhere, and " + p.instance(job.target) + " has the least load of those that suit it best"
	case leaves:
		if p.nodes[job.runner].Draining {
			return p.instance(job.runner) + " drains"
		}
		return p.instance(job.runner) + " does not have it any more"
	case improves:
		return p.instance(job.target) + " suits its labels better"
	case evens:
		return p.instance(job.runner) + " has more than its share"
	case strands:
		return "no node can take it from " + p.instance(job.runner)
	}
	if job.done {
		return "it is done, for good"
	}
	return "all nodes that have it drain, or run as many jobs as they can"
}

// PartialJob is a job that some nodes have, and others do not.
type PartialJob struct {
	Job   string   `json:"job"`
	Has   []string `json:"has"`   // instances that can run it, sorted
	Lacks []string `json:"lacks"` // instances that cannot, sorted; never empty
}

// Partial returns the jobs that not all nodes have, sorted by name: as after a mistake
// in a configuration, or while one version replaces another. It is known of nodes with
// [WithLoadBalancing] only; the others tell of no jobs but those that orders bar.
func (v *View) Partial() []PartialJob {
	var lists [][]JobInfo // each once; most often there is one
	var holders [][]string
	for _, n := range v.Nodes {
		if n.Jobs == nil {
			continue
		}
		i := slices.IndexFunc(lists, func(list []JobInfo) bool { return sameList(list, n.Jobs) })
		if i < 0 {
			i, lists, holders = len(lists), append(lists, n.Jobs), append(holders, nil)
		}
		holders[i] = append(holders[i], n.Instance)
	}
	if len(lists) < 2 {
		return []PartialJob{}
	}
	has := map[string][]bool{} // by job and list
	for i, list := range lists {
		for _, job := range list {
			if has[job.Name] == nil {
				has[job.Name] = make([]bool, len(lists))
			}
			has[job.Name][i] = true
		}
	}
	partial := []PartialJob{}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		job := PartialJob{Job: name}
		for i, has := range has[name] {
			if has {
				job.Has = append(job.Has, holders[i]...)
			} else {
				job.Lacks = append(job.Lacks, holders[i]...)
			}
		}
		if job.Lacks != nil {
			slices.Sort(job.Has)
			slices.Sort(job.Lacks)
			partial = append(partial, job)
		}
	}
	return partial
}
