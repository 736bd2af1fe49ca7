package distributed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// crowdedApp is a view as bad as numbers drawn from a source make it.
type crowdedApp struct {
	jobs, nodes, zones int
	weights            int // 1 to so many
	preferring         int // of a hundred jobs
	avoiding           int // likewise
	lists              int
	capacities         bool
	versions           int
	skew               float64 // how unevenly the jobs run: 0 evenly, from 1 on most of them on one node
	waiting            int     // candidates of a job at most
	draining           int     // of a hundred nodes
}

func (c crowdedApp) view(random *rand.Rand) *View {
	lists := make([][]JobInfo, c.lists)
	for l := range lists {
		lists[l] = []JobInfo{}
	}
	v := &View{}
	zone := func() string { return fmt.Sprint("zone=", random.IntN(c.zones)) }
	for i := range c.jobs {
		job := JobInfo{Name: jobName(i), Weight: 1 + random.IntN(c.weights)}
		if random.IntN(100) < c.preferring {
			job.Prefer = []string{zone()}
		} else if random.IntN(100) < c.avoiding {
			job.Avoid = []string{zone()}
		}
		for l := range lists {
			if l == 0 || random.IntN(4) > 0 {
				lists[l] = append(lists[l], job)
			}
		}
		queue := JobView{Name: job.Name, Led: true}
		for token := range random.IntN(c.waiting + 1) {
			node := int(float64(c.nodes) * math.Pow(random.Float64(), 1+4*c.skew))
			queue.Queue = append(queue.Queue, CandidateView{Node: nodeName(node), Token: int64(token)})
		}
		if len(queue.Queue) > 0 {
			v.Jobs = append(v.Jobs, queue)
		}
	}
	for x := range c.nodes {
		n := NodeView{ID: nodeName(x), NodeInfo: NodeInfo{
			Version: fmt.Sprint("v", random.IntN(c.versions)), Started: time.Unix(int64(random.IntN(c.nodes)), 0),
			Labels: map[string]string{"zone": fmt.Sprint(random.IntN(c.zones))}, Jobs: lists[random.IntN(c.lists)],
			Draining: random.IntN(100) < c.draining,
		}}
		if c.capacities {
			n.Capacity = 1 + random.IntN(2*c.jobs/c.nodes+1)
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}

func nodeName(x int) string { return fmt.Sprintf("node-%03d", x) }

// stepsAtMost is what a placement may take.
func stepsAtMost(v *View, p *placement) int {
	candidates, listed := 0, 0
	for i := range v.Jobs {
		candidates += len(v.Jobs[i].Queue)
	}
	for _, n := range v.Nodes {
		listed += len(n.Jobs)
	}
	return 32*len(p.nodes)*(len(p.jobs)+len(p.nodes)) + candidates + listed
}

// Whatever jobs, nodes and queues are like, a placement takes a number of steps that
// grows with jobs times nodes.
func TestAPlacementTakesFewStepsWhateverThereIs(t *testing.T) {
	worst := 0.
	rapid.Check(t, func(t *rapid.T) {
		c := crowdedApp{
			jobs: rapid.IntRange(1, 400).Draw(t, "jobs"), nodes: rapid.IntRange(1, 24).Draw(t, "nodes"),
			zones: rapid.IntRange(1, 6).Draw(t, "zones"), weights: rapid.SampledFrom([]int{1, 2, 100, maxWeight}).Draw(t, "weights"),
			preferring: rapid.IntRange(0, 100).Draw(t, "preferring"), avoiding: rapid.IntRange(0, 100).Draw(t, "avoiding"),
			lists: rapid.IntRange(1, 4).Draw(t, "lists"), capacities: rapid.Bool().Draw(t, "capacities"),
			versions: rapid.IntRange(1, 3).Draw(t, "versions"), skew: rapid.Float64Range(0, 2).Draw(t, "skew"),
			waiting: rapid.IntRange(0, 6).Draw(t, "waiting"), draining: rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "draining"),
		}
		v := c.view(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		p := place(v)
		share := float64(p.steps) / float64(stepsAtMost(v, p))
		worst = max(worst, share)
		if share > 1 {
			t.Fatalf("%d steps for %d jobs on %d nodes, %.1f times what is allowed", p.steps, len(p.jobs), len(p.nodes), share)
		}
	})
	t.Logf("at worst %.2f of the steps that are allowed", worst)
}

// Ten times the jobs take ten times the steps, or little more, in states of which each
// was bad for some way to place jobs.
func TestStepsGrowWithTheNumberOfJobs(t *testing.T) {
	for name, c := range badStates {
		steps := func(jobs int) float64 {
			c := c
			c.jobs = jobs
			return float64(place(c.view(rand.New(rand.NewPCG(1, 2)))).steps)
		}
		c.nodes = 50
		growth := math.Log10(steps(20_000) / steps(2000))
		t.Logf("%s: jobs to the power of %.2f", name, growth)
		if growth > 1.15 {
			t.Errorf("%s: steps grow with jobs to the power of %.2f", name, growth)
		}
	}
}

var badStates = map[string]crowdedApp{
	"at rest":            {zones: 1, weights: 1, lists: 1, versions: 1, waiting: 2},
	"all on a few":       {zones: 1, weights: 1, lists: 1, versions: 1, waiting: 2, skew: 3},
	"two zones":          {zones: 2, weights: 1, preferring: 70, lists: 1, versions: 1, waiting: 2, skew: 1},
	"many zones":         {zones: 10, weights: 1, preferring: 50, avoiding: 50, lists: 1, versions: 1, waiting: 3, skew: 1},
	"weights":            {zones: 1, weights: maxWeight, lists: 1, versions: 1, waiting: 2, skew: 1},
	"zones and weights":  {zones: 5, weights: 100, preferring: 70, lists: 1, versions: 1, waiting: 2, skew: 1},
	"lists and versions": {zones: 2, weights: 1, preferring: 20, lists: 4, versions: 2, waiting: 4, skew: 1},
	"little room":        {zones: 3, weights: 9, preferring: 50, avoiding: 20, lists: 2, capacities: true, versions: 1, waiting: 2, skew: 2},
	"all wait for all":   {zones: 2, weights: 1, preferring: 30, lists: 1, versions: 1, waiting: 30},
	"nobody waits":       {zones: 2, weights: 3, preferring: 70, lists: 1, versions: 1, waiting: 0},
}

func BenchmarkPlacementOfBadStates(b *testing.B) {
	for name, c := range badStates {
		for _, size := range []struct{ jobs, nodes int }{{10_000, 50}, {100_000, 100}} {
			b.Run(fmt.Sprintf("%s/jobs=%d/nodes=%d", name, size.jobs, size.nodes), func(b *testing.B) {
				c.jobs, c.nodes = size.jobs, size.nodes
				v := c.view(rand.New(rand.NewPCG(1, 2)))
				b.ReportAllocs()
				var p *placement
				for b.Loop() {
					p = place(v)
				}
				b.ReportMetric(float64(p.steps), "steps/op")
			})
		}
	}
}
