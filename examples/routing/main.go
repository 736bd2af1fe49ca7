// Routing is an HTTP service whose shards each live on one node. Any node takes a
// request; one that does not run the shard passes it on to the node that does. Look
// at node.go, and at where the requests end before and after node-2 has stopped.
//
//	go run ./examples/routing
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/examples/internal/example"
)

func main() { example.Main(run) }

// run starts three nodes, which would be three processes, asks node-1 for some
// keys, stops node-2, and asks again.
func run(ctx context.Context, endpoints []string, out io.Writer) (err error) {
	observer, err := distributed.Observe(ctx, app, distributed.NewETCDLeaseProvider(endpoints))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, observer.Close()) }()
	var nodes []*node
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		n, startErr := startNode(ctx, name, endpoints)
		if startErr != nil {
			return startErr
		}
		defer func() { err = errors.Join(err, n.stop()) }() // does nothing for one that has stopped
		nodes = append(nodes, n)
	}
	keys := []string{"apples", "grapes", "dates", "lemons", "pears", "limes"} // one of each shard
	if err := settle(ctx, observer, len(nodes)); err != nil {
		return err
	}
	defer http.DefaultClient.CloseIdleConnections()
	fmt.Fprintln(out, "node-1 is asked for:")
	if err := ask(ctx, out, nodes[0].address, keys); err != nil {
		return err
	}
	if err := nodes[1].stop(); err != nil {
		return err
	}
	if err := settle(ctx, observer, len(nodes)-1); err != nil {
		return err
	}
	fmt.Fprintln(out, "node-2 has stopped, and node-1 is asked again:")
	return ask(ctx, out, nodes[0].address, keys)
}

// settle waits until all shards are led, by so many nodes in equal parts.
func settle(ctx context.Context, observer *distributed.Observer, nodes int) error {
	for leaders := range observer.Updates(ctx) {
		led := map[string]int{}
		for _, l := range leaders {
			led[l.Instance]++
		}
		even := len(led) == nodes && len(leaders) == shards
		for _, n := range led {
			even = even && n == shards/nodes
		}
		if even {
			return nil
		}
	}
	return ctx.Err()
}

func ask(ctx context.Context, out io.Writer, address string, keys []string) error {
	for _, key := range keys {
		answer, err := get(ctx, address+"/"+key)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  /%-6s  %s\n", key, answer)
	}
	return nil
}

// get is a client. What it asks for may have to wait while a shard moves; it gets no
// error for that.
func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return strings.TrimSpace(string(body)), err
}
