// Package browsertest looks at the status page with a browser. It is a module of
// its own because of what it takes to steer one. It needs Chromium:
//
//	apt-get install chromium
//	go test .
//	go test -run Look -pictures /tmp/pictures .   # to look at the page oneself
package browsertest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/animation"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage/internal/stage"
)

var pictures = flag.String("pictures", "", "a directory to take screenshots to")

var browser, stopBrowser = newBrowser() // one for all tests

func TestMain(m *testing.M) {
	flag.Parse()
	if err := chromedp.Do(browser); err != nil {
		fmt.Fprintln(os.Stderr, "cannot start a browser:", err)
		os.Exit(1)
	}
	status := m.Run()
	stopBrowser()
	os.Exit(status)
}

func TestTileFliesToTheColumnOfItsNewNode(t *testing.T) {
	s := stage.New(3, 29)
	b := open(t, serve(t, s).url())
	b.live()
	// Slowly, so that a browser that stalls sees it on its way.
	b.do(command(animation.Enable, cdp.Empty{}), command(animation.SetPlaybackRate, animation.SetPlaybackRateParams{PlaybackRate: 0.1}))
	b.sample(stage.Job(1))
	s.Move(stage.ID(3), stage.Job(1))
	b.landed(stage.Job(1), stage.ID(3))
	way := eval[[]float64](b, `samples`)
	start, end := way[0], way[len(way)-1]
	require.Greater(t, end, start+100, "another column")
	between := 0
	for _, x := range way {
		if x > start+5 && x < end-5 {
			between++
		}
	}
	require.Greater(t, between, 2, "seen on its way: %v", way)
	require.Equal(t, "9", b.text(`.column[data-node="00000001"] .count`))
	require.Equal(t, "10", b.text(`.column[data-node="00000003"] .count`))
	require.Contains(t, b.text("#moves tr"), "job-00001node-1 → node-3< 1 ms")
	require.Empty(t, b.complaints())
}

func TestTileDoesNotFlyForThoseWhoWantLessMotion(t *testing.T) {
	s := stage.New(3, 29)
	b := open(t, serve(t, s).url(), calm())
	b.live()
	b.sample(stage.Job(1))
	s.Move(stage.ID(3), stage.Job(1))
	b.landed(stage.Job(1), stage.ID(3))
	require.Equal(t, 2, eval[int](b, `new Set(samples).size`), "there and here")
	require.Empty(t, b.complaints())
}

// sample notes where the tile of a job is, in each frame.
func (b *tab) sample(job string) {
	b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`
		window.samples = [];
		(function look() {
			const tile = [...document.querySelectorAll(".tile")].find(t => t.textContent.includes(%q));
			if (tile) samples.push(Math.round(tile.getBoundingClientRect().left));
			requestAnimationFrame(look);
		})(); void 0`, job)))
	b.eventually("samples.length > 2")
}

// landed waits until the tile of a job lies still in the column of a node, and has
// been sampled there: that the samples no longer change is not enough, as the page
// may have moved the tile since the last frame.
func (b *tab) landed(job, node string) {
	b.t.Helper()
	b.eventually(tileIn(job, node))
	b.eventually(fmt.Sprintf(`!document.getAnimations().some(a => a.id === "fly") && (() => {
		const tile = [...document.querySelectorAll(%q)].find(t => t.textContent.includes(%q));
		return samples.slice(-3).every(x => x === Math.round(tile.getBoundingClientRect().left));
	})()`, fmt.Sprintf(".column[data-node=%q] .tile", node), job))
}

