package main

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

func TestFilmShowsItsShots(t *testing.T) {
	var shots []shot
	for i := range 4 {
		img := image.NewRGBA(image.Rect(0, 0, 40, 30))
		draw.Draw(img, img.Rect, image.NewUniform(color.RGBA{240, 240, 245, 255}), image.Point{}, draw.Src)
		draw.Draw(img, image.Rect(5*i, 5, 5*i+10, 15), image.NewUniform(color.RGBA{59, 110, 245, 255}), image.Point{}, draw.Src)
		var b bytes.Buffer
		if err := png.Encode(&b, img); err != nil {
			t.Fatal(err)
		}
		shots = append(shots, shot{time.Duration(i) * 50 * time.Millisecond, b.Bytes()})
	}
	shots = thin(shots, 80*time.Millisecond)
	if len(shots) != 3 || shots[2].at != 150*time.Millisecond {
		t.Fatalf("%d shots, the last at %v: want three, with the last of all", len(shots), shots[len(shots)-1].at)
	}
	path := filepath.Join(t.TempDir(), "film.gif")
	if _, err := writeGIF(path, shots); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	film, err := gif.DecodeAll(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	canvas := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for i, frame := range film.Image {
		draw.Draw(canvas, frame.Rect, frame, frame.Rect.Min, draw.Over)
		want, err := decode(shots[i].png)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.Pix, canvas.Pix) {
			t.Fatalf("frame %d is not what was seen", i)
		}
	}
}

func TestButtonsOfADemoWithScriptAndWithout(t *testing.T) {
	d, err := startDemo(t.Context(), "rolling-restart", "1h")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.end(); err != nil {
			t.Error(err)
		}
	}()
	c, err := openCamera(context.Background(), 830, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	err = chromedp.Do(ctx,
		chromedp.Navigate(d.address), chromedp.WaitReady(chromedp.CSS(`form[action="nodes/node-1/pause"]`)),
		chromedp.Evaluate[chromedp.Void](`window.stayed = true; void 0`),
		chromedp.Click(chromedp.CSS(`form[action="nodes/node-1/pause"] button`)),
		chromedp.WaitReady(chromedp.CSS(`.node[data-state="frozen"]`)),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := await(ctx, `window.stayed`); err != nil {
		t.Fatal("the page was left: ", err)
	}
	err = chromedp.Do(ctx,
		func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
			_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			return chromedp.Void{}, err
		},
		chromedp.Navigate(d.address),
		chromedp.Click(chromedp.CSS(`form[action="nodes/node-1/resume"] button`)),
		chromedp.WaitReady(chromedp.CSS(`.node[data-state="up"] form[action="nodes/node-1/pause"]`)),
	)
	if err != nil {
		t.Fatal(err)
	}
}
