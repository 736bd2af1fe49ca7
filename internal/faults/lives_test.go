//go:build unix

package faults

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed/verify"
)

// lives decides what becomes of lively jobs, and judges what they tell. It has four
// oracles more than a world:
//
//   - O5: what a leader finds saved is what was confirmed last under an earlier token,
//     or was sent after that and not confirmed; and no later leader finds anything else,
//     unless a leader in between has saved;
//   - O6: a job that is paused runs nowhere, from when that can be known everywhere;
//   - O7: a job that has moved as planned is run next by who was prepared for it;
//   - O8: a job that is done runs nowhere until somebody forgets it.
type lives struct {
	*world

	mu        sync.Mutex
	draw      *rand.Rand
	calm      bool // nothing fails any more
	saves     map[string]*savings
	prepared  []preparation
	moved     map[string]map[int64]bool // by job and token
	finishing map[string]bool           // jobs whose Work was to finish when it was called last
	done      []finished
	refused   []string
	given     []given
	troubles  []trouble
	confirmed int
}

// savings are what the leaders of a job have saved, and found.
type savings struct {
	sent, confirmed map[saved]bool
	found           map[int64]saved // by the token of who found it
}

// saved names what was saved: the token, and which it was under that.
type saved struct{ token, number int64 }

func (s saved) compare(t saved) int {
	return cmp.Or(cmp.Compare(s.token, t.token), cmp.Compare(s.number, t.number))
}

// preparation is a Prepare that has returned nil.
type preparation struct {
	job, process string
	at           time.Duration
}

// finished is a job that was recorded as done.
type finished struct {
	job   string
	token int64
	at    time.Duration // when that was told
}

// given is a call of an operator.
type given struct {
	order, job, node string
	from, to         time.Duration
	err              error
}

// trouble is a time in which something was wrong with a node, or with etcd: "".
type trouble struct {
	node     string
	from, to time.Duration
}

func newLives(w *world, seed uint64) *lives {
	v := &lives{
		world: w, draw: rand.New(rand.NewPCG(seed, 1<<32)), calm: true,
		saves: map[string]*savings{}, moved: map[string]map[int64]bool{}, finishing: map[string]bool{},
	}
	for _, job := range w.allJobs() {
		v.saves[job] = &savings{sent: map[saved]bool{}, confirmed: map[saved]bool{}, found: map[int64]saved{}}
		v.moved[job] = map[int64]bool{}
	}
	w.register.answerBy(v.answer)
	return v
}

// setCalm ends or lets begin what goes wrong with jobs.
func (v *lives) setCalm(calm bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calm = calm
}

// answer answers a job.
func (v *lives) answer(line string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var what, job string
	var token, number int64
	if _, err := fmt.Sscan(line, &what, &job); err != nil {
		return "bad"
	}
	args := line[len(what)+len(" ")+len(job):]
	switch s := v.saves[job]; what {
	case "work":
		how := v.fate([]string{well, well, well, well, well, fails, fails, panics, panics, returns, returns, finishes}, 4*time.Second)
		v.finishing[job] = strings.HasSuffix(how, finishes)
		return how
	case "prepare":
		return v.fate([]string{well, well, fails}, 800*time.Millisecond)
	case "prepared":
		var process string
		_, _ = fmt.Sscan(args, &process)
		v.prepared = append(v.prepared, preparation{job, process, monotonic()})
	case "done":
		_, _ = fmt.Sscan(args, &token)
		v.done = append(v.done, finished{job, token, monotonic()})
	case "moved":
		_, _ = fmt.Sscan(args, &token)
		v.moved[job][token] = true
	case "found":
		var there saved
		_, _ = fmt.Sscanf(args, "%d %d.%d", &token, &there.token, &there.number)
		s.found[token] = there
	case "saving":
		_, _ = fmt.Sscan(args, &token, &number)
		s.sent[saved{token, number}] = true
	case "saved":
		_, _ = fmt.Sscan(args, &token, &number)
		s.confirmed[saved{token, number}] = true
		v.confirmed++
	case "refused":
		v.refused = append(v.refused, line)
	}
	return "ok"
}

