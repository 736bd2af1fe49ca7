package statuspage_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage"
)

// A service shows its jobs at /status/, and tells how it is at /status/healthz.
func Example() {
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a real program
	provider := distributed.NewMemoryLeaseProvider(nil)   // NewETCDLeaseProvider in a real program
	work := func(ctx context.Context) error { <-ctx.Done(); return nil }
	processor := distributed.NewLeadershipBasedJobProcessor("shop", "node-1", provider,
		[]distributed.Job{{Name: "invoices", Work: work}})

	observer, err := distributed.Observe(ctx, "shop", provider)
	if err != nil {
		log.Fatal(err)
	}
	page := statuspage.New(observer, statuspage.WithProcessor(processor), statuspage.WithTitle("Jobs of the shop"))
	mux := http.NewServeMux()
	mux.Handle("/status/", page)
	server := httptest.NewServer(mux) // http.Server{Handler: mux}, with RegisterOnShutdown(func() { page.Close() })
	go func() {
		defer stop()
		if _, err := observer.Await(ctx, "invoices"); err != nil { // until the observer has seen that it runs
			log.Print(err)
			return
		}
		response, err := http.Get(server.URL + "/status/healthz")
		if err != nil {
			log.Print(err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		fmt.Println(response.Status)
	}()

	if err := processor.Execute(ctx); err != nil {
		log.Fatal(err)
	}
	_ = page.Close()
	server.Close()
	_ = observer.Close()

	// Output:
	// 200 OK
}
