package distributed

import (
	"cmp"
	"math/bits"
	"slices"
)

// spread distributes jobs over the nodes of a placement, but for one that is
// taken to be gone. First every job keeps the node that it is on, if that suits
// it; then those without a node get one; then jobs move for as long as that evens
// out.
//
// What it takes grows with the number of jobs times that of nodes, whatever they are
// like. That a job on a node does not suit another never changes. So each pair of
// nodes looks at each job once, and a node that has nothing to give to another, or to
// any, is passed over until that may have changed.
type spread struct {
	p     *placement
	gone  int     // the node that takes nothing, or none
	load  []int64 // by node
	count []int   // jobs by node
	on    []int   // by job: the node that it is on
	open  nodeSet // nodes with room
	loose []loose

	lists  [][]int32 // by node and scale: the jobs on it that may move; what has moved on stays in
	reach  []nodeSet // by node: those to which one of its jobs may be able to move
	givers nodeSet   // nodes that may have something to give

	cursors [][]cursor // by node and scale, as lists; by the other node
	round   int        // counts begin: which cursors are of now
	rounds  []int      // by node and scale
}

// loose is a job without a node, or on one that it should leave.
type loose struct{ job, was int32 }

// cursor says how much of a list another node has been through, looking for jobs that
// do not run there, and move at no cost; for jobs that it waits for; and for any.
type cursor [3]int32

func newSpread(p *placement) *spread {
	n := len(p.nodes)
	return &spread{
		p: p, load: make([]int64, n), count: make([]int, n), on: make([]int, len(p.jobs)), open: newNodeSet(n),
		lists: make([][]int32, n*p.scales), reach: newNodeSets(n, n), givers: newNodeSet(n),
		cursors: make([][]cursor, n*p.scales), rounds: make([]int, n*p.scales),
	}
}

// begin begins anew, without the node gone.
func (s *spread) begin(gone int) {
	s.gone = gone
	s.round++
	clear(s.load)
	clear(s.count)
	clear(s.givers)
	s.loose = s.loose[:0]
	for i := range s.lists {
		s.lists[i] = s.lists[i][:0]
	}
	for x := range s.reach {
		clear(s.reach[x])
	}
	s.measureRoom()
}

// measureRoom finds out who has room.
func (s *spread) measureRoom() {
	clear(s.open)
	for x := range s.p.nodes {
		s.measure(x)
	}
}

func (s *spread) measure(x int) {
	n := &s.p.nodes[x]
	if x != s.gone && n.takes && (n.Capacity == 0 || s.count[x] < n.Capacity) {
		s.open.add(x)
	} else {
		s.open.remove(x)
	}
}

// add takes in a job that is on node x, or on none.
func (s *spread) add(j, x int) {
	s.p.steps++
	if x != none && s.open.has(x) && s.suits(j, x) {
		s.put(j, x)
		return
	}
	s.on[j] = none
	s.loose = append(s.loose, loose{job: int32(j), was: int32(x)})
}

// settle is called once, when all jobs have been added.
func (s *spread) settle() {
	var rest []int32
	var stays []loose
	for _, l := range s.loose {
		if s.canStay(l) {
			stays = append(stays, l)
		} else {
			rest = append(rest, l.job)
		}
	}
	slices.SortStableFunc(stays, func(a, b loose) int { return cmp.Compare(s.p.jobs[b.job].weight, s.p.jobs[a.job].weight) })
	for _, l := range stays {
		x := s.bestNode(int(l.job))
		if s.canStay(l) && (x == none || !s.better(int(l.job), x, int(l.was))) {
			x = int(l.was)
		}
		if x != none {
			s.put(int(l.job), x)
		}
	}
	s.fill(rest)
	s.level()
}

// put puts a job on a node.
func (s *spread) put(j, x int) {
	s.pin(j, x)
	job := &s.p.jobs[j]
	list := &s.lists[x*s.p.scales+int(job.scale)]
	*list = append(*list, int32(j))
	for fit := range s.p.suitability(j, x) + 1 {
		s.reach[x].addAll(job.fits[fit])
	}
	s.givers.add(x)
}

