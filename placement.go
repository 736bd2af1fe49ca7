package distributed

import (
	"math"
	"math/bits"
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

	scales  int     // of weights; one if all jobs have the same
	scaleAt [65]int // by the number of bits of a weight

	steps int // jobs and nodes looked at so far: what it takes, on whatever machine
}

type placedNode struct {
	*NodeView
	takes  bool // takes part, and does not drain
	newest bool // has the newest version of those that take jobs
}

type placedJob struct {
	JobInfo
	fits    *fits
	seen    *CandidateView // the first of the queue as it was read, nil if there was none
	queue   []int32        // the nodes of its candidates, none for one that is not in the view
	waiting nodeSet        // those of them that are in the view
	scale   int            // of its weight
	led     bool           // by the first of the queue
	done    bool           // nobody is to run it any more
	warming bool           // its runner has not said yet that it is ready
	runner  int            // the node that leads it and takes part in placement; else none
	target  int            // where it should run; none if it can run nowhere
	standby int            // who should wait for it; none if nobody can
	unmet   *Order         // a move or a pin to where it cannot run
	order   *Order         // that says where it should run, or that it should not; nil if none does
	reason  reason
}

// none stands for the index of no node.
const none = -1

// reason says why a job has its target.
type reason int

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

// readPlacement takes in v: what there is to place.
func readPlacement(v *View) *placement {
	p := &placement{self: none}
	p.readNodes(v)
	p.readJobs(v)
	return p
}

