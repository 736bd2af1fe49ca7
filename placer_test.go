package distributed

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What a placer has kept of other views makes no difference.
func TestAPlacerPlacesAsIfItHadSeenNothingBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := crowdedApp{
			jobs: rapid.IntRange(1, 60).Draw(t, "jobs"), nodes: rapid.IntRange(1, 8).Draw(t, "nodes"), zones: 2,
			weights: rapid.SampledFrom([]int{1, 3}).Draw(t, "weights"), preferring: rapid.SampledFrom([]int{0, 50}).Draw(t, "preferring"),
			lists: rapid.IntRange(1, 2).Draw(t, "lists"), capacities: rapid.Bool().Draw(t, "capacities"),
			versions: rapid.IntRange(1, 2).Draw(t, "versions"), skew: 1, waiting: 3,
		}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		v := c.view(random)
		var r placer
		for range 12 {
			require.Equal(t, describe(place(v)), describe(r.place(v)))
			v = another(v, c, random)
		}
	})
}

// another returns a view that shares with v what is the same.
func another(v *View, c crowdedApp, random *rand.Rand) *View {
	next := *v
	other := c.view(random)
	switch random.IntN(12) {
	case 0:
		next.Nodes = other.Nodes // and other lists, as far as that matters
	case 1:
		next.Records = []JobRecord{{Job: jobName(random.IntN(c.jobs)), Done: true}}
	case 2:
		next.Orders = []Order{{Kind: OrderMove, Job: jobName(random.IntN(c.jobs)), Instance: nodeName(0)}}
	case 3:
		next.Orders = nil
	case 4:
		next.Self = nodeName(random.IntN(c.nodes))
	case 5: // nobody has this job
		next.Jobs = append(slices.Clone(v.Jobs), JobView{Name: "job-zzz", Queue: []CandidateView{{Node: nodeName(0)}}})
	default:
		next.Jobs = slices.Clone(v.Jobs)
		for i := range next.Jobs {
			if job := &next.Jobs[i]; random.IntN(4) == 0 {
				job.Led = random.IntN(4) > 0
				job.Queue = append(slices.Clone(job.Queue[len(job.Queue)/2:]), CandidateView{Node: nodeName(random.IntN(c.nodes + 1))})
			}
		}
		next.Jobs = slices.DeleteFunc(next.Jobs, func(JobView) bool { return random.IntN(8) == 0 })
	}
	return &next
}

func jobName(i int) string { return fmt.Sprintf("job-%06d", i) }

// describe returns what a placement says of each job.
func describe(p *placement) (said []string) {
	for j := range p.jobs {
		job := &p.jobs[j]
		said = append(said, fmt.Sprint(*job.JobInfo, job.weight, job.queue, job.waiting, job.led, job.done, job.warming, job.runner, job.target, job.standby, job.unmet, job.order, job.reason))
	}
	return said
}