// pin puts a job where it must stay.
func (s *spread) pin(j, x int) {
	s.on[j] = x
	s.load[x] += s.p.jobs[j].weight
	s.count[x]++
	s.measure(x)
}

func (s *spread) remove(j int) {
	x := s.on[j]
	s.load[x] -= s.p.jobs[j].weight
	s.count[x]--
	s.measure(x)
}

func (s *spread) canStay(l loose) bool {
	return l.was != none && s.open.has(int(l.was)) && s.p.suitability(int(l.job), int(l.was)) < unfit
}

// suits reports whether x is as good a node for j as there is.
func (s *spread) suits(j, x int) bool {
	fit := s.p.suitability(j, x)
	return fit < unfit && fit == s.p.jobs[j].fits.best(s.gone) && (s.gone == none || !s.p.mixed || s.p.nodes[x].newest)
}

// better reports whether x is worth leaving y for. A job that runs on an old
// version does not leave for that reason alone; what would run there does.
func (s *spread) better(j, x, y int) bool {
	a, b := s.p.suitability(j, x), s.p.suitability(j, y)
	return a < b || a == b && s.gone != none && s.p.nodes[x].newest && !s.p.nodes[y].newest
}

// bestNode returns the node for a job that has none: one that suits it best, of
// the newest version, with the least load, which waits for it already.
func (s *spread) bestNode(j int) int {
	job := &s.p.jobs[j]
	for _, fit := range job.fits {
		for _, versions := range []nodeSet{s.p.newest, s.p.takers} {
			if x := s.emptiest(job.waiting, fit, versions); x != none {
				return x
			}
		}
	}
	return none
}

// emptiest returns the node with room in all of the sets that has the least load, and
// of these one that is favoured.
func (s *spread) emptiest(favoured nodeSet, sets ...nodeSet) int {
	best := none
	for i, w := range s.open {
		for _, set := range sets {
			w &= set[i]
		}
		for ; w != 0; w &= w - 1 {
			x := i*64 + bits.TrailingZeros64(w)
			s.p.steps++
			if best == none || s.load[x] < s.load[best] || s.load[x] == s.load[best] && favoured.has(x) && !favoured.has(best) {
				best = x
			}
		}
	}
	return best
}

// level moves a job from the node with the greatest load to that with the least,
// or as near to that as it goes, for as long as their loads differ by more than the
// heaviest job. The sum of the squares of all loads falls with each move, so it ends.
// If it should take long, the rest is left for the next placement.
func (s *spread) level() {
	for x := range s.reach {
		s.restrict(x)
	}
	if s.gone == none {
		s.goOn()
	}
	for range maxHops * (1 + len(s.p.jobs)) {
		from, to, j := s.next()
		if j == none {
			return
		}
		s.remove(j)
		s.put(j, to)
		s.restrict(to)
		s.wake(from)
	}
}

// goOn moves first what a node with less than the mean waits for already, and runs on
// one with more. Otherwise each job that has moved would change which others are to
// move, and where to: those who had begun to wait for them would have done so in vain.
func (s *spread) goOn() {
	spare, mean := s.spare()
	for j := range s.p.jobs {
		job := &s.p.jobs[j]
		x, w := job.runner, job.weight
		if x == none || s.on[j] != x || spare[x] < w {
			continue
		}
		for _, y := range slices.Backward(job.queue[1:]) { // who came last came for this
			if y != none && s.load[y]+w <= mean && s.open.has(int(y)) && s.reach[x].has(int(y)) && s.may(j, x, int(y)) {
				s.remove(j)
				s.put(j, int(y))
				s.restrict(int(y))
				spare[x] -= w
				break
			}
		}
		s.p.steps += len(job.queue)
	}
}