func TestFilterShowsWhatMatches(t *testing.T) {
	s := stage.New(3, 29)
	s.Lead(stage.Job(9))
	b := open(t, serve(t, s).url())
	b.live()
	visible := `[...document.querySelectorAll(".tile:not([hidden]) .name")].map(e => e.textContent).join(" ")`
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "JOB-0000"))
	b.eventually(`document.querySelectorAll(".tile:not([hidden])").length === 8`)
	require.Equal(t, "8 of 28 jobs match.", b.text("#matches"))
	require.Equal(t, "3 of 10", b.text(`.column[data-node="00000001"] .count`))
	require.Contains(t, eval[string](b, "location.search"), "q=JOB-0000")
	s.Move(stage.ID(3), stage.Job(2), stage.Job(11))
	b.eventually(tileIn(stage.Job(2), stage.ID(3)))
	require.NotContains(t, eval[string](b, visible), stage.Job(11), "what moves is filtered as well")

	b.do(chromedp.KeyEvent(kb.Escape))
	b.eventually(`document.querySelectorAll(".tile:not([hidden])").length === 28`)
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "node-2"))
	b.eventually(`document.querySelectorAll(".tile:not([hidden])").length === 8`)
	b.do(chromedp.KeyEvent(kb.Escape))

	s.Leave(stage.ID(1)) // what it led is led by nobody
	b.eventually(`document.querySelector("#states [data-state=waiting] b").textContent === "10"`)
	b.do(chromedp.Click(chromedp.CSS(`#states [data-state=waiting]`)))
	b.eventually(`document.querySelectorAll(".tile:not([hidden])").length === 10`)
	require.Equal(t, "10", b.text("#nowhere .count"))
	require.Equal(t, "true", eval[string](b, `document.querySelector("#states [data-state=waiting]").getAttribute("aria-current")`))
	b.do(chromedp.Reload())
	b.live()
	b.eventually(`document.querySelectorAll(".tile:not([hidden])").length === 10`)
	require.Empty(t, b.complaints())
}

func TestPageFollowsAgainAfterARestartOfTheServer(t *testing.T) {
	s := stage.New(3, 29)
	v := serve(t, s)
	b := open(t, v.url())
	b.live()
	require.Empty(t, b.complaints())
	for i := range 2 {
		v.stop()
		b.eventually(`document.getElementById("link").dataset.state === "reconnecting"`)
		s.Move(stage.ID(2+i), stage.Job(1))
		v.start()
		b.live()
		b.eventually(tileIn(stage.Job(1), stage.ID(2+i)))
	}
	for _, fault := range b.complaints() {
		// The browser asks for the icon when it finds the time: perhaps of no server.
		require.Regexp(t, `net::ERR_.*/(events|icon\.svg)$`, fault, "nothing but what could not be had meanwhile")
	}
	require.Equal(t, 29, eval[int](b, `document.querySelectorAll(".tile").length`))
}

func TestPageIsASnapshotWithoutJavaScript(t *testing.T) {
	s := stage.New(3, 29)
	b := open(t, serve(t, s).url(), withoutScript())
	html := func() string {
		html, err := chromedp.Run(b.ctx, chromedp.OuterHTML(chromedp.CSS("html")))
		require.NoError(t, err)
		return html
	}
	require.Equal(t, 29, strings.Count(html(), `class="tile"`))
	require.Contains(t, html(), "snapshot of")
	require.Contains(t, html(), "stands by for 10")
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "job-0002"), chromedp.Click("form button"),
		chromedp.WaitReady(chromedp.CSS(`input[value="job-0002"]`)))
	require.Equal(t, 10, strings.Count(html(), `class="tile"`))
	require.Contains(t, html(), "10 of 29 jobs match.")
	b.do(chromedp.Click(chromedp.CSS(`#states [data-state=waiting]`)),
		chromedp.WaitReady(chromedp.CSS(`#states [data-state=waiting][aria-current]`)))
	require.NotContains(t, html(), `class="tile"`)
	require.Empty(t, b.complaints())
}

