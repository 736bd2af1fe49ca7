package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// camera is a browser's tab that is filmed.
type camera struct {
	ctx   context.Context
	close func()
}

// calm ends what fades, pulses and throws shadows: it would make a film three times as
// large. Tiles fly as ever.
const calm = `[...document.querySelectorAll("iframe")].every(({contentWindow: w}) => {
	const style = new w.CSSStyleSheet();
	style.replaceSync(".tile.arrived, .pill::before { animation: none !important } .tile.moving { box-shadow: none !important }");
	w.document.adoptedStyleSheets.push(style);
	w.document.querySelectorAll(".arrived").forEach(tile => tile.classList.remove("arrived"));
	return true;
})`

// shot is a frame, and when it was seen.
type shot struct {
	at  time.Duration
	png []byte
}

func openCamera(ctx context.Context, width, height int64) (*camera, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true), chromedp.WSURLReadTimeout(time.Minute))
	allocator, stop := chromedp.NewExecAllocator(ctx, options...)
	tab, leave := chromedp.NewContext(allocator)
	c := &camera{ctx: tab, close: func() { leave(); stop() }}
	if err := c.frame(width, height, 1); err != nil {
		c.close()
		return nil, fmt.Errorf("start a browser: %w", err)
	}
	return c, nil
}

func (c *camera) frame(width, height int64, scale float64) error {
	return chromedp.Do(c.ctx, func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride,
			emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: scale})
		return chromedp.Void{}, err
	})
}

// film opens url, waits for the cue, and returns each frame from then on that
// differs from the one before. Meanwhile it presses buttons.
func (c *camera) film(url, cue string, length time.Duration, presses []press) ([]shot, error) {
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute+length)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		return nil, err
	}
	if err := await(ctx, cue); err != nil {
		return nil, err
	}
	if err := await(ctx, calm); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var shots []shot
	var began time.Time
	err := chromedp.Listen(ctx, func(event any) {
		e, ok := event.(*page.EventScreencastFrame)
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if began.IsZero() {
			began = time.Now()
		}
		shots = append(shots, shot{time.Since(began), e.Data})
		go func() { // a listener must not call the browser
			_, _ = chromedp.Call(ctx, page.ScreencastFrameAck, page.ScreencastFrameAckParams{SessionID: e.SessionID})
		}()
	})
	if err != nil {
		return nil, err
	}
	if _, err := chromedp.Call(ctx, page.StartScreencast, page.StartScreencastParams{Format: "png"}); err != nil {
		return nil, err
	}
	if err := play(ctx, length, presses); err != nil {
		return nil, err
	}
	cancel()
	mu.Lock()
	defer mu.Unlock()
	if len(shots) == 0 {
		return nil, errors.New("the browser has shown nothing")
	}
	return shots, nil
}

// play presses buttons at their times until length has passed.
func play(ctx context.Context, length time.Duration, presses []press) error {
	began := time.Now()
	for _, p := range presses {
		if err := chromedp.Do(ctx, chromedp.Sleep(p.at-time.Since(began))); err != nil {
			return err
		}
		if err := await(ctx, p.script()); err != nil {
			return fmt.Errorf("%s%s: %w", p.action, p.order, err)
		}
	}
	return chromedp.Do(ctx, chromedp.Sleep(length-time.Since(began)))
}

// script is true when the press has been made.
func (p press) script() string {
	if p.order == "" {
		return fmt.Sprintf(`(() => { const b = document.querySelector('form[action="%s"] button:not([disabled])'); b?.click(); return b !== null })()`, p.action)
	}
	return fmt.Sprintf(`(() => { document.querySelector("iframe").contentWindow.fetch("orders", {method: "POST", headers: {"Content-Type": "application/json"}, body: %q}); return true })()`, p.order)
}

// still takes a picture of the whole status page.
func (c *camera) still(url, path string) error {
	if err := c.frame(1390, 540, 1.5); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		return err
	}
	if err := await(ctx, `document.getElementById("link").dataset.state === "live" && 
		[...document.querySelectorAll("#board .count")].every(c => Number(c.textContent) <= 10) && !document.querySelector(".moving")`); err != nil {
		return err
	}
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}

func await(ctx context.Context, expression string) error {
	_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond)))
	return err
}