// fate draws what becomes of a Work or a Prepare, and when.
func (v *lives) fate(all []string, limit time.Duration) string {
	how := all[v.draw.IntN(len(all))]
	if v.calm {
		how = well
	}
	return fmt.Sprint(v.draw.Int64N(int64(limit)), " ", how)
}

// note takes down what an operator has done.
func (v *lives) note(g given) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.given = append(v.given, g)
}

// troubled does what troubles a node, or etcd.
func (v *lives) troubled(node string, do func()) {
	from := monotonic()
	do()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.troubles = append(v.troubles, trouble{node, from, monotonic()})
}

// quiet reports whether nothing was wrong with a node, nor with etcd, in some time, and
// for two TTLs before.
func (v *lives) quiet(node string, from, to time.Duration) bool {
	return !slices.ContainsFunc(v.troubles, func(t trouble) bool {
		return (t.node == node || t.node == "") && t.from <= to && t.to >= from-2*v.ttl
	})
}

// lost says what was lost of what was saved, or taken back: O5.
func (v *lives) lost() (wrong []string) {
	for job, s := range v.saves {
		tokens := slices.Sorted(maps.Keys(s.found))
		before := saved{}
		for i, token := range tokens {
			least, there := saved{}, s.found[token]
			for c := range s.confirmed {
				if c.token < token && c.compare(least) > 0 {
					least = c
				}
			}
			switch {
			case there != (saved{}) && !s.sent[there]:
				wrong = append(wrong, fmt.Sprintf("%s: %d found %v, which nobody has sent", job, token, there))
			case there.token >= token:
				wrong = append(wrong, fmt.Sprintf("%s: %d found %v before it has saved anything", job, token, there))
			case there.compare(least) < 0:
				wrong = append(wrong, fmt.Sprintf("%s: %d found %v, but %v was confirmed", job, token, there, least))
			case i > 0 && there != before && there.token < tokens[i-1]:
				wrong = append(wrong, fmt.Sprintf("%s: %d found %v, where %d had found %v", job, token, there, tokens[i-1], before))
			}
			before = there
		}
	}
	return wrong
}

// ranPaused says which jobs ran while they were paused, and how many pauses were judged:
// O6. Who cannot see the order has no valid lease any more a TTL after it was given, as
// what shows it its heartbeats shows it the order before. Where nothing is wrong, it
// takes no longer than an event.
func (v *lives) ranPaused(runs []verify.Run) (wrong []string, judged int) {
	late := v.stalls.Worst()
	for _, g := range v.given {
		if (g.order != "pause" && g.order != "pause all") || g.err != nil {
			continue
		}
		judged++
		until := v.paused(g)
		for _, r := range runs {
			if g.order == "pause" && r.Job != g.job {
				continue
			}
			bound := v.ttl + late
			if v.quiet(r.Node, g.from, min(until, g.to+bound)) {
				bound = v.linger + event + late
			}
			if at, ran := executing(r, g.to+bound, until, v.wake()); ran {
				wrong = append(wrong, fmt.Sprintf("%s ran on %s with token %d, %v after it was paused: %v is allowed", r.Job, r.Node, r.Token, at-g.to, bound))
			}
		}
	}
	return wrong, judged
}

// event is what an order takes to have its effect, on a busy machine.
const event = 700 * time.Millisecond

// paused returns until when a pause holds for sure: another operator may have begun to
// take it back before this one knew that it was given.
func (v *lives) paused(pause given) time.Duration {
	until := time.Duration(1<<63 - 1)
	for _, g := range v.given {
		back := g.order == "resume" && pause.order == "pause" && g.job == pause.job || g.order == "resume all" && pause.order == "pause all"
		if back && g.to > pause.from {
			until = min(until, g.from)
		}
	}
	return until
}

