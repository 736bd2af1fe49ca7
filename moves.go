package distributed

import "slices"

// moves reports whether a job runs where it should not.
func (p *placement) moves(j int) bool {
	job := &p.jobs[j]
	return job.runner != none && job.target != none && job.target != job.runner
}

// handsOver reports whether x, which runs j, should let go of it, since the node
// that should run it is next in the queue.
func (p *placement) handsOver(j, x int) bool {
	job := &p.jobs[j]
	return job.runner == x && p.moves(j) && len(job.queue) > 1 && int(job.queue[1]) == job.target
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
