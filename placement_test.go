package distributed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// app is a state from which views are made.
type app struct {
	jobs   []JobInfo
	nodes  map[string]*NodeInfo
	queues map[string][]string
	joined int
}

func newApp(jobs int) *app {
	a := &app{nodes: map[string]*NodeInfo{}, queues: map[string][]string{}}
	for i := range jobs {
		a.jobs = append(a.jobs, JobInfo{Name: fmt.Sprintf("job-%05d", i), Weight: 1})
	}
	return a
}

func (a *app) join(change ...func(*NodeInfo)) (id string) {
	a.joined++
	id = fmt.Sprintf("node-%03d", a.joined)
	a.nodes[id] = &NodeInfo{Version: "v1", Started: time.Unix(int64(a.joined), 0), Jobs: a.jobs}
	for _, c := range change {
		c(a.nodes[id])
	}
	return id
}

// leave is a crash or a stop: the node's candidates go with it.
func (a *app) leave(id string) {
	delete(a.nodes, id)
	for job := range a.queues {
		a.withdraw(job, id)
	}
}

func (a *app) withdraw(job, id string) {
	a.queues[job] = slices.DeleteFunc(a.queues[job], func(n string) bool { return n == id })
	if len(a.queues[job]) == 0 {
		delete(a.queues, job)
	}
}

func (a *app) view() *View {
	v := &View{}
	for id, info := range a.nodes {
		v.Nodes = append(v.Nodes, NodeView{ID: id, Instance: id, NodeInfo: *info})
	}
	slices.SortFunc(v.Nodes, func(x, y NodeView) int { return compareStrings(x.ID, y.ID) })
	for name, queue := range a.queues {
		job := JobView{Name: name, Led: true}
		for i, id := range queue {
			job.Queue = append(job.Queue, CandidateView{Node: id, Token: int64(i)})
		}
		v.Jobs = append(v.Jobs, job)
	}
	slices.SortFunc(v.Jobs, func(x, y JobView) int { return compareStrings(x.Name, y.Name) })
	return v
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// act lets a node do what a view tells it, and returns how many jobs it stood
// for, withdrew from, and handed over.
func (a *app) act(id string, p *placement, limit int) (stood, withdrew, moved int) {
	x := slices.IndexFunc(p.nodes, func(n placedNode) bool { return n.ID == id })
	p.self = x
	due := p.due(limit, true)
	for j, wanted := range p.part(due, limit, true) {
		name := p.jobs[j].Name
		queue := a.queues[name]
		in, leads := slices.Contains(queue, id), len(queue) > 0 && queue[0] == id
		switch {
		case leads && due[j] && p.handsOver(j, x):
			a.withdraw(name, id)
			moved++
		case in && !leads && !wanted:
			a.withdraw(name, id)
			withdrew++
		case !in && wanted:
			a.queues[name] = append(a.queues[name], id)
			stood++
		}
	}
	return stood, withdrew, moved
}

// run lets all nodes act in turn, each on a fresh view, until nothing happens
// any more, and returns the moves.
func (a *app) run(t require.TestingT, limit int) (moves int) {
	for range 10_000 {
		changes := 0
		for id := range a.nodes {
			stood, withdrew, moved := a.act(id, place(a.view()), limit)
			changes += stood + withdrew + moved
			moves += moved
		}
		if changes == 0 {
			return moves
		}
	}
	require.Fail(t, "no end of it")
	return moves
}

func (a *app) loads() map[string]int {
	loads := map[string]int{}
	for id := range a.nodes {
		loads[id] = 0
	}
	weights := map[string]int{}
	for _, j := range a.jobs {
		weights[j.Name] = max(j.Weight, 1)
	}
	for job, queue := range a.queues {
		loads[queue[0]] += weights[job]
	}
	return loads
}

func spreadOf(loads map[string]int) (least, most int) {
	least = math.MaxInt
	for _, n := range loads {
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

// leastMoves is how many moves make loads even, whatever is done.
func leastMoves(loads map[string]int) int {
	jobs := 0
	for _, n := range loads {
		jobs += n
	}
	floor := jobs / len(loads)
	ceil := floor
	if jobs%len(loads) > 0 {
		ceil++
	}
	above, below := 0, 0
	for _, n := range loads {
		above += max(0, n-ceil)
		below += max(0, floor-n)
	}
	return max(above, below)
}

// Nodes come and go; each time the jobs end up even, with the fewest moves, one
// standby a job, and a node that goes leaves nothing to move behind it.
func TestPlacementIsEvenAndMovesTheLeast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newApp(rapid.IntRange(1, 60).Draw(t, "jobs"))
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		a.join()
		for range rapid.IntRange(1, 12).Draw(t, "changes") {
			joined := len(a.nodes) < 2 || len(a.nodes) < 8 && rapid.Bool().Draw(t, "join")
			if joined {
				a.join()
			} else {
				ids := a.view().Nodes
				a.leave(rapid.SampledFrom(ids).Draw(t, "leaves").ID)
			}
			least := 0
			if joined {
				least = leastMoves(a.loads())
			}
			moves := a.run(t, limit)
			if a.joined > 2 { // before, nothing ran anywhere
				require.Equal(t, least, moves)
			}
			lo, hi := spreadOf(a.loads())
			require.LessOrEqual(t, hi-lo, 1)
			for _, job := range a.jobs {
				require.Len(t, a.queues[job.Name], min(2, len(a.nodes)), "a runner and a standby")
			}
			require.Zero(t, a.run(t, limit), "it is steady")
		}
	})
}