// executing returns when a run was executing between from and to. A process that was
// frozen may go on for the time wake.
func executing(r verify.Run, from, to, wake time.Duration) (at time.Duration, ran bool) {
	last, woken := r.Start, -wake-1
	for _, at := range slices.Concat([]time.Duration{r.Start}, r.Ticks, []time.Duration{r.End}) {
		if at-last > silence {
			woken = at
		}
		if last = at; at > from && at < to && at-woken > wake {
			return at, true
		}
	}
	return 0, false
}

// movedCold says which jobs were run by a node that was not prepared for them, after
// they had left the one before as planned: O7. It does not judge where anything else
// happened meanwhile: the one that was prepared may be gone by then.
func (v *lives) movedCold(runs []verify.Run) (wrong []string, judged int) {
	byJob := map[string][]verify.Run{}
	for _, r := range runs {
		byJob[r.Job] = append(byJob[r.Job], r)
	}
	for job, runs := range byJob {
		slices.SortFunc(runs, func(a, b verify.Run) int { return cmp.Compare(a.Token, b.Token) })
		for i, r := range runs[:len(runs)-1] {
			next := runs[i+1]
			if !v.moved[job][r.Token] || !r.Ended || next.Process == r.Process || v.disturbed(r.Stop, next.Start) {
				continue
			}
			judged++
			since := time.Duration(0)
			for _, earlier := range runs[:i] {
				if earlier.Process == next.Process {
					since = earlier.End
				}
			}
			if !slices.ContainsFunc(v.prepared, func(p preparation) bool {
				return p.job == job && p.process == next.Process && p.at >= since && p.at <= next.Start
			}) {
				wrong = append(wrong, fmt.Sprintf("%s moved from %s to %s, token %d, which had not prepared", job, r.Node, next.Node, next.Token))
			}
		}
	}
	return wrong, judged
}

// disturbed reports whether orders were given, or something went wrong or was repaired,
// in some time or just before; or that was so long that a node may have been buried.
func (v *lives) disturbed(from, to time.Duration) bool {
	within := func(at time.Duration) bool { return at >= from-v.ttl/10 && at <= to }
	return to-from > v.ttl/2 ||
		slices.ContainsFunc(v.given, func(g given) bool { return g.from <= to && g.to >= from-v.ttl/40 }) ||
		slices.ContainsFunc(v.troubles, func(t trouble) bool { return within(t.from) || within(t.to) })
}

// ranDone says which jobs ran although they were done, and how many were done: O8. It
// does not judge where somebody has forgotten a job since its last Work returned, or may
// have; nor where a later leader had begun by then, as the first has lost the job.
func (v *lives) ranDone(runs []verify.Run) (wrong []string, judged int) {
	for _, d := range v.done {
		returned := d.at
		overtaken := false
		for _, r := range runs {
			if r.Job == d.job && r.Token == d.token && r.Ended {
				returned = min(returned, r.End)
			}
			overtaken = overtaken || r.Job == d.job && r.Token > d.token && r.Start <= d.at
		}
		if overtaken {
			continue
		}
		judged++
		for _, r := range runs {
			forgotten := slices.ContainsFunc(v.given, func(g given) bool {
				return g.order == "forget" && g.job == d.job && g.from <= r.Start && g.to >= returned
			})
			if r.Job == d.job && r.Token > d.token && !forgotten {
				wrong = append(wrong, fmt.Sprintf("%s ran on %s with token %d, and was done with %d", r.Job, r.Node, r.Token, d.token))
			}
		}
	}
	return wrong, judged
}

// nothingIsDone reports whether no job was to finish when it was called last.
func (v *lives) nothingIsDone() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !slices.Contains(slices.Collect(maps.Values(v.finishing)), true)
}
