package distributed

import (
	"math/bits"
	"slices"
)

// suitability of a node for a job: the lower the better.
type suitability int

const (
	preferred suitability = iota
	neutral
	avoided
	unfit // does not have the job, or takes none
)

// fits are the nodes that can take a job, by how well they suit it. Jobs that are
// alike share one.
type fits [unfit]nodeSet

// readFits says for each job who suits it how well; has are the nodes that have it.
func (p *placement) readFits(has []nodeSet) {
	labelled := p.readLabels()
	var known fitsCache
	words := len(p.takers)
	var slab []uint64
	for j := range p.jobs {
		job := &p.jobs[j]
		if job.fits = known.find(job.JobInfo, has[j]); job.fits != nil {
			continue
		}
		if len(slab) == 0 {
			slab = make([]uint64, 256*int(unfit)*words)
		}
		f := new(fits)
		for s := range f {
			f[s], slab = slab[:words:words], slab[words:]
		}
		for _, label := range job.Prefer {
			f[preferred].addAll(labelled[label])
		}
		for _, label := range job.Avoid {
			f[avoided].addAll(labelled[label])
		}
		f[preferred].keep(has[j])
		f[avoided].keep(has[j])
		f[avoided].removeAll(f[preferred])
		f[neutral].addAll(has[j])
		f[neutral].removeAll(f[preferred])
		f[neutral].removeAll(f[avoided])
		job.fits = f
		known.add(job.JobInfo, has[j], f)
		p.steps += 1 + len(job.Prefer) + len(job.Avoid)
	}
}

// readLabels returns who has a label, written as jobs name it.
func (p *placement) readLabels() map[string]nodeSet {
	labelled := map[string]nodeSet{}
	for x := range p.nodes {
		for key, value := range p.nodes[x].Labels {
			label := key + "=" + value
			if labelled[label] == nil {
				labelled[label] = newNodeSet(len(p.nodes))
			}
			labelled[label].add(x)
		}
	}
	return labelled
}

// fitsCache finds what is alike among the jobs seen last: most differ in few ways.
type fitsCache struct {
	seen [8]struct {
		job *JobInfo
		has nodeSet
		*fits
	}
	next int
}

func (c *fitsCache) find(job *JobInfo, has nodeSet) *fits {
	for i := range c.seen {
		s := &c.seen[i]
		if s.job != nil && slices.Equal(s.has, has) && slices.Equal(s.job.Prefer, job.Prefer) && slices.Equal(s.job.Avoid, job.Avoid) {
			return s.fits
		}
	}
	return nil
}

func (c *fitsCache) add(job *JobInfo, has nodeSet, f *fits) {
	s := &c.seen[c.next]
	s.job, s.has, s.fits = job, has, f
	c.next = (c.next + 1) % len(c.seen)
}

func (p *placement) suitability(j, x int) suitability {
	f := p.jobs[j].fits
	s := preferred
	for s < unfit && !f[s].has(x) {
		s++
	}
	return s
}

// best returns how well a job can be suited without the node gone.
func (f *fits) best(gone int) suitability {
	s := preferred
	for s < unfit && f[s].emptyBut(gone) {
		s++
	}
	return s
}

// nodeSet is a set of nodes, by their index.
type nodeSet []uint64

func newNodeSet(nodes int) nodeSet { return make(nodeSet, (nodes+63)/64) }

// newNodeSets returns n empty sets, in one array.
func newNodeSets(n, nodes int) []nodeSet {
	words := (nodes + 63) / 64
	all, sets := make(nodeSet, n*words), make([]nodeSet, n)
	for i := range sets {
		sets[i], all = all[:words:words], all[words:]
	}
	return sets
}

func (s nodeSet) has(x int) bool { return s[x/64]&(1<<(x%64)) != 0 }
func (s nodeSet) add(x int)      { s[x/64] |= 1 << (x % 64) }
func (s nodeSet) remove(x int)   { s[x/64] &^= 1 << (x % 64) }

func (s nodeSet) addAll(other nodeSet) {
	for i, w := range other {
		s[i] |= w
	}
}

func (s nodeSet) removeAll(other nodeSet) {
	for i, w := range other {
		s[i] &^= w
	}
}

// keep removes what is not in other.
func (s nodeSet) keep(other nodeSet) {
	for i, w := range other {
		s[i] &= w
	}
}

func (s nodeSet) len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// emptyBut reports whether there is nothing in s, but perhaps x.
func (s nodeSet) emptyBut(x int) bool {
	for i, w := range s {
		if x != none && i == x/64 {
			w &^= 1 << (x % 64)
		}
		if w != 0 {
			return false
		}
	}
	return true
}