func TestNamesCannotDoAnything(t *testing.T) {
	const nasty = `"><script>window.pwned=1</script><img src=x onerror="window.pwned=2">` + "\u2028${1}'`"
	s := stage.New(1, 1)
	play := func() {
		s.Update(func(v *distributed.View) {
			n := stage.Node(2)
			n.Instance, n.Version = nasty, nasty
			n.Labels = map[string]string{nasty: nasty, "__proto__": "x"}
			n.Metadata = map[string]string{nasty: nasty}
			v.Nodes = append(v.Nodes[:1], n)
		})
		s.Lead(nasty, stage.ID(2))
		s.Lead("__proto__", stage.ID(2))
	}
	play()
	v := serve(t, s)
	b := open(t, v.url())
	b.live()
	look := func() {
		require.Equal(t, nasty, eval[string](b, `[...document.querySelectorAll(".column .name")].map(e => e.textContent).find(n => n.includes("pwned"))`))
		require.Equal(t, 3, eval[int](b, `document.querySelectorAll(".tile").length`))
		require.Zero(t, eval[int](b, `document.querySelectorAll("img, main script").length`))
		require.True(t, eval[bool](b, `window.pwned === undefined`))
	}
	look()
	s.Move(stage.ID(1), nasty)
	b.eventually(`document.getElementById("moves").textContent.includes("pwned")`)
	b.do(chromedp.Focus(chromedp.CSS(".tile[tabindex='0']")), chromedp.KeyEvent(kb.Enter))
	require.True(t, eval[bool](b, `!document.getElementById("detail").hidden`))
	look()
	b.do(chromedp.Navigate(v.url() + `?q=%22%3E%3Cscript%3Ewindow.pwned=3%3C/script%3E&state=%22onfocus=%22window.pwned=4`))
	b.live()
	require.True(t, eval[bool](b, `window.pwned === undefined`))
	require.Empty(t, b.complaints(), "not even something for the content policy to stop")
}

func TestTenThousandJobsStaySmooth(t *testing.T) {
	s := stage.New(5, 10_000)
	b := open(t, serve(t, s).url(), countingTicks())
	b.live()
	b.eventually(`document.querySelectorAll(".tile").length === 10000`)
	built := b.busy()
	for round := range 5 {
		var jobs []string
		for i := range 100 {
			jobs = append(jobs, stage.Job(1+i*97+round))
		}
		s.Move(stage.ID(round+1), jobs...)
		time.Sleep(300 * time.Millisecond)
	}
	s.Move(stage.ID(5), "job-00777")
	b.eventually(`[...document.querySelectorAll('.column[data-node="00000005"] .tile')].some(t => t.entry.job.name === "job-00777")`)
	busy := b.busy() - built
	t.Logf("to show 501 moves took %v of a processor, to build the page %v", busy.Round(time.Millisecond), built.Round(time.Millisecond))
	require.Less(t, busy, 10*built)

	b.do(chromedp.SendKeys(chromedp.CSS("#q"), "0077"))
	b.eventually(`document.getElementById("board").dataset.density === "full"`)
	b.eventually(tileIn("job-00777", stage.ID(5)))
	b.do(chromedp.KeyEvent(kb.Escape))
	b.eventually(`document.getElementById("board").dataset.density === "dots"`)
	require.Equal(t, "10,000", b.text(`#states [data-state=""] b`))
	require.Empty(t, b.complaints())
}

// countingTicks makes busy count.
func countingTicks() chromedp.Action[chromedp.Void] {
	return command(performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
}

// busy is how much processor time the page has taken, whatever else runs.
func (b *tab) busy() time.Duration {
	metrics, err := chromedp.Run(b.ctx, func(ctx context.Context, _ *chromedp.Target) (performance.GetMetricsResult, error) {
		return chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
	})
	require.NoError(b.t, err)
	for _, m := range metrics.Metrics {
		if m.Name == "TaskDuration" {
			return time.Duration(m.Value * float64(time.Second))
		}
	}
	b.t.Fatal("the browser does not tell")
	return 0
}

func TestPageCanBeUsedWithTheKeyboard(t *testing.T) {
	b := open(t, serve(t, stage.New(2, 4)).url())
	b.live()
	focus := func() string {
		return eval[string](b, `document.activeElement.querySelector?.(".name")?.textContent || document.activeElement.id`)
	}
	b.do(chromedp.KeyEvent("/"))
	require.Equal(t, "q", focus())
	b.do(chromedp.KeyEvent(kb.Escape)) // of a key that is refused, this keyboard types the letter all the same
	for range 20 {                     // the states, then details of node-1, then its tiles
		if focus() == stage.Job(1) {
			break
		}
		b.do(chromedp.KeyEvent(kb.Tab))
	}
	require.Equal(t, stage.Job(1), focus())
	require.Contains(t, eval[string](b, `document.activeElement.getAttribute("aria-label")`), "job-00001: running on node-1, token 1, 1 waiting for it")
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	require.Equal(t, stage.Job(3), focus())
	b.do(chromedp.KeyEvent(kb.End))
	require.Equal(t, stage.Job(4), focus())
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll(".tile[tabindex='0']").length`), "one tile to tab to")
	b.do(chromedp.KeyEvent(kb.Enter))
	require.Contains(t, b.text("#detail"), "running on node-2")
	b.do(chromedp.KeyEvent(kb.Escape))
	require.True(t, eval[bool](b, `document.getElementById("detail").hidden`))
	require.Equal(t, stage.Job(4), focus())
	require.NotEqual(t, "none", eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`), "the focus is seen")
	require.Empty(t, b.complaints())
}

