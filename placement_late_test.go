package distributed

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Some nodes see what the others do at once, and others a few turns later, as when there
// is too little processor for all of them. Each counts as if it were up to date.
func TestJobsMoveOnceThoughViewsComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp(2000)
		for range 20 {
			a.join()
		}
		a.run(t, 1000)
		for range 10 {
			a.join()
		}
		moves, turns := a.runLate(t)
		require.Equal(t, 660, moves, "what the ten need, and nothing else")
		require.Less(t, turns, 45)
	})
}

// runLate lets all nodes act at the same time, on views of up to two turns before, until
// nothing happens any more.
func (a *app) runLate(t *testing.T) (moves, turns int) {
	seats := map[string]map[string]*seat{}
	for id := range a.nodes {
		seats[id] = map[string]*seat{}
		for _, job := range a.jobs {
			seats[id][job.Name] = new(seat)
			if slices.Contains(a.queues[job.Name], id) {
				seats[id][job.Name].standing = new(standingOrder)
			}
		}
	}
	var views []*View
	for still := 0; still < 4; turns++ {
		require.Less(t, turns, 200, "no end of it")
		views = append(views, a.view())
		changes := 0
		for id := range a.nodes {
			lag := int(nameHash(id) % 3)
			moved, changed := a.actLate(id, place(views[max(0, len(views)-1-lag)]), seats[id])
			moves += moved
			changes += moved + changed
		}
		if still++; changes > 0 {
			still = 0
		}
	}
	return moves, turns
}

// actLate is act for a node that remembers what it did last.
func (a *app) actLate(id string, p *placement, seats map[string]*seat) (moved, changed int) {
	p.self = int(p.index[id])
	limit := p.limit()
	due := p.due(limit, true)
	for j, wanted := range p.part(due, limit, true) {
		name := p.jobs[j].Name
		s, leads := seats[name], slices.Index(a.queues[name], id) == 0
		switch {
		case !p.showsSeat(j, s):
		case leads && due[j] && p.handsOver(j, p.self):
			s.standing, s.changed = nil, new(time.Now())
			a.withdraw(name, id)
			moved++
		case s.standing != nil && !leads && !wanted:
			s.standing, s.changed = nil, new(time.Now())
			a.withdraw(name, id)
			changed++
		case s.standing == nil && wanted:
			s.standing, s.changed = new(standingOrder), new(time.Now())
			a.queues[name] = append(a.queues[name], id)
			changed++
		}
	}
	return moved, changed
}
