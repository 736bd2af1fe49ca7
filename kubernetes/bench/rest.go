//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

const (
	settle = 20 * time.Second // after the start, for what belongs to it
	span   = time.Minute      // for which requests are counted
)

// counted is the transport of a node.
type counted struct {
	http.RoundTripper
	requests *atomic.Int64
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// atRest is what three nodes cost that do nothing but hold their jobs.
type atRest struct {
	start    time.Duration // until all jobs ran
	requests float64       // a second
}

func (w way) atRest(server *rest.Config, jobs int) (a atRest, err error) {
	ctx, stop := context.WithCancel(context.Background())
	var nodes sync.WaitGroup
	defer nodes.Wait()
	defer stop()
	var requests atomic.Int64
	running, ended := make(chan string, 3*jobs), make(chan error, 3)
	names := make([]string, jobs)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d-%d", strings.ToLower(strings.ReplaceAll(w.name, " ", "-")), jobs, i)
	}
	began := time.Now()
	for i := range 3 {
		config := rest.CopyConfig(server)
		config.Wrap(func(rt http.RoundTripper) http.RoundTripper { return counted{rt, &requests} })
		nodes.Go(func() {
			ended <- w.elect(ctx, config, fmt.Sprint("node-", i), names, func(ctx context.Context, job string) {
				running <- job
				<-ctx.Done()
			})
		})
	}
	for seen := map[string]bool{}; len(seen) < jobs; {
		select {
		case job := <-running:
			seen[job] = true
		case err := <-ended:
			return a, errors.Join(errors.New("a node has ended"), err)
		case <-time.After(5 * time.Minute):
			return a, fmt.Errorf("%d of %d jobs run", len(seen), jobs)
		}
	}
	a.start = time.Since(began)
	time.Sleep(settle)
	before := requests.Load()
	time.Sleep(span)
	a.requests = float64(requests.Load()-before) / span.Seconds()
	return a, nil
}

// restTable measures both ways one after the other, with 29 jobs and with 1,000.
func restTable(server *rest.Config) (string, error) {
	table := "| 3 nodes at rest | jobs | started in | requests a second | beside this library |\n|---|---:|---:|---:|---:|\n"
	for _, jobs := range []int{29, 1000} {
		var ours float64
		for _, w := range ways[:2] { // what it does in the end makes no request at rest
			a, err := w.atRest(server, jobs)
			if err != nil {
				return table, fmt.Errorf("%s, %d jobs: %w", w.name, jobs, err)
			}
			if ours == 0 {
				ours = a.requests
			}
			table += fmt.Sprintf("| %s | %d | %.1f s | %.2f | %.0f× |\n", w.name, jobs, a.start.Seconds(), a.requests, a.requests/ours)
		}
	}
	return table, nil
}