// spare returns, by node, how much of what runs there is beyond the mean, when what
// does not run there yet has gone elsewhere.
func (s *spread) spare() (spare []int64, mean int64) {
	spare = slices.Clone(s.load)
	for x, load := range s.load {
		if s.p.nodes[x].takes {
			mean += load
		}
	}
	takers := int64(max(1, s.p.takers.len()))
	most := (mean + takers - 1) / takers
	mean /= takers
	for j, x := range s.on {
		if x != none && s.p.jobs[j].runner != x {
			spare[x] -= s.p.jobs[j].weight
		}
	}
	for x := range spare {
		spare[x] -= most
	}
	return spare, mean
}

// may reports whether a job may move from x to y, to even out.
func (s *spread) may(j, x, y int) bool {
	return s.p.suitability(j, y) <= min(s.p.suitability(j, x), avoided)
}

// maxHops is how often a job may change nodes until it has found its own, on average.
const maxHops = 4

// next returns what to move next.
func (s *spread) next() (from, to, job int) {
	for {
		if from = s.fullest(); from == none {
			return none, none, none
		}
		to = s.emptiest(s.reach[from], s.reach[from])
		if to == none || s.load[from]-s.load[to] <= s.p.heavy {
			s.givers.remove(from)
			continue
		}
		if job = s.pick(from, to); job != none {
			return from, to, job
		}
		s.reach[from].remove(to)
	}
}

// fullest returns the node with the greatest load of those that may have something to
// give.
func (s *spread) fullest() int {
	best := none
	for i, w := range s.givers {
		for ; w != 0; w &= w - 1 {
			x := i*64 + bits.TrailingZeros64(w)
			s.p.steps++
			if best == none || s.load[x] > s.load[best] {
				best = x
			}
		}
	}
	return best
}

// wake looks who has something to give to a node that has just become emptier.
func (s *spread) wake(to int) {
	for x := range s.reach {
		if s.load[x]-s.load[to] > s.p.heavy && s.reach[x].has(to) {
			s.givers.add(x)
		}
	}
	s.p.steps += len(s.reach)
}

// restrict keeps those in reach of x to which its jobs may move as far as versions go.
func (s *spread) restrict(x int) {
	switch newest := s.p.nodes[x].newest; {
	case !s.p.mixed || !newest && s.gone != none:
	case newest && s.gone == none:
		clear(s.reach[x])
	default:
		s.reach[x].keep(s.p.newest)
	}
}

// pick returns a job to move: one that does not run yet, if there is one, or else one
// that the other node waits for already; of the scale that is nearest to half the
// difference.
func (s *spread) pick(from, to int) int {
	half := min(int(s.p.scaleAt[bits.Len64(uint64(s.load[from]-s.load[to])/2)]), s.p.scales-1)
	for want := range len(cursor{}) {
		for off := range 2 * s.p.scales {
			scale := half + (off+1)/2*(1-off%2*2)
			if scale < 0 || scale >= s.p.scales {
				continue
			}
			if j := s.pickOf(from*s.p.scales+scale, from, to, want); j != none {
				return j
			}
		}
	}
	return none
}

// pickOf returns the next job in a list that is wanted, and suits the other node as
// well as its own.
func (s *spread) pickOf(list, from, to, want int) int {
	jobs := s.lists[list]
	if len(jobs) == 0 {
		return none
	}
	if s.rounds[list] != s.round {
		s.rounds[list] = s.round
		if s.cursors[list] == nil {
			s.cursors[list] = make([]cursor, len(s.p.nodes))
		}
		clear(s.cursors[list])
	}
	at := &s.cursors[list][to][want]
	for int(*at) < len(jobs) {
		j := int(jobs[*at])
		*at++
		s.p.steps++
		if s.on[j] == from && s.wanted(j, from, to, want) && s.may(j, from, to) {
			return j
		}
	}
	return none
}

func (s *spread) wanted(j, from, to, want int) bool {
	switch want {
	case 0:
		return s.p.jobs[j].runner != from
	case 1:
		return s.p.waits(j, to)
	}
	return true
}
