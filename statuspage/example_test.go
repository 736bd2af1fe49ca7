package statuspage_test

import (
	"context"
	"fmt"
	"io"
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
	running := make(chan struct{})
	work := func(ctx context.Context) error { close(running); <-ctx.Done(); return nil }
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
		<-running
		response, err := http.Get(server.URL + "/status/healthz")
		if err != nil {
			log.Print(err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		fmt.Printf("%s\n%s", response.Status, body)
	}()

	if err := processor.Execute(ctx); err != nil {
		log.Fatal(err)
	}
	_ = page.Close()
	server.Close()
	_ = observer.Close()

	// Output:
	// 200 OK
	// {
	//  "ok": true,
	//  "checks": [
	//   {
	//    "name": "store",
	//    "ok": true,
	//    "detail": "a node was heard of 0.0 s ago"
	//   },
	//   {
	//    "name": "execute",
	//    "ok": true,
	//    "detail": "runs"
	//   },
	//   {
	//    "name": "lease",
	//    "ok": true,
	//    "detail": "held"
	//   },
	//   {
	//    "name": "work",
	//    "ok": true,
	//    "detail": "stops when it is told to"
	//   }
	//  ]
	// }
}
