// Record makes the pictures of the README, of real runs of the demos in a real
// browser. It is a module of its own because of what it takes to steer one. It
// needs Chromium, and is run by make assets:
//
//	go run . ../../assets
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// film is a picture that moves.
type film struct {
	demo          string
	file          string
	width, height int64
	cue           string        // is true on the page when it is time to begin
	length        time.Duration // from then on
	presses       []press       // while it is filmed, in order
	interval      time.Duration // between frames, at least: the less moves, the more there may be
	still         string        // if not empty, the file of a picture of the status page afterwards
}

// press is what somebody does who looks at the demo.
type press struct {
	at     time.Duration
	action string // of the form whose button is clicked, on the demo's page
	order  string // or an order, as the status page sends it
}

// What is in the first frame of a demo.
const (
	frame = `document.querySelector("iframe").contentDocument`
	all   = frame + `.getElementById("link").dataset.state === "live" && ` + frame + `.querySelectorAll("#board .tile").length === 29`
	even  = all + ` && [...` + frame + `.querySelectorAll("#board .count")].every(c => Number(c.textContent) <= 10) && !` + frame + `.querySelector(".moving")`
)

var films = []film{
	{demo: "rolling-restart", file: "rolling-restart.gif", width: 830, height: 450, cue: even, length: 23 * time.Second, interval: 80 * time.Millisecond, still: "status-page.png",
		presses: []press{
			{at: 2 * time.Second, order: `{"verb": "pause", "job": "job-07", "why": "repair"}`},
			{at: 11 * time.Second, order: `{"verb": "resume", "job": "job-07"}`},
			{at: 13 * time.Second, action: "nodes/node-1/kill"}, {at: 18 * time.Second, action: "nodes/node-3/pause"}, {at: 23 * time.Second, action: "nodes/node-3/resume"},
			{at: 23 * time.Second, order: `{"verb": "pause", "job": "job-07", "why": "repair"}`}, // for the still
		}},
	{demo: "load-balancing", file: "job-load-balancing.gif", width: 830, height: 550, cue: all, length: 14 * time.Second, interval: 160 * time.Millisecond},
}

func main() {
	only := flag.String("only", "", "make the pictures of this `demo` only")
	frames := flag.String("frames", "", "keep the frames, to look at, in this `directory`")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: record [-only demo] [-frames directory] directory")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *frames, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, frames, dir string) error {
	for _, f := range films {
		if only != "" && only != f.demo {
			continue
		}
		if err := f.make(ctx, frames, dir); err != nil {
			return fmt.Errorf("%s: %w", f.demo, err)
		}
	}
	return nil
}

// make plays the demo, films it, and makes sure that the demo ended well.
func (f film) make(ctx context.Context, frames, dir string) (err error) {
	d, err := startDemo(ctx, f.demo, "2s")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	c, err := openCamera(ctx, f.width, f.height)
	if err != nil {
		return err
	}
	defer c.close()
	shots, err := c.film(d.address, f.cue, f.length, f.presses)
	if err != nil {
		return err
	}
	if frames != "" {
		if err := keep(filepath.Join(frames, f.demo), shots); err != nil {
			return err
		}
	}
	size, err := writeGIF(filepath.Join(dir, f.file), thin(shots, f.interval))
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d frames seen, %d kB\n", f.file, len(shots), size/1000)
	if f.still == "" {
		return nil
	}
	return c.still(d.address+"status/shop/", filepath.Join(dir, f.still))
}

// keep writes the frames with the time of each in its name.
func keep(dir string, shots []shot) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range shots {
		name := fmt.Sprintf("%06d.png", s.at.Milliseconds())
		if err := os.WriteFile(filepath.Join(dir, name), s.png, 0o644); err != nil {
			return err
		}
	}
	return nil
}