func TestTextHasContrastInLightAndDark(t *testing.T) {
	for scheme, prepare := range map[string]chromedp.Action[chromedp.Void]{"light": media("prefers-color-scheme", "light"), "dark": dark()} {
		t.Run(scheme, func(t *testing.T) {
			s := stage.New(9, 36)
			s.Update(func(v *distributed.View) {
				v.Nodes[1].Draining = true
				v.Records = []distributed.JobRecord{{Job: stage.Job(1), At: time.Now(), Failures: 3, Error: "no paper", Pause: time.Hour}}
			})
			v := serve(t, s)
			s.Leave(stage.ID(9))
			b := open(t, v.url(), prepare)
			b.live()
			b.eventually(`document.querySelectorAll("#nowhere .tile").length === 4`)
			time.Sleep(700 * time.Millisecond) // until nothing flies
			poor := eval[[]string](b, `(() => {
				const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
				const over = (colors) => {
					canvas.clearRect(0, 0, 1, 1);
					for (const c of colors) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
					return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
				};
				const luminance = rgb => rgb.map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
					.reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
				const poor = [];
				for (const e of document.querySelectorAll("body *")) {
					const text = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
					if (!text || !e.checkVisibility() || e.closest(".hidden, .skip")) continue;
					const grounds = [];
					for (let p = e; p; p = p.parentElement) grounds.unshift(getComputedStyle(p).backgroundColor);
					const ground = over(["Canvas", ...grounds]), ink = over(["Canvas", ...grounds, getComputedStyle(e).color]);
					const [a, b] = [luminance(ground), luminance(ink)].sort((x, y) => y - x);
					const ratio = (a + .05) / (b + .05);
					if (ratio < 4.5) poor.push(e.className + " " + e.textContent.slice(0, 30) + " " + ratio.toFixed(2));
				}
				return poor;
			})()`)
			require.Empty(t, poor)
		})
	}
}

func TestScreenReadersAreToldNowAndThen(t *testing.T) {
	s := stage.New(2, 20)
	b := open(t, serve(t, s).url())
	b.live()
	b.do(chromedp.Evaluate[chromedp.Void](`window.said = []; new MutationObserver(() => said.push(document.getElementById("say").textContent))
		.observe(document.getElementById("say"), {childList: true, characterData: true, subtree: true}); void 0`))
	for i := range 12 {
		s.Move(stage.ID(1+i%2), stage.Job(1))
		time.Sleep(300 * time.Millisecond)
	}
	b.eventually("said.length > 0")
	said := eval[[]string](b, `said`)
	require.Len(t, said, 1, "not each move: %q", said)
	require.Contains(t, said[0], "20 of 20 run.")
	require.Equal(t, []string{"say", "unreadable"}, eval[[]string](b, `[...document.querySelectorAll("[aria-live], [role=alert], [role=status]")].map(e => e.id).sort()`))
}

