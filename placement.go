package distributed

import (
	"math"
	"slices"
	"strings"
)

// placement says where the jobs of a view should run. Every node computes it
// from its own view, and acts only on its own part: views that differ for a
// moment cost a move, and exclusion does not depend on them.
//
// A job stays where it runs unless it must leave (its node drains, or another
// suits it better), or the loads of two nodes differ by more than the heaviest
// job. Among equal jobs that makes loads differ by one at most, with as few
// moves as there can be: each takes a job from a node that has too many, or
// brings one to a node that has too few, and does both while there are both.
//
// The standby of a job is where it would go if its node left: so the load of a
// node that fails falls evenly on the others, and nothing has to move after it.
//
// While two versions are live, no job moves to a node of the older one if one of
// the newer can take it: it would only have to move again.
type placement struct {
	nodes []placedNode
	jobs  []placedJob // sorted by name
	heavy int64       // the weight of the heaviest job
	even  bool        // all jobs have the same weight
	mixed bool        // two versions are live
	self  int         // the node whose view it is, or none
	warm  int         // jobs that run, and are not ready yet
}

type placedNode struct {
	*NodeView
	takes  bool   // takes part, and does not drain
	newest bool   // has the newest version of those that take jobs
	has    []bool // by job; shared by nodes with the same list
}

type placedJob struct {
	JobInfo
	queue   []int       // the nodes of its candidates, none for one that is not in the view
	suits   suitability // of the node that suits it best
	runner  int         // the node that leads it and takes part in placement; else none
	target  int         // where it should run; none if it can run nowhere
	standby int         // who should wait for it; none if nobody can
	done    bool        // nobody is to run it any more
	reason  reason
}

// none stands for the index of no node.
const none = -1

// suitability of a node for a job: the lower the better.
type suitability int

const (
	preferred suitability = iota
	neutral
	avoided
	unfit // does not have the job, or takes none
)

// reason says why a job has its target.
type reason int

const (
	stays    reason = iota // it runs there, and nothing speaks against it
	newcomer               // it ran nowhere, or not with a node that takes part
	leaves                 // its node does not take it any more
	improves               // another node suits it better
	evens                  // its node had too much
	strands                // it should leave its node, but no other can take it
	homeless               // no node can take it
)

// place computes the placement of v.
func place(v *View) *placement {
	p := &placement{self: none}
	p.readNodes(v)
	p.readJobs(v)
	p.assign()
	p.assignStandbys()
	return p
}

// readNodes finds out which version is the newest: that whose first node was
// started last. A node of the old version that restarts does not change it.
func (p *placement) readNodes(v *View) {
	p.nodes = make([]placedNode, len(v.Nodes))
	first := map[string]int64{}
	for x := range v.Nodes {
		n := &v.Nodes[x]
		if n.ID == v.Self {
			p.self = x
		}
		p.nodes[x] = placedNode{NodeView: n, takes: n.Jobs != nil && !n.Draining}
		if !p.nodes[x].takes {
			continue
		}
		started, ok := first[n.Version]
		if at := n.Started.UnixNano(); !ok || at < started {
			first[n.Version] = at
		}
	}
	newest, since := "", int64(math.MinInt64)
	for version, at := range first {
		if at > since || at == since && version > newest {
			newest, since = version, at
		}
	}
	p.mixed = len(first) > 1
	for x := range p.nodes {
		p.nodes[x].newest = p.nodes[x].takes && p.nodes[x].Version == newest
	}
}

