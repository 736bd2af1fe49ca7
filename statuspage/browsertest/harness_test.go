package browsertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage"
	"github.com/b2552be4/distributed/statuspage/internal/stage"
)

// service shows a stage at an address that survives a restart.
type service struct {
	t        *testing.T
	stage    *stage.Stage
	address  string
	observer *distributed.Observer
	page     *statuspage.Page
	server   *http.Server
	done     chan struct{} // closed when the server has stopped
}

func serve(t *testing.T, s *stage.Stage, opts ...statuspage.Option) *service {
	observer, err := distributed.Observe(t.Context(), "shop", s)
	require.NoError(t, err)
	v := &service{t: t, stage: s, address: "127.0.0.1:0", observer: observer}
	t.Cleanup(func() { v.stop(); _ = observer.Close() })
	v.start(opts...)
	return v
}

func (v *service) start(opts ...statuspage.Option) {
	listener, err := net.Listen("tcp", v.address)
	require.NoError(v.t, err)
	v.address = listener.Addr().String()
	v.page = statuspage.New(v.observer, append([]statuspage.Option{statuspage.WithTitle("Shop")}, opts...)...)
	mux := http.NewServeMux()
	mux.Handle("/status/", v.page)
	v.server, v.done = &http.Server{Handler: mux}, make(chan struct{})
	v.server.RegisterOnShutdown(func() { _ = v.page.Close() })
	go func() { defer close(v.done); _ = v.server.Serve(listener) }()
}

func (v *service) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(v.t, v.server.Shutdown(ctx), "streams end with the page")
	<-v.done
}

func (v *service) url() string { return "http://" + v.address + "/status/" }

// tab is a page in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	faults []string // what the console complains of
}

// newBrowser finds Chromium by its usual names. It starts when it is used first.
func newBrowser() (context.Context, context.CancelFunc) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.WindowSize(1440, 900),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, leave := chromedp.NewContext(allocator)
	return ctx, func() { leave(); cancel() }
}

// open opens url in a tab of its own, after what else is to be set there.
func open(t *testing.T, url string, before ...chromedp.Action[chromedp.Void]) *tab {
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx))
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.fault(e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
				b.fault(fmt.Sprint(e.Entry.Source, ": ", e.Entry.Text, " ", e.Entry.URL))
			}
		case *runtime.EventConsoleAPICalled:
			b.fault(fmt.Sprint("console ", e.Type))
		}
	}))
	b.do(append(before, chromedp.Navigate(url))...)
	return b
}

func (b *tab) fault(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, s)
}

// complaints returns, and forgets, what the console has complained of.
func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	faults := b.faults
	b.faults = nil
	return faults
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, actions...))
}

// eval evaluates an expression.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err)
	return value
}

// eventually waits until an expression is true.
func (b *tab) eventually(expression string) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond)))
	require.NoError(b.t, err, expression)
}

// live waits until the page follows the service.
func (b *tab) live() {
	b.t.Helper()
	b.eventually(`document.getElementById("link").dataset.state === "live" && document.querySelector("#board .column") !== null`)
}

// picture takes a screenshot to look at, if -pictures says where to.
func (b *tab) picture(name string) {
	if *pictures == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.MkdirAll(*pictures, 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o644))
}

func dark() chromedp.Action[chromedp.Void] { return media("prefers-color-scheme", "dark") }

func calm() chromedp.Action[chromedp.Void] { return media("prefers-reduced-motion", "reduce") }

func media(name, value string) chromedp.Action[chromedp.Void] {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: name, Value: value}},
	})
}

func withoutScript() chromedp.Action[chromedp.Void] {
	return command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

func window(width, height int64) chromedp.Action[chromedp.Void] {
	return command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
}

func command[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, c, params)
		return err
	})
}

// tileIn is an expression that says whether a job's tile is in a node's column.
func tileIn(job, node string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].some(t => t.textContent.includes(%q))`,
		fmt.Sprintf(".column[data-node=%q] .tile", node), job)
}

// text returns what the first element that matches says.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("document.querySelector(%q).textContent", selector))
}