func TestNodesAndStoreShowWhatIsWrong(t *testing.T) {
	s := stage.New(3, 9)
	b := open(t, serve(t, s).url())
	b.live()
	s.Update(func(v *distributed.View) { v.Nodes[0].Draining = true })
	b.eventually(`document.querySelector('.column[data-node="00000001"] .badge')?.textContent === "draining"`)
	s.Hush(stage.ID(2), 20*time.Second)
	b.eventually(`document.querySelector('.column[data-node="00000002"] .heart').hasAttribute("data-late")`)
	require.Equal(t, "reachable", eval[string](b, `document.getElementById("store").dataset.state`), "others are heard of")
	s.Leave(stage.ID(3))
	b.eventually(`document.querySelector('.column[data-node="00000003"] .badge')?.textContent === "left"`)
	require.Equal(t, "3", b.text("#nowhere .count"))
	s.Bury(stage.ID(2))
	b.eventually(`document.querySelector('.column[data-node="00000002"] .badge')?.textContent === "fell silent"`)
	require.Equal(t, "left", b.text(`.column[data-node="00000003"] .badge`))
	s.Hush(stage.ID(1), 20*time.Second)
	b.eventually(`document.getElementById("store").dataset.state === "away"`)
	require.Contains(t, b.text("#store"), "store silent for 2")
	require.Empty(t, b.complaints())
}

func TestANarrowWindowDoesNotScrollSideways(t *testing.T) {
	s := stage.New(3, 29)
	s.Lead(strings.Repeat("a-very-long-name-", 30), stage.ID(1))
	v := serve(t, s)
	s.Move(stage.ID(2), stage.Job(1))
	for _, width := range []int64{320, 390, 768, 1150, 1440} {
		b := open(t, v.url(), window(width, 800))
		b.live()
		require.LessOrEqual(t, eval[int64](b, `document.documentElement.scrollWidth`), width)
	}
}