// readNodes finds out which version is the newest: that whose first node was
// started last. A node of the old version that restarts does not change it.
func (p *placement) readNodes(v *View) {
	p.nodes = make([]placedNode, len(v.Nodes))
	p.at = make([][]int32, len(v.Nodes))
	p.index = make(map[string]int32, len(v.Nodes))
	first := map[string]int64{}
	for x := range v.Nodes {
		n := &v.Nodes[x]
		p.index[n.ID] = int32(x)
		if n.ID == v.Self {
			p.self = x
		}
		p.nodes[x] = placedNode{NodeView: n, takes: n.takesJobs()}
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
	p.takers, p.newest = newNodeSet(len(p.nodes)), newNodeSet(len(p.nodes))
	for x := range p.nodes {
		n := &p.nodes[x]
		n.newest = n.takes && n.Version == newest
		if n.takes {
			p.takers.add(x)
		}
		if n.newest {
			p.newest.add(x)
		}
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

	var names []string
	for _, n := range lists {
		names = mergeNames(names, n.Jobs)
	}
	listed := len(names)
	names = mergeQueues(names, v.Jobs)
	p.listed = len(names) == listed
	p.jobs = make([]placedJob, len(names))
	has, waiting := newNodeSets(len(names), len(p.nodes)), newNodeSets(len(names), len(p.nodes))
	for j, name := range names {
		p.jobs[j] = placedJob{JobInfo: JobInfo{Name: name}, waiting: waiting[j], runner: none, target: none, standby: none}
	}
	for _, n := range lists {
		p.readList(n.Jobs, has)
	}
	p.readQueues(v)
	for _, r := range v.Records {
		if j, ok := p.job(r.Job); ok && r.Done {
			p.jobs[j].done = true
			clear(has[j])
		}
	}
	p.readWeights()
	p.obey(v, has)
	p.readFits(has)
}

// readList notes what list says of its jobs, and who has them.
func (p *placement) readList(list []JobInfo, has []nodeSet) {
	holders := newNodeSet(len(p.nodes))
	for x := range p.nodes {
		if p.nodes[x].takes && sameList(p.nodes[x].Jobs, list) {
			holders.add(x)
		}
	}
	j := 0
	for _, info := range list {
		for p.jobs[j].Name != info.Name {
			j++
		}
		p.jobs[j].JobInfo = info
		has[j].addAll(holders)
		p.steps++
	}
}

// readQueues takes in who leads and waits for what, as far as that has changed. It
// reports whether all jobs are known.
func (p *placement) readQueues(v *View) bool {
	rest := v.Jobs
	for j := range p.jobs {
		job := &p.jobs[j]
		if len(rest) == 0 || rest[0].Name != job.Name {
			job.read(p, nil)
			job.led = false
			continue
		}
		job.read(p, rest[0].Queue)
		job.led = rest[0].Led
		rest = rest[1:]
	}
	p.steps += len(p.jobs)
	return len(rest) == 0
}

// read takes in a queue, if it is another one than before.
func (job *placedJob) read(p *placement, queue []CandidateView) {
	if len(queue) == len(job.queue) && (len(queue) == 0 || &queue[0] == job.seen) {
		return
	}
	job.seen, job.queue, job.runner, job.warming = nil, p.room(job.queue, len(queue)), none, false
	clear(job.waiting)
	p.steps += len(queue)
	if len(queue) == 0 {
		return
	}
	job.seen = &queue[0]
	for _, c := range queue {
		x, ok := p.index[c.Node]
		if ok {
			job.waiting.add(int(x))
		} else {
			x = none
		}
		job.queue = append(job.queue, x)
	}
	if first := job.queue[0]; first != none && p.nodes[first].Jobs != nil {
		job.runner = int(first)
		_, job.warming = p.nodes[first].Warming[job.Name]
	}
}

// room returns an empty queue with room for n, which is old if there is enough.
func (p *placement) room(old []int32, n int) []int32 {
	if cap(old) >= n {
		return old[:0]
	}
	if len(p.slab) < n {
		p.slab = make([]int32, max(n, 2*len(p.jobs)))
	}
	queue := p.slab[:0:n]
	p.slab = p.slab[n:]
	return queue
}

// readWeights sorts the jobs into scales, of which each has weights of the same
// number of bits: what is looked for by its weight is looked for in a scale.
func (p *placement) readWeights() {
	var used [len(p.scaleAt)]bool
	for j := range p.jobs {
		job := &p.jobs[j]
		job.Weight = max(job.Weight, 1)
		p.heavy = max(p.heavy, int64(job.Weight))
		used[bits.Len(uint(job.Weight))] = true
	}
	for n := range used {
		p.scaleAt[n] = p.scales
		if used[n] {
			p.scales++
		}
	}
	for j := range p.jobs {
		p.jobs[j].scale = p.scaleAt[bits.Len(uint(p.jobs[j].Weight))]
	}
}

// mergeQueues returns the sorted union with the jobs of queues; that is names itself if
// it has all of them.
func mergeQueues(names []string, queues []JobView) []string {
	var missing []JobInfo
	i := 0
	for q := range queues {
		for i < len(names) && names[i] < queues[q].Name {
			i++
		}
		if i == len(names) || names[i] != queues[q].Name {
			missing = append(missing, JobInfo{Name: queues[q].Name})
		}
	}
	return mergeNames(names, missing)
}

// mergeNames returns the sorted union; that is names itself if it has all of them.
func mergeNames(names []string, list []JobInfo) []string {
	missing := 0
	for i, j := 0, 0; j < len(list); {
		switch {
		case i < len(names) && names[i] == list[j].Name:
			i, j = i+1, j+1
		case i < len(names) && names[i] < list[j].Name:
			i++
		default:
			missing, j = missing+1, j+1
		}
	}
	if missing == 0 {
		return names
	}
	merged := make([]string, 0, len(names)+missing)
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
func sameList(a, b []JobInfo) bool { return sameSlice(a, b) }

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
			load[x] += int64(p.jobs[j].Weight)
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

// handsOver reports whether x, which runs j, should let go of it, since the node
// that should run it is next in the queue.
func (p *placement) handsOver(j, x int) bool {
	job := &p.jobs[j]
	return job.runner == x && p.moves(j) && len(job.queue) > 1 && int(job.queue[1]) == job.target
}

func (p *placement) waits(j, x int) bool { return p.jobs[j].waiting.has(x) }

// job returns the index of a job.
func (p *placement) job(name string) (j int, ok bool) {
	return slices.BinarySearchFunc(p.jobs, name, func(j placedJob, name string) int { return strings.Compare(j.Name, name) })
}

// part returns, by job, what the node whose view it is should stand for now: what
// runs on it, or is to run on it now; and what it should wait for. Of the latter it
// begins with some at a time, and not before somebody stands for the job: who is to run
// it should be the first. While nodes come and go, who waits for a job stays the same if
// all that would be gained is that they share the waiting evenly.
func (p *placement) part(due []bool, limit int, calm bool) (wanted []bool) {
	wanted = make([]bool, len(p.jobs))
	if p.self == none {
		return wanted
	}
	standbys := standbysOfMoves * max(limit, fewestMoves)
	for j := range p.jobs {
		job := &p.jobs[j]
		switch {
		case job.runner == p.self:
			wanted[j] = !p.handsOver(j, p.self)
		case job.target == p.self && (job.runner == none || due[j]):
			wanted[j] = true
		case !calm && p.evens(j):
			wanted[j] = p.waits(j, p.self) && p.nodes[p.self].takes
		case len(job.queue) > 0 && p.stands(j, p.self):
			wanted[j] = p.waits(j, p.self) || standbys > 0
			if !p.waits(j, p.self) {
				standbys--
			}
		}
	}
	return wanted
}

// evens reports whether all that is to be changed about a job is to even out: it runs
// where it can stay, and another node of the same version waits for it.
func (p *placement) evens(j int) bool {
	job := &p.jobs[j]
	return !p.mixed && job.runner != none && (job.reason == stays || job.reason == evens) && job.order == nil && p.next(j, job.runner) != none
}

// standbysOfMoves is how many jobs a node begins to wait for at a time, for each that
// may move to it.
const standbysOfMoves = 8

// moves reports whether a job runs where it should not.
func (p *placement) moves(j int) bool {
	job := &p.jobs[j]
	return job.runner != none && job.target != none && job.target != job.runner
}

// due returns, by job, which moves are to be made now: limit at most from each node,
// and as many to each, less the jobs that are not ready there yet. All nodes that see
// the same agree on them. Those that cannot wait come first, and before the app has
// settled there are no others; then those of which most has been done.
func (p *placement) due(limit int, settled bool) (due []bool) {
	due = make([]bool, len(p.jobs))
	var stages [6][]int32
	room := make([]struct{ from, to int }, len(p.nodes))
	for x := range room {
		room[x].from, room[x].to = limit, limit
	}
	for j := range p.jobs {
		job := &p.jobs[j]
		if job.runner != none && !p.ready(j) {
			room[job.runner].to--
		}
		if p.moves(j) && (settled || job.reason == leaves) {
			stage := p.stage(j)
			stages[stage] = append(stages[stage], int32(j))
		}
	}
	for _, j := range slices.Concat(stages[:]...) {
		from, to := &room[p.jobs[j].runner].from, &room[p.jobs[j].target].to
		if *from > 0 && *to > 0 {
			due[j] = true
			*from--
			*to--
		}
	}
	return due
}

// ready reports whether a job does its work where it runs, so that its node has a hand
// free for the next.
func (p *placement) ready(j int) bool { return p.jobs[j].led && !p.jobs[j].warming }

// stage says how far a move has come: the lower the farther.
func (p *placement) stage(j int) (stage int) {
	job := &p.jobs[j]
	switch {
	case p.handsOver(j, job.runner):
	case p.waits(j, job.target):
		stage = 1
	default:
		stage = 2
	}
	if job.reason != leaves {
		stage += 3
	}
	return stage
}

const (
	// fewestMoves is how many jobs may move at a time from a node, and to one, however
	// few there are.
	fewestMoves = 10

	// movesOfShare is how large a part of the jobs of a node it is.
	movesOfShare = 8
)

// limit returns how many jobs may move at a time from a node, and to one, unless that
// was set.
func (p *placement) limit() int {
	return max(fewestMoves, len(p.jobs)/max(1, p.takers.len())/movesOfShare)
}