// A node that joins gets its share of jobs to run, and of jobs to wait for, and nothing
// on the way there but that.
func TestANodeThatJoinsDoesNotStirUpTheOthers(t *testing.T) {
	a := newApp(600)
	for range 10 {
		a.join()
	}
	a.run(t, 1<<30)
	a.join()
	stood, withdrew, moved := 0, 0, 0
	for changes := 1; changes > 0; {
		changes = 0
		for id := range a.nodes {
			s, w, m := a.act(id, place(a.view()), 8)
			stood, withdrew, moved, changes = stood+s, withdrew+w, moved+m, changes+s+w+m
		}
	}
	require.Equal(t, 600/11, moved)
	t.Logf("%d moves: %d candidates came, %d withdrew", moved, stood, withdrew)
	require.LessOrEqual(t, stood, 4*moved, "who is to run a job, who waits for it then, and who waits for others")
	require.LessOrEqual(t, withdrew, 3*moved)
}

// A job that is to get another standby has the old one until the new one is there.
func TestAJobIsNeverWithoutAStandby(t *testing.T) {
	a := newApp(100)
	for range 4 {
		a.join()
	}
	a.run(t, 8)
	a.join()
	a.join(func(n *NodeInfo) { n.Version = "v2" })
	for changes := 1; changes > 0; {
		changes = 0
		for id := range a.nodes {
			before := map[string][]string{}
			for job, queue := range a.queues {
				before[job] = slices.Clone(queue)
			}
			stood, withdrew, moved := a.act(id, place(a.view()), 8)
			changes += stood + withdrew + moved
			for job, queue := range a.queues {
				was := before[job]
				require.True(t, len(queue) > 1 || len(was) < 2 || was[0] != queue[0], "%s: %v, then %v", job, was, queue)
			}
		}
	}
}

// No node gives away or gets more than so many at a time.
func TestMovesAreBoundedByNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := crowdedApp{
			jobs: 200, nodes: rapid.IntRange(2, 12).Draw(t, "nodes"), zones: 2, weights: 2, preferring: 20, lists: 1,
			versions: rapid.IntRange(1, 2).Draw(t, "versions"), skew: 1, waiting: 3, draining: 20,
		}
		p := place(c.view(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))))
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		unready := rapid.IntRange(0, 199).Draw(t, "unready")
		p.jobs[unready].led = false
		for _, settled := range []bool{true, false} {
			from, to := map[int]int{}, map[int]int{}
			if x := p.jobs[unready].runner; x != none {
				to[x]++
			}
			for j, due := range p.due(limit, settled) {
				if due {
					require.True(t, p.moves(j))
					require.True(t, settled || p.jobs[j].reason == leaves)
					from[p.jobs[j].runner]++
					to[p.jobs[j].target]++
				}
			}
			for x := range p.nodes {
				require.LessOrEqual(t, from[x], limit)
				require.LessOrEqual(t, to[x], limit)
			}
		}
	})
}

