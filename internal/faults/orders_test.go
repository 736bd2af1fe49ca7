//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// Orders at random by two operators at once, one of whom may die in the middle of what
// it does, while nodes are killed, frozen and cut off, and jobs fail, finish, are prepared
// and save. What happens is drawn from the seed, which is the name of the test. To repeat
// one:
//
//	go test ./internal/faults -run TestOrders -seed 1234 -v
func TestOrders(t *testing.T) {
	t.Parallel()
	for _, seed := range mixSeeds(times(1, 20)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { orders(t, seed) })
	}
}

func orders(t *testing.T, seed uint64) {
	draw := rand.New(rand.NewPCG(seed, 0))
	o := options{lively: true, jobs: 4 + draw.IntN(4), nodes: 3, balance: draw.IntN(3) > 0}
	t.Logf("%d jobs, balance %v", o.jobs, o.balance)
	w := newWorld(t, newCluster(t, 3, nil), o)
	v := newLives(w, seed)
	w.startAll()
	v.setCalm(false)
	until := time.Now().Add(time.Duration(times(9, 40)) * time.Second)
	var wg sync.WaitGroup
	actor := func(who string, stream uint64, pause time.Duration, act func(*mixer)) {
		m := &mixer{w, rand.New(rand.NewPCG(seed, stream)), who, until, true}
		wg.Go(func() {
			for m.pause(pause) && !t.Failed() {
				act(m)
			}
		})
	}
	for i, n := range w.nodes {
		actor(n.name, uint64(1+i), 16*time.Second, func(m *mixer) { v.troubled(n.name, func() { m.breakNode(i) }) })
	}
	actor("etcd", 100, 30*time.Second, func(m *mixer) { v.troubled("", m.breakETCD) })
	for i := range 2 {
		hand := &hand{lives: v, name: fmt.Sprint("operator-", i)}
		defer hand.die()
		actor(hand.name, uint64(200+i), time.Second, hand.order)
	}
	wg.Wait()
	v.setCalm(true)
	w.etcdLeader(nil)
	last := &hand{lives: v, name: "the last operator"}
	defer last.die()
	last.takeAllBack()
	w.awaitRunning()
	if w.balance {
		last.moveAll()
	}
	world := w.hold(time.Hour, true) // which is to say that gaps are not judged: jobs are paused
	v.judge(world)
}

// judge asks the oracles of lives.
func (v *lives) judge(world verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	paused, pauses := v.ranPaused(world.runs)
	cold, moves := v.movedCold(world.runs)
	again, done := v.ranDone(world.runs)
	v.t.Logf("%d orders, %d saves confirmed; %d pauses, %d planned moves and %d jobs that were done judged", len(v.given), v.confirmed, pauses, moves, done)
	require.Empty(v.t, v.refused, "O5: leaders that may not save")
	require.Empty(v.t, v.lost(), "O5")
	require.Empty(v.t, paused, "O6")
	require.Empty(v.t, cold, "O7")
	require.Empty(v.t, again, "O8")
	require.NotZero(v.t, v.confirmed)
	require.Equal(v.t, v.balance, moves > 0)
}

// hand is who gives orders.
type hand struct {
	*lives
	name     string
	operator *distributed.Operator // nil if he has not come yet, or has died
}

// come returns an operator, if there can be one now.
func (h *hand) come(ctx context.Context) *distributed.Operator {
	if h.operator == nil {
		h.operator, _ = distributed.NewOperator(ctx, h.app, distributed.NewETCDLeaseProvider(h.cluster.client.Endpoints()))
	}
	return h.operator
}

// die leaves what was ordered as it is.
func (h *hand) die() {
	if h.operator != nil {
		_ = h.operator.Close() // it may have calls under way
		h.operator = nil
	}
}

// order gives an order, and dies now and then before he knows what becomes of it.
func (h *hand) order(m *mixer) {
	dies := m.IntN(8) == 0
	patience := 2 * time.Second
	if dies {
		patience = m.upTo(20 * time.Millisecond)
	}
	opening, cancel := context.WithTimeout(m.ctx, 2*time.Second)
	defer cancel()
	o := h.come(opening)
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	if standing := o.Orders(); m.IntN(6) < len(standing) {
		h.takeBack(ctx, o, standing[m.IntN(len(standing))])
	} else {
		h.give(ctx, m, o)
	}
	if dies {
		h.die()
	}
}