func TestBoardFitsIntoAFrame(t *testing.T) {
	s := stage.New(4, 29)
	v := serve(t, s)
	s.Leave(stage.ID(4))
	for _, width := range []int64{380, 790, 1400} {
		b := open(t, v.url()+"?view=board", window(width, 480))
		b.live()
		require.LessOrEqual(t, eval[int64](b, `document.documentElement.scrollWidth`), width)
		require.False(t, eval[bool](b, `[...document.querySelectorAll("#q, #states, .moves, summary")].some(e => e.checkVisibility())`))
		require.Equal(t, 29, eval[int](b, `[...document.querySelectorAll(".tile .name")].filter(e => e.checkVisibility()).length`))
		require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("#board h2 .name, #board h2 .name *")].filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)`), "names are whole")
		s.Move(stage.ID(2), stage.Job(1))
		b.eventually(tileIn(stage.Job(1), stage.ID(2)))
		s.Move(stage.ID(1), stage.Job(1))
		if width > 400 { // here all of it has room
			b.eventually(`Math.abs(Math.max(...[...document.querySelectorAll("#board .column")].map(e => e.getBoundingClientRect().bottom)) - innerHeight) < 12`)
			require.GreaterOrEqual(t, eval[int](b, `Math.min(...[...document.querySelectorAll("#board .tile")].map(e => e.offsetHeight))`), 24, "the fewer jobs, the higher")
		}
		require.Empty(t, b.complaints())
	}
}

func TestLook(t *testing.T) {
	if *pictures == "" {
		t.Skip("takes pictures to look at, with -pictures")
	}
	for name, v := range map[string]*service{
		"3-pods": serve(t, pods(3, 3)), "50-pods": serve(t, pods(5, 50)), "1000-pods": serve(t, pods(5, 1000)),
	} {
		states(v.stage, func(n int) string { return pathOf(n - 1) })
		b := open(t, v.url(), window(1280, 900))
		b.live()
		leaveAndMove(v)
		b.look(name+"-1280", 2*time.Second)
		b.do(chromedp.Click(chromedp.CSS("#board .tile")))
		b.look(name+"-detail", 500*time.Millisecond)
		open(t, v.url(), window(1920, 1080), dark()).look(name+"-1920-dark", 2*time.Second)
		open(t, v.url(), window(390, 844)).look(name+"-390", time.Second)
		open(t, v.url(), window(390, 844), dark(), withoutScript()).look(name+"-390-static-dark", time.Second)
	}

	s := stage.New(3, 29)
	v := serve(t, s)
	b := open(t, v.url())
	b.live()
	s.Move(stage.ID(3), stage.Job(1), stage.Job(4), stage.Job(8))
	b.eventually(`document.querySelector(".moving") !== null`)
	b.look("29-moving", 60*time.Millisecond)
	s.Update(func(v *distributed.View) { v.Nodes[1].Draining = true })
	s.Move("nobody", stage.Job(9))
	b.look("29-light", 1500*time.Millisecond)
	b.do(chromedp.Click(chromedp.CSS("#board .tile")))
	b.look("29-detail", 500*time.Millisecond)
	open(t, v.url(), dark()).look("29-dark", 3*time.Second)
	open(t, v.url(), window(390, 844)).look("29-narrow", time.Second)
	open(t, v.url(), withoutScript()).look("29-static", time.Second)
	open(t, v.url()+"?view=board", window(390, 480)).look("29-board", time.Second)

	many := serve(t, stage.New(5, 10_000))
	open(t, many.url()).look("10000-light", 3*time.Second)
	open(t, many.url()+"?q=0042", dark()).look("10000-filtered-dark", 3*time.Second)
	open(t, serve(t, stage.New(4, 800)).url(), dark()).look("800-dark", 3*time.Second)
}

// pods plays an app as it looks on Kubernetes: long names, and jobs in a tree.
func pods(nodes, jobs int) *stage.Stage {
	s := stage.New(nodes, 0)
	s.Update(func(v *distributed.View) {
		for i := range v.Nodes {
			n := &v.Nodes[i]
			n.Instance = fmt.Sprintf("shop-worker-deployment-7d9f8b6c5-x%dk4qz2v", i+1)
			n.Labels["disk"] = "large"
			n.Metadata = map[string]string{"address": fmt.Sprintf("10.1.7.%d:8080", i+1)}
			for j := range jobs {
				n.Jobs = append(n.Jobs, distributed.JobInfo{Name: pathOf(j), Weight: 1 + j%3, Prefer: []string{"zone=eu-1"}})
			}
		}
	})
	s.Update(func(v *distributed.View) {
		v.Records = []distributed.JobRecord{
			{Job: pathOf(0), At: time.Now(), Failures: 5, Error: "dial tcp 10.1.7.3:25: connection refused", Pause: time.Minute, Instance: v.Nodes[0].Instance},
			{Job: "tenants/acme-corporation/migration-7", At: time.Now(), Done: true, Token: 3},
		}
	})
	for j := range jobs {
		s.Lead(pathOf(j), stage.ID(1+j%nodes), stage.ID(1+(j+1)%nodes))
	}
	return s
}

func pathOf(j int) string {
	return fmt.Sprintf("tenants/acme-corporation/eu-central-1/invoices/shard-%04d", j)
}

// leaveAndMove loses the last node of an app of pods, and then moves a job.
func leaveAndMove(v *service) {
	var lost []string
	for _, leader := range v.observer.Leaders() {
		if leader.Node == stage.ID(3) {
			lost = append(lost, leader.Job)
		}
	}
	v.stage.Leave(stage.ID(3))
	time.Sleep(time.Second) // the page says for how long they ran nowhere
	v.stage.Update(func(view *distributed.View) {
		for i, job := range lost {
			view.Jobs = append(view.Jobs, distributed.JobView{Name: job, Led: true,
				Queue: []distributed.CandidateView{{Node: stage.ID(1 + i%2), Token: 10_475 + int64(i)}}})
		}
	})
	time.Sleep(time.Second)
	v.stage.Move(stage.ID(1), pathOf(1))
}

func (b *tab) look(name string, after time.Duration) {
	time.Sleep(after)
	b.picture(name)
	require.Empty(b.t, b.complaints())
}
