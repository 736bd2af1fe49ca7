package distributed

import (
	"cmp"
	"slices"
)

// spread distributes jobs over the nodes of a placement, but for one that is
// taken to be gone. First every job keeps the node that it is on, if that suits
// it; then those without a node get one, the heaviest first; then jobs move for
// as long as that evens out.
type spread struct {
	p     *placement
	gone  int     // the node that takes nothing, or none
	load  []int64 // by node
	count []int   // jobs by node
	on    []int   // by job: the node that it is on
	lists [][]int // by node: the jobs on it that may move; what has moved on stays in
	idle  [][]int // by node: those of them that do not run there, and move at no cost
	loose []loose

	awaited map[[2]int]*[]int // by two nodes: those of lists on the first that the second waits for
	order   []int             // scratch
}

// loose is a job without a node, or on one that it should leave.
type loose struct{ job, was int }

func newSpread(p *placement, on []int, gone int) *spread {
	n := len(p.nodes)
	return &spread{p: p, gone: gone, load: make([]int64, n), count: make([]int, n), on: on, lists: make([][]int, n), idle: make([][]int, n)}
}

// add takes in a job that is on node x, or on none.
func (s *spread) add(j, x int) {
	if x != none && s.hasRoom(x) && s.suits(j, x) {
		s.put(j, x)
		return
	}
	s.on[j] = none
	s.loose = append(s.loose, loose{j, x})
}

// settle is called once, when all jobs have been added.
func (s *spread) settle() {
	slices.SortStableFunc(s.loose, func(a, b loose) int {
		return cmp.Or(trueFirst(s.canStay(a), s.canStay(b)), cmp.Compare(s.p.jobs[b.job].Weight, s.p.jobs[a.job].Weight))
	})
	for _, l := range s.loose {
		x := s.bestNode(l.job)
		if s.canStay(l) && (x == none || !s.better(l.job, x, l.was)) {
			x = l.was
		}
		if x != none {
			s.put(l.job, x)
		}
	}
	s.index()
	for s.level() {
	}
}

func (s *spread) put(j, x int) {
	s.pin(j, x)
	s.lists[x] = append(s.lists[x], j)
	if s.p.jobs[j].runner != x {
		s.idle[x] = append(s.idle[x], j)
	}
}

// pin puts a job where it must stay.
func (s *spread) pin(j, x int) {
	s.on[j] = x
	s.load[x] += int64(s.p.jobs[j].Weight)
	s.count[x]++
}

func (s *spread) remove(j int) {
	x := s.on[j]
	s.load[x] -= int64(s.p.jobs[j].Weight)
	s.count[x]--
}

func (s *spread) hasRoom(x int) bool {
	c := s.p.nodes[x].Capacity
	return x != s.gone && (c == 0 || s.count[x] < c)
}

func (s *spread) canStay(l loose) bool { return l.was != none && s.canTake(l.job, l.was) }

func (s *spread) canTake(j, x int) bool { return s.hasRoom(x) && s.p.suitability(j, x) < unfit }

// suits reports whether x is as good a node for j as there is.
func (s *spread) suits(j, x int) bool {
	best := s.p.jobs[j].suits
	if s.gone != none && s.p.suitability(j, s.gone) == best {
		best = s.p.bestFor(j, s.gone)
	}
	return s.p.suitability(j, x) == best && (s.gone == none || !s.p.mixed || s.p.nodes[x].newest)
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
	best := none
	for x := range s.p.nodes {
		if s.canTake(j, x) && (best == none || s.compare(j, x, best) < 0) {
			best = x
		}
	}
	return best
}

func (s *spread) compare(j, x, y int) int {
	return cmp.Or(
		cmp.Compare(s.p.suitability(j, x), s.p.suitability(j, y)),
		trueFirst(s.p.nodes[x].newest, s.p.nodes[y].newest),
		cmp.Compare(s.load[x], s.load[y]),
		trueFirst(s.p.waits(j, x), s.p.waits(j, y)),
		x-y,
	)
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// index notes which jobs on a node another waits for.
func (s *spread) index() {
	s.awaited = map[[2]int]*[]int{}
	for from, list := range s.lists {
		for _, j := range list {
			for _, to := range s.p.jobs[j].queue {
				if to == none || to == from {
					continue
				}
				jobs := s.awaited[[2]int{from, to}]
				if jobs == nil {
					jobs = new([]int)
					s.awaited[[2]int{from, to}] = jobs
				}
				*jobs = append(*jobs, j)
			}
		}
	}
}

// level moves a job from the node with the greatest load to that with the least,
// or as near to that as it goes, if their loads differ by more than the heaviest
// job. The sum of the squares of all loads falls with each move, so it ends.
func (s *spread) level() bool {
	order := s.order[:0]
	for x := range s.p.nodes {
		if s.p.nodes[x].takes && x != s.gone {
			order = append(order, x)
		}
	}
	s.order = order
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(s.load[y], s.load[x]) })
	for _, from := range order {
		for _, to := range slices.Backward(order) {
			if s.load[from]-s.load[to] <= s.p.heavy {
				break
			}
			if j := s.pick(from, to); j != none {
				s.remove(j)
				s.put(j, to)
				return true
			}
		}
	}
	return false
}

// pick returns a job to move: one that does not run yet, if there is one, or else
// one that the other node waits for already.
func (s *spread) pick(from, to int) int {
	if !s.hasRoom(to) || !s.mayMove(from, to) {
		return none
	}
	for _, jobs := range []*[]int{&s.idle[from], s.awaited[[2]int{from, to}], &s.lists[from]} {
		if jobs == nil {
			continue
		}
		if j := s.pickOf(jobs, from, to); j != none {
			return j
		}
	}
	return none
}

// mayMove is about versions only.
func (s *spread) mayMove(from, to int) bool {
	a, b := s.p.nodes[from].newest, s.p.nodes[to].newest
	return !s.p.mixed || !a && b || a == b && s.gone != none
}

// pickOf returns the job whose weight is nearest to half the difference, and
// takes out of jobs what is not on the node any more.
func (s *spread) pickOf(jobs *[]int, from, to int) int {
	best, bestRest := none, int64(0)
	for i, j := range slices.Backward(*jobs) {
		if s.on[j] != from {
			*jobs = slices.Delete(*jobs, i, i+1)
			continue
		}
		fits := s.p.suitability(j, to)
		if fits == unfit || fits > s.p.suitability(j, from) {
			continue
		}
		rest := s.load[from] - s.load[to] - 2*int64(s.p.jobs[j].Weight)
		if rest = max(rest, -rest); best == none || rest < bestRest {
			best, bestRest = j, rest
		}
		if s.p.even {
			break
		}
	}
	return best
}
