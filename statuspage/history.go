package statuspage

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed"
)

// What a page remembers is bounded.
const (
	maxMoves      = 100
	maxGone       = 32               // nodes that have left
	maxColors     = 1024             // instances with a color of their own
	palette       = 8                // colors in the style sheet
	rememberNodes = time.Minute      // after they have left
	rememberJobs  = 10 * time.Minute // after they were led last
)

// history is what a page has seen of its app, so far as it needs that to tell
// since when and from where to where.
type history struct {
	mu     sync.Mutex
	round  int
	view   *distributed.View    // taken in last
	counts map[string]tally     // by node ID; none that is 0
	terms  map[string]*term     // of jobs that are led
	vacant map[string]vacancy   // of jobs that were
	nodes  map[string]seenNode  // of the last view, by ID
	buried map[string]string    // likewise
	gone   []goneNode           // oldest first
	heard  map[string]time.Time // when a node was heard of last, by ID
	sign   time.Time            // when any was
	moves  []move               // oldest first
	number int64                // of the last move
	colors map[string]int       // by instance
}

// tally is how many jobs a node leads, and waits for.
type tally struct{ leads, waits int }

// term is a leadership.
type term struct {
	node, instance string
	token          int64
	since          time.Time // zero if it led before the observer looked
}

// vacancy is a job that nobody leads any more.
type vacancy struct {
	term
	at    time.Time // when that was seen
	heard time.Time // when its leader was heard of last, if that fell silent; zero if not
}

type seenNode struct {
	distributed.NodeView
	round int
}

type goneNode struct {
	distributed.NodeView
	at time.Time
}

// departure is how a node went.
type departure string

const (
	wentLeft   departure = "left"   // by itself: it stopped, or knew that it had lost its lease
	wentSilent departure = "silent" // others have buried it: it crashed, was frozen or cut off
)

// move is a job that changed nodes.
type move struct {
	Number int64     `json:"number"` // rises by one each move
	At     time.Time `json:"at"`
	Job    string    `json:"job"`
	From   string    `json:"from"` // instance
	To     string    `json:"to"`   // likewise
	Token  int64     `json:"token"`
	Gap    *float64  `json:"gap_ms"` // null if the observer was cut off itself
	Lost   bool      `json:"lost"`   // the gap counts from the last sign of From
}

// follow keeps the history until ctx is done or the observer closed.
func (p *Page) follow(ctx context.Context) {
	for range p.observer.Views(ctx) {
		began := time.Now()
		p.history.look(p.observer, p.silence)
		// No more than a fifth of a processor for this.
		if !sleep(ctx, 4*time.Since(began)) {
			return
		}
	}
}

// listen notes when each node was heard of last: it is too late to ask when it
// has gone.
func (p *Page) listen(ctx context.Context) {
	for {
		p.history.listen(p.observer.Silence(), time.Now())
		if !sleep(ctx, listenEvery) {
			return
		}
	}
}

const listenEvery = 500 * time.Millisecond

// start takes in what there is when the page begins to look.
func (h *history) start(view *distributed.View, leaders []distributed.Leader, now time.Time) {
	h.counts, h.terms, h.vacant, h.nodes = map[string]tally{}, map[string]*term{}, map[string]vacancy{}, map[string]seenNode{}
	h.heard, h.sign, h.colors = map[string]time.Time{}, now, map[string]int{}
	h.moves, h.view = []move{}, new(distributed.View)
	h.take(view, time.Time{}, 0)
	for _, l := range leaders {
		if t := h.terms[l.Job]; t != nil && t.token == l.Token {
			t.since = l.Since
		}
	}
}

// look takes in what there is to see, if that is not done yet.
func (h *history) look(o *distributed.Observer, silence time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if view := o.View(); view != h.view {
		h.take(view, time.Now(), silence)
	}
}

// take takes in a view, seen at now. Jobs that are as in the view before are shared with
// it, and passed over.
func (h *history) take(view *distributed.View, now time.Time, silence time.Duration) {
	h.round++
	h.takeNodes(view, now)
	cutOff := now.Sub(h.sign) > silence
	before := h.view.Jobs
	for j := range view.Jobs {
		job := &view.Jobs[j]
		for len(before) > 0 && before[0].Name < job.Name {
			h.count(&before[0], -1)
			h.takeNobody(before[0].Name, now)
			before = before[1:]
		}
		if len(before) > 0 && before[0].Name == job.Name {
			was := &before[0]
			before = before[1:]
			if was.Led == job.Led && &was.Queue[0] == &job.Queue[0] {
				continue
			}
			h.count(was, -1)
		}
		h.count(job, +1)
		if job.Led {
			h.takeLeader(job, now, cutOff)
		} else {
			h.takeNobody(job.Name, now)
		}
	}
	for i := range before {
		h.count(&before[i], -1)
		h.takeNobody(before[i].Name, now)
	}
	h.view = view
}

