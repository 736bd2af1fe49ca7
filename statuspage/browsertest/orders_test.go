package browsertest

import (
	"context"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage"
)

func TestButtonsGiveOrders(t *testing.T) {
	provider := distributed.NewMemoryLeaseProvider(nil)
	for _, name := range []string{"node-1", "node-2"} {
		p := distributed.NewLeadershipBasedJobProcessor("shop", name, provider, []distributed.Job{
			{Name: "job-x", Work: func(ctx context.Context) error { <-ctx.Done(); return nil }},
		}, distributed.WithLoadBalancing(distributed.WithSettleTime(0)))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- p.Execute(ctx) }()
		t.Cleanup(func() { cancel(); require.NoError(t, <-ended) })
	}
	observer, err := distributed.Observe(t.Context(), "shop", provider)
	require.NoError(t, err)
	_, err = observer.Await(t.Context(), "job-x")
	require.NoError(t, err)
	operator, err := distributed.NewOperator(t.Context(), "shop", provider)
	require.NoError(t, err)
	v := &service{t: t, address: "127.0.0.1:0", observer: observer}
	t.Cleanup(func() { v.stop(); _ = observer.Close(); require.NoError(t, operator.Close()) })
	v.start(statuspage.WithOperator(operator, func(*http.Request) string { return "ann" }))

	b := open(t, v.url())
	b.live()
	b.answer("repair")
	b.eventually(`document.querySelector(".tile[data-state=running]") !== null`)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector(".tile").click(); void 0`))
	b.press("#detail", "Pause")
	b.eventually(`document.querySelector("#nowhere .tile[data-state=paused]") !== null`)
	b.eventually(`document.querySelector("#orders-list").textContent.includes("pause job-x by ann: repair")`)
	b.eventually(`document.querySelector("#detail").textContent.includes("job-x is paused by ann: repair")`)
	b.picture("orders")
	b.press("#detail", "Resume")
	b.eventually(`document.querySelector(".board .tile[data-state=running]") !== null`)
	b.eventually(`document.querySelector("#orders-list").children.length === 0`)

	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll(".column details").forEach(d => d.open = true); void 0`))
	b.press(".column[data-node]", "Drain")
	b.eventually(`[...document.querySelectorAll(".badge")].some(e => e.textContent === "draining")`)
	b.press("#orders-list", "Take back")
	b.eventually(`![...document.querySelectorAll(".badge")].some(e => e.textContent === "draining")`)
	require.Empty(t, b.complaints())
}

// answer has the page's questions answered so.
func (b *tab) answer(text string) {
	b.do(chromedp.Evaluate[chromedp.Void](`window.prompt = () => "` + text + `"; void 0`))
}

// press waits for a button below what selector finds, and presses it.
func (b *tab) press(selector, text string) {
	find := `[...document.querySelectorAll("` + selector + ` button")].find(e => e.textContent === "` + text + `")`
	b.eventually(find + " !== undefined")
	b.do(chromedp.Evaluate[chromedp.Void](find + ".click(); void 0"))
}