// Nodes act on views that are out of date, in any order, while nodes come and go.
// Whatever mess that makes, it ends evenly once views catch up.
func TestPlacementConvergesFromAnyState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newApp(rapid.IntRange(1, 30).Draw(t, "jobs"))
		limit := rapid.IntRange(1, 8).Draw(t, "limit")
		version := func(n *NodeInfo) { n.Version = rapid.SampledFrom([]string{"v1", "v2"}).Draw(t, "version") }
		a.join()
		a.join()
		views := []*View{a.view()}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				if len(a.nodes) == 6 {
					t.Skip()
				}
				a.join(version)
			},
			"leave": func(t *rapid.T) {
				if len(a.nodes) == 1 {
					t.Skip()
				}
				a.leave(rapid.SampledFrom(a.view().Nodes).Draw(t, "node").ID)
			},
			"act": func(t *rapid.T) {
				v := rapid.SampledFrom(views).Draw(t, "view")
				id := rapid.SampledFrom(v.Nodes).Draw(t, "node").ID
				if a.nodes[id] == nil {
					t.Skip()
				}
				a.act(id, place(v), limit)
			},
			"": func(*rapid.T) {
				views = append(views, a.view())
				views = views[max(0, len(views)-5):]
			},
		})
		for _, n := range a.nodes {
			n.Version = "v2" // the rollout ends
		}
		a.run(t, limit)
		lo, hi := spreadOf(a.loads())
		require.LessOrEqual(t, hi-lo, 1)
		for _, job := range a.jobs {
			require.Len(t, a.queues[job.Name], min(2, len(a.nodes)))
		}
	})
}

// With weights, capacities, labels and different lists the loads cannot always
// be even. But what there is to do comes to an end, every job that can run does,
// and no capacity is exceeded.
func TestPlacementRunsWhatCanRun(t *testing.T) {
	labels := []string{"zone=a", "zone=b", "disk=ssd"}
	rapid.Check(t, func(t *rapid.T) {
		a := newApp(rapid.IntRange(1, 30).Draw(t, "jobs"))
		plain := true
		draw := func(what string) bool {
			drawn := rapid.IntRange(0, 3).Draw(t, what) == 0
			plain = plain && !drawn
			return drawn
		}
		for j := range a.jobs {
			a.jobs[j].Weight = rapid.IntRange(1, 9).Draw(t, "weight")
		}
		if draw("labels") {
			for j := range a.jobs {
				a.jobs[j].Prefer = rapid.SliceOfN(rapid.SampledFrom(labels), 0, 1).Draw(t, "prefer")
				a.jobs[j].Avoid = rapid.SliceOfN(rapid.SampledFrom(labels), 0, 1).Draw(t, "avoid")
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "nodes") {
			a.join(func(n *NodeInfo) {
				if draw("capacity") {
					n.Capacity = rapid.IntRange(1, 10).Draw(t, "capacity")
				}
				if draw("labelled") {
					n.Labels = map[string]string{"zone": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"), "disk": "ssd"}
				}
				if draw("fewer jobs") {
					n.Jobs = slices.Clone(a.jobs[:rapid.IntRange(0, len(a.jobs)).Draw(t, "first")])
				}
				n.Draining = draw("draining")
			})
			a.run(t, 3)
		}
		count, canTake := map[string]int{}, 0
		for job, queue := range a.queues {
			count[queue[0]]++
			info := a.jobs[slices.IndexFunc(a.jobs, func(j JobInfo) bool { return j.Name == job })]
			require.True(t, slices.ContainsFunc(a.nodes[queue[0]].Jobs, func(j JobInfo) bool { return j.Name == info.Name }))
		}
		heaviest := 0
		for _, j := range a.jobs {
			heaviest = max(heaviest, j.Weight)
		}
		for id, n := range a.nodes {
			if n.Capacity > 0 {
				require.LessOrEqual(t, count[id], n.Capacity)
			}
			if !n.Draining && n.Capacity == 0 {
				canTake = max(canTake, len(n.Jobs))
			}
		}
		require.GreaterOrEqual(t, len(a.queues), canTake)
		if lo, hi := spreadOf(a.loads()); plain {
			require.LessOrEqual(t, hi-lo, heaviest)
		}
	})
}

// A rollout restarts every node in turn with a new version. Jobs of the first
// node have to go to an old one and move again; the last node gets its share
// back; beyond that a job moves once.
func TestARolloutMovesAJobAboutOnce(t *testing.T) {
	for _, tc := range []struct{ jobs, nodes int }{{29, 3}, {300, 10}, {7, 5}, {100, 2}} {
		for _, chase := range []bool{true, false} { // moves between the restarts, or only after the last
			a := newApp(tc.jobs)
			var old []string
			for range tc.nodes {
				old = append(old, a.join())
			}
			a.run(t, 8)
			runners := a.runners()
			moves := 0
			count := func() {
				for job, now := range a.runners() {
					if runners[job] != now {
						moves++
					}
				}
				runners = a.runners()
			}
			for _, id := range old {
				a.leave(id)
				a.run(t, 0)
				count()
				a.join(func(n *NodeInfo) { n.Version = "v2" })
				limit := 0
				if chase {
					limit = 8
				}
				a.run(t, limit)
				count()
			}
			a.run(t, 8)
			count()
			lo, hi := spreadOf(a.loads())
			require.LessOrEqual(t, hi-lo, 1)
			share := (tc.jobs + tc.nodes - 1) / tc.nodes
			t.Logf("%d jobs, %d nodes, moves between restarts %v: %d moves, %.2f a job", tc.jobs, tc.nodes, chase, moves, float64(moves)/float64(tc.jobs))
			if chase {
				share += tc.jobs / 4 // new nodes get even with old ones first, and then what those have left
			}
			require.LessOrEqual(t, moves, tc.jobs+2*share)
		}
	}
}

func (a *app) runners() map[string]string {
	runners := map[string]string{}
	for job, queue := range a.queues {
		runners[job] = queue[0]
	}
	return runners
}

func BenchmarkPlacement(b *testing.B) {
	for _, nodes := range []int{3, 10, 50} {
		for state, stand := range map[string]func(*app){
			"steady": func(a *app) { a.run(b, 1<<30) },
			"joined": func(a *app) { a.run(b, 1<<30); a.join() },
		} {
			b.Run(fmt.Sprintf("jobs=10000/nodes=%d/%s", nodes, state), func(b *testing.B) {
				a := newApp(10_000)
				for range nodes {
					a.join()
				}
				stand(a)
				v := a.view()
				for b.Loop() {
					place(v)
				}
			})
		}
	}
}

// All nodes must come to the same conclusion, whatever they have computed before.
func TestPlacementDependsOnTheViewAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newApp(rapid.IntRange(1, 40).Draw(t, "jobs"))
		for range rapid.IntRange(1, 6).Draw(t, "nodes") {
			a.join(func(n *NodeInfo) {
				n.Capacity = rapid.IntRange(0, 20).Draw(t, "capacity")
				n.Version = rapid.SampledFrom([]string{"v1", "v2"}).Draw(t, "version")
			})
		}
		ids := a.view().Nodes
		for _, job := range a.jobs {
			for range rapid.IntRange(0, 3).Draw(t, "candidates") {
				id := rapid.SampledFrom(ids).Draw(t, "candidate").ID
				if !slices.Contains(a.queues[job.Name], id) {
					a.queues[job.Name] = append(a.queues[job.Name], id)
				}
			}
		}
		first := place(a.view())
		for _, n := range ids {
			v := a.view()
			v.Self = n.ID
			p := place(v)
			require.Equal(t, first.jobs, p.jobs)
		}
	})
}