// readJobs takes in the jobs that nodes have or stand for. Where nodes differ
// about a job, the one that was started last is right.
func (p *placement) readJobs(v *View) {
	var lists []*placedNode // a node of each list of jobs
	for x := range p.nodes {
		n := &p.nodes[x]
		same := slices.IndexFunc(lists, func(o *placedNode) bool { return sameList(o.Jobs, n.Jobs) })
		if same < 0 {
			lists = append(lists, n)
		} else if n.Started.After(lists[same].Started) {
			lists[same] = n
		}
	}
	slices.SortStableFunc(lists, func(a, b *placedNode) int { return a.Started.Compare(b.Started) })

	names := make([]string, len(v.Jobs))
	for i := range v.Jobs {
		names[i] = v.Jobs[i].Name
	}
	for _, n := range lists {
		names = mergeNames(names, n.Jobs)
	}
	p.jobs = make([]placedJob, len(names))
	for j, name := range names {
		p.jobs[j] = placedJob{JobInfo: JobInfo{Name: name}, runner: none, target: none, standby: none}
	}
	for _, n := range lists {
		n.has = p.readList(n.Jobs)
	}
	for x := range p.nodes {
		n := &p.nodes[x]
		n.has = lists[slices.IndexFunc(lists, func(o *placedNode) bool { return sameList(o.Jobs, n.Jobs) })].has
	}
	p.readQueues(v)
	for _, r := range v.Records {
		if j, ok := p.job(r.Job); ok {
			p.jobs[j].done = r.Done
		}
	}
	p.even = true
	for j := range p.jobs {
		job := &p.jobs[j]
		job.Weight = max(job.Weight, 1)
		p.even = p.even && (p.heavy == 0 || int64(job.Weight) == p.heavy)
		p.heavy = max(p.heavy, int64(job.Weight))
		job.suits = p.bestFor(j, none)
	}
}

func (p *placement) readList(list []JobInfo) (has []bool) {
	has = make([]bool, len(p.jobs))
	j := 0
	for _, info := range list {
		for p.jobs[j].Name != info.Name {
			j++
		}
		p.jobs[j].JobInfo, has[j] = info, true
	}
	return has
}

func (p *placement) readQueues(v *View) {
	index := make(map[string]int, len(v.Nodes))
	for x := range v.Nodes {
		index[v.Nodes[x].ID] = x
	}
	var all []int // one array for all queues
	j := 0
	for i := range v.Jobs {
		for p.jobs[j].Name != v.Jobs[i].Name {
			j++
		}
		start := len(all)
		for _, c := range v.Jobs[i].Queue {
			x, ok := index[c.Node]
			if !ok {
				x = none
			}
			all = append(all, x)
		}
		job := &p.jobs[j]
		job.queue = all[start:len(all):len(all)]
		if first := job.queue[0]; first != none && p.nodes[first].Jobs != nil {
			job.runner = first
			if _, warming := p.nodes[first].Warming[job.Name]; warming {
				p.warm++
			}
		}
	}
}

// mergeNames returns the sorted union.
func mergeNames(names []string, list []JobInfo) []string {
	merged := make([]string, 0, max(len(names), len(list)))
	for len(names) > 0 && len(list) > 0 {
		switch c := strings.Compare(names[0], list[0].Name); {
		case c < 0:
			merged, names = append(merged, names[0]), names[1:]
		case c > 0:
			merged, list = append(merged, list[0].Name), list[1:]
		default:
			merged, names, list = append(merged, names[0]), names[1:], list[1:]
		}
	}
	merged = append(merged, names...)
	for _, info := range list {
		merged = append(merged, info.Name)
	}
	return merged
}

// sameList reports whether two nodes announce the same slice; nodes with equal
// lists share one, if the provider sees to it, which saves time here.
func sameList(a, b []JobInfo) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// bestFor returns how well j can be suited without the node gone.
func (p *placement) bestFor(j, gone int) suitability {
	best := unfit
	for x := range p.nodes {
		if x == gone {
			continue
		}
		best = min(best, p.suitability(j, x))
		if best == preferred || (best == neutral && len(p.jobs[j].Prefer) == 0) {
			break
		}
	}
	return best
}

func (p *placement) suitability(j, x int) suitability {
	n, job := &p.nodes[x], &p.jobs[j]
	switch {
	case !n.takes || !n.has[j] || job.done:
		return unfit
	case n.labelled(job.Prefer):
		return preferred
	case n.labelled(job.Avoid):
		return avoided
	}
	return neutral
}

