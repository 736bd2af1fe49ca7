package browsertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage/internal/stage"
)

// states plays an app with a job in each state.
func states(s *stage.Stage, job func(n int) string) {
	s.Update(func(v *distributed.View) {
		for i := range v.Nodes {
			v.Nodes[i].Jobs = nil
			for j := range 8 {
				if j != 6 || i == 0 { // only the first node has the seventh
					v.Nodes[i].Jobs = append(v.Nodes[i].Jobs, distributed.JobInfo{Name: job(j + 1), Weight: 1})
				}
			}
		}
		v.Nodes[1].Warming = map[string]distributed.Warmth{job(5): distributed.Warming, job(4): distributed.Preparing}
		v.Records = []distributed.JobRecord{
			{Job: job(1), At: time.Now(), Failures: 3, Error: "dial tcp 10.1.7.3:25: connection refused", Pause: time.Minute, Instance: v.Nodes[0].Instance},
			{Job: job(3), At: time.Now(), Done: true, Token: 3, Instance: v.Nodes[0].Instance},
		}
		v.Orders = []distributed.Order{{Kind: distributed.OrderPause, Job: job(2), By: "ann", Why: "the ledger is repaired", At: time.Now()}}
	})
	s.Lead(job(2))
	s.Lead(job(3))
	s.Lead(job(1), stage.ID(1))
	s.Lead(job(4), stage.ID(1), stage.ID(2))
	s.Lead(job(5), stage.ID(2))
	s.Lead(job(7), stage.ID(1))
}

// tile returns what a job's tile says, and its detail.
func (b *tab) tile(job string) (meta, detail string) {
	find := fmt.Sprintf(`[...document.querySelectorAll(".tile")].find(t => t.entry?.job.name === %q)`, job)
	b.eventually(find + " !== undefined")
	b.do(chromedp.Evaluate[chromedp.Void](find + ".click(); void 0"))
	b.eventually(fmt.Sprintf(`document.querySelector("#detail h2")?.textContent === %q`, job))
	return eval[string](b, find+`.querySelector(".meta").textContent`), eval[string](b, `document.querySelector("#detail").innerText`)
}

func TestEachStateIsSaid(t *testing.T) {
	s := stage.New(3, 8)
	states(s, stage.Job)
	v := serve(t, s)
	b := open(t, v.url())
	b.live()

	meta, detail := b.tile(stage.Job(1))
	require.Regexp(t, `^failed × 3 · again in .+ s · #\d+$`, meta)
	require.Contains(t, detail, "connection refused")
	require.Contains(t, detail, "next try")

	meta, detail = b.tile(stage.Job(2))
	require.Contains(t, meta, "paused · by ann: the ledger is repaired")
	require.Contains(t, detail, "paused by ann: the ledger is repaired")

	meta, detail = b.tile(stage.Job(5))
	require.Contains(t, meta, "warming up")
	require.Contains(t, detail, "Work has not said yet that it is ready")

	_, detail = b.tile(stage.Job(4))
	require.Regexp(t, `warms up on\s+node-2`, detail)

	meta, detail = b.tile(stage.Job(7))
	require.Contains(t, meta, "not on all nodes")
	require.Regexp(t, `not known on\s+node-2, node-3`, detail)

	for state, n := range map[string]int{"failed": 1, "paused": 1, "done": 1} {
		require.Equal(t, fmt.Sprint(n), b.text(fmt.Sprintf("#states [data-state=%s] b", state)))
	}
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#states [data-state=done]").click(); void 0`))
	meta, _ = b.tile(stage.Job(3))
	require.Contains(t, meta, "done")

	s.Update(func(v *distributed.View) { // it is warm, and runs again
		v.Orders = nil
		v.Nodes[1].Warming = nil
	})
	b.eventually(`document.querySelector(".tile[data-warming]") === null && document.querySelector(".tile[data-state=paused]") === null`)
	require.Empty(t, b.complaints())
}

func TestPageSaysWhyNobodyIsShownToLead(t *testing.T) {
	s := stage.New(2, 2)
	v := serve(t, s)
	b := open(t, v.url())
	b.live()
	require.True(t, eval[bool](b, `document.getElementById("unreadable").hidden`))
	s.Update(func(v *distributed.View) { v.Unreadable = "document shop/nodes/x has format version 2" })
	b.eventually(`!document.getElementById("unreadable").hidden`)
	require.Equal(t, "Nobody is shown to lead: document shop/nodes/x has format version 2", b.text("#unreadable"))
	static := open(t, v.url(), withoutScript())
	require.Contains(t, static.text("#unreadable"), "has format version 2")
	s.Update(func(v *distributed.View) { v.Unreadable = "" })
	b.eventually(`document.getElementById("unreadable").hidden`)
	require.Empty(t, b.complaints())
}
