package distributed

import (
	"cmp"
	"math/bits"
	"slices"
)

// fill gives nodes to jobs that have none. Of jobs that are alike, each node gets as
// many in a row as it has too few. So while the nodes of an app that starts take their
// jobs, a view that shows some of that leads to the same nodes for the others; if each
// job went to the node with the least load, it would lead to others, for most of them.
// The rows are in an order that has nothing to do with what the names mean.
func (s *spread) fill(jobs []int32) {
	var kinds []*fits
	alike := map[*fits][]int32{}
	for _, j := range mixed(s.p, jobs) {
		f := s.p.jobs[j].fits
		if alike[f] == nil {
			kinds = append(kinds, f)
		}
		alike[f] = append(alike[f], j)
	}
	for _, f := range kinds {
		s.fillAlike(f, alike[f])
	}
}

func (s *spread) fillAlike(f *fits, jobs []int32) {
	var weight int64
	for _, j := range jobs {
		weight += s.p.jobs[j].weight
	}
	var shares []share
	if len(jobs) > len(s.p.nodes) { // it is not worth it for a few
		shares = s.shares(f, weight)
	}
	var given int64
	for _, j := range jobs {
		w := s.p.jobs[j].weight
		for len(shares) > 0 && 2*shares[0].end <= 2*given+w {
			shares = shares[1:]
		}
		given += w
		var x int
		if len(shares) > 0 && s.open.has(shares[0].node) {
			x = shares[0].node
		} else {
			x = s.bestNode(int(j))
		}
		if x != none {
			s.put(int(j), x)
		}
	}
}

// share is how much of some weight a node is to get: what comes before end, and after
// the end of the one before.
type share struct {
	node int
	end  int64
}

// shares divides a weight among the nodes that suit best, so that they have the same
// load afterwards, as far as possible.
func (s *spread) shares(f *fits, weight int64) []share {
	var nodes []int
	for _, fit := range f {
		for _, versions := range []nodeSet{s.p.newest, s.p.takers} {
			if len(nodes) == 0 {
				nodes = s.openOf(fit, versions)
			}
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	slices.SortStableFunc(nodes, func(x, y int) int { return cmp.Compare(s.load[x], s.load[y]) })
	sum, n := weight, int64(0)
	for _, x := range nodes {
		if n > 0 && s.load[x]*n >= sum {
			break
		}
		sum += s.load[x]
		n++
	}
	nodes = nodes[:n]
	slices.Sort(nodes)
	shares := make([]share, n)
	var end int64
	for i, x := range nodes {
		end += sum/n - s.load[x]
		if int64(i) < sum%n {
			end++
		}
		shares[i] = share{x, end}
	}
	return shares
}

// openOf returns the nodes with room that are in both sets.
func (s *spread) openOf(a, b nodeSet) (nodes []int) {
	for i, w := range s.open {
		for w &= a[i] & b[i]; w != 0; w &= w - 1 {
			nodes = append(nodes, i*64+bits.TrailingZeros64(w))
		}
	}
	s.p.steps += len(nodes)
	return nodes
}

// mixed returns jobs in an order that depends on nothing but their names, and yet not
// by name: jobs with similar names are often busy at the same time.
func mixed(p *placement, jobs []int32) []int32 {
	type mark struct {
		hash uint64
		job  int32
	}
	marks := make([]mark, len(jobs))
	for i, j := range jobs {
		marks[i] = mark{nameHash(p.jobs[j].Name), j}
	}
	slices.SortFunc(marks, func(a, b mark) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.job, b.job)) })
	order := make([]int32, len(jobs))
	for i, m := range marks {
		order[i] = m.job
	}
	return order
}

// nameHash is FNV-1a, which is the same on all nodes, with its bits mixed: names that
// differ in the last letter alone differ in the lower ones only.
func nameHash(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}
