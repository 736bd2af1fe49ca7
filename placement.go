package distributed

import (
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
	nodes  []placedNode
	jobs   []placedJob // sorted by name
	heavy  int64       // the weight of the heaviest job
	mixed  bool        // two versions are live
	self   int         // the node whose view it is, or none
	takers nodeSet
	newest nodeSet
	index  map[string]int32 // of nodes, by ID
	listed bool             // each job is in the list of a node
	slab   []int32          // for queues
	at     [][]int32        // by node: the jobs that count there, for assignStandbys

	scales  int       // of weights; one if all jobs have the same
	scaleAt [65]uint8 // by the number of bits of a weight

	steps int // jobs and nodes looked at so far: what it takes, on whatever machine
}

type placedNode struct {
	*NodeView
	takes  bool // takes part, and does not drain
	newest bool // has the newest version of those that take jobs
}

type placedJob struct {
	*JobInfo       // as it is in a list; only the name, if it is in none
	weight   int64 // at least 1
	fits     *fits
	seen     *CandidateView // the first of the queue as it was read, nil if there was none
	queue    []int32        // the nodes of its candidates, none for one that is not in the view
	waiting  nodeSet        // those of them that are in the view
	runner   int            // the node that leads it and takes part in placement; else none
	target   int            // where it should run; none if it can run nowhere
	standby  int            // who should wait for it; none if nobody can
	unmet    *Order         // a move or a pin to where it cannot run
	order    *Order         // that says where it should run, or that it should not; nil if none does
	reason   reason
	scale    uint8 // of its weight
	led      bool  // by the first of the queue
	done     bool  // nobody is to run it any more
	warming  bool  // its runner has not said yet that it is ready
}

// none stands for the index of no node.
const none = -1

// reason says why a job has its target.
type reason uint8

const (
	stays    reason = iota // it runs there, and no other node suits it better
	newcomer               // it ran nowhere, or not with a node that takes part
	leaves                 // its node does not take it any more
	improves               // another node suits it better
	evens                  // its node had too much
	strands                // it should leave its node, but no other can take it
	homeless               // no node can take it
)

// place computes the placement of v.
func place(v *View) *placement { return new(placer).place(v) }

// assign gives each job its target.
func (p *placement) assign(s *spread) {
	s.begin(none)
	for j := range p.jobs {
		x := p.jobs[j].runner
		if x == none || p.suitability(j, x) == unfit {
			x = p.next(j, x) // who stands by knows why
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
// its target.
func (p *placement) assignStandbys(s *spread) {
	at := p.at
	for x := range at {
		at[x] = at[x][:0]
	}
	load, count := make([]int64, len(p.nodes)), make([]int, len(p.nodes))
	for j := range p.jobs {
		p.jobs[j].standby = none
		if x := p.base(j); x != none {
			at[x] = append(at[x], int32(j))
			load[x] += p.jobs[j].weight
			count[x]++
		}
	}
	for x := range p.nodes {
		if len(at[x]) == 0 {
			continue
		}
		s.begin(x)
		copy(s.load, load)
		copy(s.count, count)
		s.measureRoom()
		for _, j := range at[x] {
			job := &p.jobs[j]
			switch job.target {
			case none:
				s.on[j] = none
			case x:
				s.add(int(j), p.next(int(j), x, job.runner))
			default:
				s.pin(int(j), job.target)
			}
		}
		s.settle()
		for _, j := range at[x] {
			job := &p.jobs[j]
			job.standby = s.on[j]
			if job.runner != none && job.target != none && job.runner != job.target {
				job.standby = job.target
			}
		}
	}
}

// base returns the node at which a job counts while standbys are assigned. That is
// where it will be after all moves: otherwise a node that has just joined, and runs
// nothing yet, would be the standby of all jobs, until it runs its share. But while
// two versions are live, moves may be long in coming, and what a node runs now is what
// it will have beside the jobs of the next that is stopped.
func (p *placement) base(j int) int {
	if job := &p.jobs[j]; p.mixed && job.runner != none {
		return job.runner
	}
	return p.jobs[j].target
}

// next returns the first candidate that takes part, other than those.
func (p *placement) next(j int, but ...int) int {
	for _, y := range p.jobs[j].queue {
		if y != none && !slices.Contains(but, int(y)) && p.nodes[y].takes {
			return int(y)
		}
	}
	return none
}

// stands reports whether x should stand for j. Who is not wanted any more stays
// until the one is there that is to wait in its place, so that there always is one.
func (p *placement) stands(j, x int) bool {
	job := &p.jobs[j]
	return job.target == x || job.standby == x || job.standby != none && p.waits(j, x) && !p.waits(j, job.standby)
}

func (p *placement) waits(j, x int) bool { return p.jobs[j].waiting.has(x) }

// job returns the index of a job.
func (p *placement) job(name string) (j int, ok bool) {
	return slices.BinarySearchFunc(p.jobs, name, func(j placedJob, name string) int { return strings.Compare(j.Name, name) })
}