// give gives an order about a job and a node.
func (h *hand) give(ctx context.Context, m *mixer, o *distributed.Operator) {
	n := distributed.Note{By: h.name, Why: "to see what happens"}
	g := given{job: m.jobNames[m.IntN(len(m.jobNames))], node: m.nodes[m.IntN(len(m.nodes))].name}
	orders := []struct {
		name string
		give func() error
	}{
		{"pause", func() error { return o.Pause(ctx, g.job, n) }},
		{"pause", func() error { return o.Pause(ctx, g.job, n) }},
		{"pause all", func() error { return o.PauseAll(ctx, n) }},
		{"move", func() error { return o.Move(ctx, g.job, g.node, n) }},
		{"move", func() error { return o.Move(ctx, g.job, g.node, n) }},
		{"pin", func() error { return o.Pin(ctx, g.job, g.node, n) }},
		{"drain", func() error { return o.Drain(ctx, g.node, n) }},
		{"resign", func() error { return o.Resign(ctx, g.job, n) }},
		{"resign", func() error { return o.Resign(ctx, g.job, n) }},
		{"forget", func() error { return o.Forget(ctx, g.job) }},
		{"forget", func() error { return o.Forget(ctx, g.job) }},
	}
	order := orders[m.IntN(len(orders))]
	g.order = order.name
	h.noted(g, order.give)
}

// takeBack undoes an order, if that can be.
func (h *hand) takeBack(ctx context.Context, o *distributed.Operator, order distributed.Order) {
	g := given{job: order.Job, node: order.Instance}
	switch {
	case order.Kind == distributed.OrderPause && order.Job == "":
		g.order = "resume all"
		h.noted(g, func() error { return o.ResumeAll(ctx) })
	case order.Kind == distributed.OrderPause:
		g.order = "resume"
		h.noted(g, func() error { return o.Resume(ctx, order.Job) })
	case order.Kind == distributed.OrderDrain:
		g.order = "undrain"
		h.noted(g, func() error { return o.Undrain(ctx, order.Instance) })
	case order.Kind != distributed.OrderResign: // which has been carried out
		g.order = "unpin"
		h.noted(g, func() error { return o.Unpin(ctx, order.Job) })
	}
}

// noted gives an order, and takes down what comes of it.
func (h *hand) noted(g given, give func() error) {
	g.from = monotonic()
	g.err = give()
	g.to = monotonic()
	h.note(g)
	h.t.Logf("%8v %s: %s of %s, %s: %v", (g.from - h.began).Round(time.Millisecond), h.name, g.order, g.job, g.node, g.err)
	if errors.Is(g.err, distributed.ErrInvalidConfig) {
		h.t.Errorf("%s: %v", g.order, g.err)
	}
}

// takeAllBack has nothing ordered any more, and nothing on record against any job.
func (h *hand) takeAllBack() {
	h.await("nothing is ordered any more", func() bool {
		ctx, cancel := context.WithTimeout(h.ctx, 5*time.Second)
		defer cancel()
		o := h.come(ctx)
		if o == nil {
			return false
		}
		all := o.Orders()
		for _, order := range all {
			h.takeBack(ctx, o, order)
		}
		for _, job := range h.allJobs() {
			g := given{order: "forget", job: job, from: monotonic()}
			g.err = o.Forget(ctx, job) // it may have nothing on record, or pauses for a while
			g.to = monotonic()
			h.note(g)
		}
		return h.nothingIsDone() && !slices.ContainsFunc(all, func(o distributed.Order) bool { return o.Kind != distributed.OrderResign })
	})
}

// moveAll moves each job to another node, and waits for that. One that was just on its
// way elsewhere has to be moved again: by then it has another leader than the order is
// about.
func (h *hand) moveAll() {
	to := map[string]string{}
	for job, last := range h.holders() {
		i := slices.IndexFunc(h.nodes, func(n *node) bool { return n.name == last.node })
		to[job] = nodeName((i + 1) % len(h.nodes))
	}
	began, ordered := time.Now(), time.Time{}
	h.await("all jobs run where they were moved to", func() bool {
		elsewhere := slices.DeleteFunc(h.allJobs(), func(job string) bool {
			last, _ := h.register.holder(job)
			return last.node == to[job]
		})
		if time.Since(ordered) > 2*h.ttl {
			for _, job := range elsewhere {
				h.noted(given{order: "move", job: job, node: to[job]}, func() error {
					return h.operator.Move(h.ctx, job, to[job], distributed.Note{By: h.name})
				})
			}
			ordered = time.Now()
		}
		return len(elsewhere) == 0
	})
	h.t.Logf("all jobs were moved within %v", time.Since(began).Round(time.Millisecond))
}
