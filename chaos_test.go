package distributed_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

var chaosSeed = flag.Uint64("chaos", 0, "the seed of a chaos test to repeat; 0 for new ones")

// Whatever happens to the nodes, no job runs twice at once, and its tokens rise
// (service sees to both); nothing that was saved is lost or taken back; and when the trouble is over, all jobs run again. The
// name of the test that fails ends in its seed.
func TestNoJobRunsTwiceAtOnceWhateverHappensAndInTheEndAllRunAgain(t *testing.T) {
	seeds := []uint64{*chaosSeed}
	if *chaosSeed == 0 {
		seeds = nil
		for range 10 {
			seeds = append(seeds, 1+rand.Uint64())
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &chaos{service: newService(t), rand: rand.New(rand.NewPCG(seed, 0)), nodes: make([]*executing, 4)}
				c.saves.confirmed = map[string]int{}
				for range 300 {
					c.step()
				}
				c.calm()
			})
		})
	}
}

// chaos is four nodes that share six jobs, and what may happen to them.
type chaos struct {
	*service
	rand  *rand.Rand
	nodes []*executing // nil or ended where there is none at the moment
	saves struct {
		mu        sync.Mutex
		confirmed map[string]int // by job: the last number whose Save has returned nil
	}
}

const chaosJobs = 6

func (c *chaos) step() {
	i := c.rand.IntN(len(c.nodes))
	instance := string(rune('a' + i))
	switch c.rand.IntN(12) {
	case 0:
		c.hub.Expire(instance)
	case 1, 2:
		c.hub.RemoveCandidate("app", fmt.Sprint(c.rand.IntN(chaosJobs)), instance)
	case 3:
		c.hub.Refuse(instance, errAway)
	case 4:
		c.hub.Refuse(instance, nil)
	case 5:
		c.hub.Refuse("", []error{errAway, nil}[c.rand.IntN(2)])
	case 6:
		c.hub.SetDelay(time.Duration(c.rand.IntN(2)) * c.upTo(4*time.Second))
	case 7:
		if c.nodes[i] != nil {
			c.nodes[i].stop(errShutdown)
		}
	case 8, 9:
		c.restart(i, instance)
	default:
		time.Sleep(c.upTo(20 * time.Second))
	}
	if c.rand.IntN(3) == 0 {
		time.Sleep(c.upTo(time.Second))
	}
}

// upTo mostly returns short times.
func (c *chaos) upTo(limit time.Duration) time.Duration {
	return time.Duration(c.rand.Int64N(1 + c.rand.Int64N(int64(limit))))
}

// restart starts the node, unless it still runs.
func (c *chaos) restart(i int, instance string) {
	if c.nodes[i] != nil && !c.nodes[i].returned() {
		return
	}
	if c.nodes[i] != nil {
		require.NoError(c.t, c.nodes[i].result())
	}
	var opts []distributed.ProcessorOption
	if c.rand.IntN(2) == 0 {
		opts = append(opts, distributed.WithJobQuota(2+c.rand.IntN(chaosJobs)))
	}
	if timeout := time.Second + c.upTo(time.Minute); c.rand.IntN(2) == 0 {
		opts = append(opts, distributed.WithVoluntaryTimeout(func(string) time.Duration { return timeout }))
	}
	if delay := c.upTo(10 * time.Second); c.rand.IntN(2) == 0 {
		opts = append(opts, distributed.WithStartDelay(func(string) time.Duration { return delay }))
	}
	c.nodes[i] = c.executeAs(c.t.Context(), instance, jobs(chaosJobs, c.work(c.upTo(2*time.Second), time.Second+c.upTo(time.Hour))), opts...)
}

// work is one that behaves: it stops well within the grace period. Sometimes it
// returns by itself, and sometimes it fails. It saves a number that rises, and finds
// at least what was saved last.
func (c *chaos) work(stopping, lasting time.Duration) func(context.Context) error {
	fails := c.rand.IntN(3) == 0
	return func(ctx context.Context) error {
		l, _ := distributed.LeadershipFromContext(ctx)
		c.save(ctx, l)
		select {
		case <-ctx.Done():
			time.Sleep(stopping)
			return errors.Join(errBroken, ctx.Err()) // which must not matter
		case <-time.After(lasting):
			if !l.Valid() {
				c.t.Errorf("%q is led by a leadership that is not valid", l.Name())
			}
			c.save(ctx, l)
			if fails {
				return errBroken
			}
			return nil
		}
	}
}

// save counts up what is saved for a job.
func (c *chaos) save(ctx context.Context, l *distributed.Leadership) {
	data, err := l.Saved(ctx)
	if err != nil {
		return // the leadership is lost, or the store away
	}
	number, _ := strconv.Atoi(string(data))
	c.saves.mu.Lock()
	least := c.saves.confirmed[l.Name()]
	c.saves.mu.Unlock()
	if number < least {
		c.t.Errorf("%q finds %d, although %d was saved", l.Name(), number, least)
	}
	if l.Save(ctx, strconv.AppendInt(nil, int64(number+1), 10)) != nil {
		return
	}
	c.saves.mu.Lock()
	defer c.saves.mu.Unlock()
	c.saves.confirmed[l.Name()] = max(c.saves.confirmed[l.Name()], number+1)
}

// calm ends the trouble, and requires that all jobs run soon.
func (c *chaos) calm() {
	c.hub.SetDelay(0)
	c.hub.Refuse("", nil)
	for i := range c.nodes {
		c.hub.Refuse(string(rune('a'+i)), nil)
	}
	time.Sleep(time.Minute)
	for i := range c.nodes {
		c.restart(i, string(rune('a'+i)))
	}
	calm := time.Now()
	time.Sleep(10 * time.Minute)
	for i := range chaosJobs {
		last := c.last(fmt.Sprint(i))
		require.True(c.t, last.end.IsZero() || last.end.Sub(calm) > 8*time.Minute, "job %d runs again", i)
	}
	for _, n := range c.nodes {
		n.stop(errShutdown)
		require.NoError(c.t, n.result())
	}
	for i := range chaosJobs {
		require.Empty(c.t, c.hub.Candidates("app", fmt.Sprint(i)))
		require.NotEmpty(c.t, c.history(fmt.Sprint(i)))
	}
}