// labelled reports whether the node has one of the labels, given as key=value.
func (n *placedNode) labelled(labels []string) bool {
	return slices.ContainsFunc(labels, func(label string) bool {
		key, value, _ := strings.Cut(label, "=")
		has, ok := n.Labels[key]
		return ok && has == value
	})
}

// assign gives each job its target.
func (p *placement) assign() {
	s := newSpread(p, make([]int, len(p.jobs)), none)
	for j := range p.jobs {
		x := p.jobs[j].runner
		if x == none || p.suitability(j, x) == unfit {
			x = p.waiting(j, x) // who stands by knows why
		}
		s.add(j, x)
	}
	s.settle()
	for j := range p.jobs {
		job := &p.jobs[j]
		job.target = s.on[j]
		job.reason = p.reasonFor(j)
	}
}

func (p *placement) reasonFor(j int) reason {
	job := &p.jobs[j]
	fits := unfit
	if job.runner != none {
		fits = p.suitability(j, job.runner)
	}
	switch {
	case job.target == none && job.runner != none:
		return strands
	case job.target == none:
		return homeless
	case job.runner == none:
		return newcomer
	case job.runner == job.target:
		return stays
	case fits == unfit:
		return leaves
	case p.suitability(j, job.target) < fits:
		return improves
	}
	return evens
}

// assignStandbys gives each job its standby: for a job that is to move, that is
// its target. It goes by where the jobs are now; moves may be long in coming.
func (p *placement) assignStandbys() {
	on, at := make([]int, len(p.jobs)), make([][]int, len(p.nodes))
	load, count := make([]int64, len(p.nodes)), make([]int, len(p.nodes))
	for j := range p.jobs {
		x := p.jobs[j].runner
		if x == none {
			x = p.jobs[j].target
		}
		if x != none {
			at[x] = append(at[x], j)
			load[x] += int64(p.jobs[j].Weight)
			count[x]++
		}
	}
	for x := range p.nodes {
		s := newSpread(p, on, x)
		copy(s.load, load)
		copy(s.count, count)
		for _, j := range at[x] {
			switch target := p.jobs[j].target; target {
			case none:
				on[j] = none
			case x:
				s.add(j, p.waiting(j, x))
			default:
				s.pin(j, target)
			}
		}
		s.settle()
		for _, j := range at[x] {
			p.jobs[j].standby = on[j]
		}
	}
}

// waiting returns the first candidate other than x that takes part.
func (p *placement) waiting(j, x int) int {
	for _, y := range p.jobs[j].queue {
		if y != none && y != x && p.nodes[y].takes {
			return y
		}
	}
	return none
}

// stands reports whether x should stand for j.
func (p *placement) stands(j, x int) bool {
	return p.jobs[j].target == x || p.jobs[j].standby == x
}

// handsOver reports whether x, which runs j, should let go of it, since the node
// that should run it is next in the queue.
func (p *placement) handsOver(j, x int) bool {
	job := &p.jobs[j]
	return job.runner == x && job.target != none && job.target != x && len(job.queue) > 1 && job.queue[1] == job.target
}

func (p *placement) waits(j, x int) bool { return slices.Contains(p.jobs[j].queue, x) }

// job returns the index of a job.
func (p *placement) job(name string) (j int, ok bool) {
	return slices.BinarySearchFunc(p.jobs, name, func(j placedJob, name string) int { return strings.Compare(j.Name, name) })
}

// moves returns the jobs that run where they should not, in order.
func (p *placement) moves() (jobs []int) {
	for j := range p.jobs {
		if job := &p.jobs[j]; job.runner != none && job.target != none && job.target != job.runner {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// due returns the moves to be made now, limit at most in the whole app, with those jobs
// that have moved and are not ready yet. Before the app has settled, only those that
// cannot wait are.
func (p *placement) due(limit int, settled bool) []int {
	moves := slices.DeleteFunc(p.moves(), func(j int) bool { return !settled && p.jobs[j].reason != leaves })
	return moves[:min(max(limit-p.warm, 0), len(moves))]
}
