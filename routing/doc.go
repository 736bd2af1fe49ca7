// Package routing passes HTTP requests on to the node that runs a job, such as the
// one that holds a shard. Each node makes a [Router], mounts it, and has the Work of
// its jobs call [Router.Serve]:
//
//	router, err := routing.New(observer, func(r *http.Request) string { return shardOf(r.URL.Path) })
//	...
//	Work: func(ctx context.Context) error {
//		shard := load(ctx)                // whatever it takes before it can serve
//		return router.Serve(ctx, shard)   // until ctx is done and no request is under way any more
//	}
//	...
//	http.Handle("/", router)
//	distributed.WithMetadata(map[string]string{"address": "http://10.0.0.7:8080"}) // of the processor
//
// A request may come to any node. One that serves the job answers it; any other
// passes it on, once, to the node that leads the job, which it knows by an
// [distributed.Observer]. A process that runs no jobs may route as well.
//
// While a job moves, or the node that ran it is gone, requests for it wait, up to a
// limit ([WithWait]), and are answered by the next node. So a restart of all nodes,
// one after the other, costs requests some time, and no errors, as long as a move
// takes less than that.
//
// # Stale routes
//
// What an observer shows may be late. A request that is passed on therefore carries
// the app, the job and the fencing token of the leadership that it is meant for, in
// the header Distributed-Route. A node that does not serve the job under that token, or
// a later one, and right now ([distributed.Leadership.Valid]), does nothing but say so
// (421 Misdirected Request, with the route in the same header); the router that sent it
// looks again. Nobody passes on for a job what was passed on to him for it: requests
// do not go round in circles.
//
// A router ignores what it finds there of other apps and jobs, and what it does not
// understand. Handlers never see the header. A client that makes a route up gets no
// more than without: it may be served by the node that it has reached, or be told 421.
// So an edge need not take the header off; one that does spares a client that sends it
// by mistake that answer.
//
// # What is sent twice, and what is not
//
// A request that a node did not take (it could not be reached, or it refused) is sent
// again, with its body if that has at most 1 MiB. If the connection breaks after
// that, the request may have had its effect: one whose method allows it to be
// repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE) is sent again, three times in all
// as a rule; any other is not. If that does not help, the answer is 502 Bad Gateway,
// and says so.
//
// # When the job leaves
//
// A router does not make what a handler does exclusive: that ends, at the latest, when
// Work has to. The context of a request belongs to the leadership that it is served
// under ([distributed.LeadershipFromContext]): a handler that changes anything in a
// store gives it the token to check.
//
// When leadership is lost, requests are broken off at once; when the job is told to
// move, after a while ([WithWait] again). Their contexts are done, and what the handler
// reads of a body or writes to the answer are errors; connections that it has hijacked,
// such as for a websocket, are closed. So no client holds a job up by being slow. For
// that, middleware around a router that wraps the [http.ResponseWriter] has to let its
// deadlines through (Unwrap; see [http.ResponseController]). A handler that waits for
// anything else has to obey the context: Serve, and so Work, and so the move, wait for
// it.
package routing