func TestSumsOfWeightsDoNotOverflow(t *testing.T) {
	a := newApp(5000)
	for i := range a.jobs {
		a.jobs[i].Weight = maxWeight
	}
	id := a.join()
	for _, job := range a.jobs {
		a.queues[job.Name] = []string{id}
	}
	load := a.view().Plan().Loads[0]
	require.Equal(t, Load{Node: id, Instance: id, Jobs: 5000, Weight: 5_000_000_000, Planned: 5000, Expected: 5_000_000_000}, load)
}

// Each node that comes would have all others wait for other jobs, and the next would
// again.
func TestWhoWaitsStaysTheSameWhileNodesComeAndGo(t *testing.T) {
	a := newApp(200)
	for range 4 {
		a.join()
	}
	a.run(t, 1000)
	a.join()
	require.Zero(t, a.stirs(false), "a node has come")
	require.NotZero(t, a.stirs(true), "and no other")
	a.leave("node-001")
	require.InDelta(t, 100, a.stirs(false), 3, "50 jobs have nobody who waits any more, and 50 whose next has taken over")
}

// stirs returns for how many jobs nodes would begin or end to wait.
func (a *app) stirs(calm bool) (n int) {
	for id := range a.nodes {
		p := place(a.view())
		p.self = int(p.index[id])
		due := p.due(p.limit(), false)
		for j, wanted := range p.part(due, p.limit(), calm) {
			if wanted != p.waits(j, p.self) {
				n++
			}
		}
	}
	return n
}