// count counts a job, for the nodes that lead it and wait for it.
func (h *history) count(job *distributed.JobView, by int) {
	for q, c := range job.Queue {
		n := h.counts[c.Node]
		if q == 0 && job.Led {
			n.leads += by
		} else {
			n.waits += by
		}
		h.counts[c.Node] = n
		if n == (tally{}) {
			delete(h.counts, c.Node)
		}
	}
}

// takeNobody takes in that nobody leads job.
func (h *history) takeNobody(job string, now time.Time) {
	if t := h.terms[job]; t != nil {
		delete(h.terms, job)
		h.vacant[job] = h.vacate(t, now)
	}
}

func (h *history) takeNodes(view *distributed.View, now time.Time) {
	if len(h.colors) > maxColors {
		clear(h.colors)
	}
	h.buried = view.Buried
	var instances []string
	for _, n := range view.Nodes {
		h.nodes[n.ID] = seenNode{n, h.round}
		instances = append(instances, n.Instance)
	}
	slices.SortFunc(instances, natural) // or IDs, which are random, would give a name another color each time
	for _, instance := range instances {
		if _, ok := h.colors[instance]; !ok {
			h.colors[instance] = colorOf(instance, len(h.colors))
		}
	}
	for id, n := range h.nodes {
		if n.round != h.round {
			delete(h.nodes, id)
			h.gone = append(h.gone, goneNode{n.NodeView, now})
		}
	}
	h.gone = slices.DeleteFunc(h.gone, func(n goneNode) bool { return now.Sub(n.at) > rememberNodes })
	h.gone = h.gone[max(0, len(h.gone)-maxGone):]
}

// colorOf gives node-1 the first color wherever it is shown, and so on; a name without
// a number the next.
func colorOf(instance string, next int) int {
	number := instance[strings.LastIndexAny(instance, "-_.")+1:]
	if n, err := strconv.Atoi(number); err == nil && 0 < n && n < 1000 {
		return n - 1
	}
	return next
}

// departed tells how a node that has gone went.
func departed(id string, buried map[string]string) departure {
	if _, ok := buried[id]; ok {
		return wentSilent
	}
	return wentLeft
}

// takeLeader takes in the leader of job.
func (h *history) takeLeader(job *distributed.JobView, now time.Time, cutOff bool) {
	first := job.Queue[0]
	before := h.terms[job.Name]
	if before != nil && before.token == first.Token && before.node == first.Node {
		return
	}
	t := &term{node: first.Node, instance: h.nodes[first.Node].Instance, token: first.Token, since: now}
	h.terms[job.Name] = t
	v, vacated := h.vacant[job.Name]
	delete(h.vacant, job.Name)
	switch {
	case before != nil && cutOff:
		h.moved(before, t, move{At: now, Job: job.Name})
	case before != nil && departed(before.node, h.buried) == wentSilent:
		h.moved(before, t, move{At: now, Job: job.Name, Gap: milliseconds(now.Sub(h.heard[before.node])), Lost: true})
	case before != nil:
		h.moved(before, t, move{At: now, Job: job.Name, Gap: new(float64)})
	case vacated && !v.heard.IsZero():
		h.moved(&v.term, t, move{At: now, Job: job.Name, Gap: milliseconds(now.Sub(v.heard)), Lost: true})
	case vacated:
		h.moved(&v.term, t, move{At: now, Job: job.Name, Gap: milliseconds(now.Sub(v.at))})
	}
}

func milliseconds(d time.Duration) *float64 {
	return new(float64(d.Microseconds()) / 1000)
}

// moved notes a move. Another term on the same node is none.
func (h *history) moved(from, to *term, m move) {
	if from.node == to.node {
		return
	}
	h.number++
	m.Number, m.From, m.To, m.Token = h.number, from.instance, to.instance, to.token
	h.moves = append(h.moves, m)
	h.moves = slices.Clone(h.moves[max(0, len(h.moves)-maxMoves):]) // pictures hold what there was
}

// vacate makes a vacancy of a term that is over.
func (h *history) vacate(t *term, now time.Time) vacancy {
	v := vacancy{term: *t, at: now}
	if departed(t.node, h.buried) == wentSilent {
		v.heard = h.heard[t.node]
	}
	return v
}

// listen takes in for how long each node has been silent, and forgets what is old.
func (h *history) listen(silence map[string]time.Duration, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, d := range silence {
		h.heard[id] = now.Add(-d)
		if h.heard[id].After(h.sign) {
			h.sign = h.heard[id]
		}
	}
	for id, at := range h.heard {
		if now.Sub(at) > rememberJobs {
			delete(h.heard, id)
		}
	}
	for job, v := range h.vacant {
		if now.Sub(v.at) > rememberJobs {
			delete(h.vacant, job)
		}
	}
}

// sleep waits for d, and reports false if ctx is done before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
