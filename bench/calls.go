//go:build unix

package main

import (
	"context"
	"testing"

	"github.com/b2552be4/distributed"
)

type ownKey struct{}

// calls measures what a job asks again and again.
func (b *bench) calls(ctx context.Context) error {
	c := distributed.NewConcurrency(newApp(), "node", distributed.NewETCDLeaseProvider(b.endpoints))
	defer c.Close()
	l, err := c.Campaign(ctx, "job")
	if err != nil {
		return err
	}
	inWork := context.WithValue(l.Context(), ownKey{}, "as a job may add")
	for _, call := range []struct {
		name string
		ok   func() bool
	}{
		{"Valid", l.Valid},
		{"LeadershipFromContext", func() bool { _, ok := distributed.LeadershipFromContext(inWork); return ok }},
	} {
		for range min(b.rounds, 3) {
			r := testing.Benchmark(func(t *testing.B) {
				for t.Loop() {
					if !call.ok() {
						t.Fatal("leadership lost")
					}
				}
			})
			b.book.add("Call/of="+call.name, r.N, value{"ns/op", float64(r.T.Nanoseconds()) / float64(max(r.N, 1))},
				value{"allocs/op", float64(r.AllocsPerOp())})
		}
	}
	return nil
}
