package distributed

import (
	"math"
	"math/bits"
	"slices"
	"strings"
)

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
	for j := range names {
		p.jobs[j] = placedJob{waiting: waiting[j], runner: none, target: none, standby: none}
	}
	for _, n := range lists {
		p.readList(n.Jobs, names, has)
	}
	for j, name := range names {
		if p.jobs[j].JobInfo == nil {
			p.jobs[j].JobInfo = &JobInfo{Name: name}
		}
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

// readList notes what list says of its jobs, which are some of those called names, and who
// has them.
func (p *placement) readList(list []JobInfo, names []string, has []nodeSet) {
	holders := newNodeSet(len(p.nodes))
	for x := range p.nodes {
		if p.nodes[x].takes && sameList(p.nodes[x].Jobs, list) {
			holders.add(x)
		}
	}
	j := 0
	for i := range list {
		for names[j] != list[i].Name {
			j++
		}
		p.jobs[j].JobInfo = &list[i]
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
		job.weight = max(int64(job.Weight), 1)
		p.heavy = max(p.heavy, job.weight)
		used[bits.Len64(uint64(job.weight))] = true
	}
	for n := range used {
		p.scaleAt[n] = uint8(p.scales)
		if used[n] {
			p.scales++
		}
	}
	for j := range p.jobs {
		p.jobs[j].scale = p.scaleAt[bits.Len64(uint64(p.jobs[j].weight))]
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
