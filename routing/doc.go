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
// A request may arrive at any node. If that node serves the job, it answers the
// request; if not, it forwards it, once, to the node that leads the job, which it knows
// from an [distributed.Observer]. A process that runs no jobs may route as well.
//
// While a job moves, or its node is gone, requests for it wait, up to a limit
// ([WithWait]), and the next node answers them. So a rolling restart makes some
// requests slower, but causes no errors, as long as a move takes less than that. The time
// that a client takes to send a request does not count.
//
// # Stale routes
//
// What an observer shows may be late. A request that is forwarded therefore carries the
// app, the job and the fencing token of the leadership that it is meant for, in the
// header Distributed-Route. A node that is not serving the job at this moment, under
// that token or a later one ([distributed.Leadership.Valid]), only says so (421
// Misdirected Request, with the route in the same header), and the router that sent the
// request looks again. A node does not forward a request that was forwarded to it, so
// requests do not go round in circles.
//
// A router ignores routes of other apps and jobs, and routes that it does not
// understand. Handlers never see the header. A client that makes up a route gains
// nothing: the node that it has reached serves it, or answers 421. So a proxy at the
// edge need not remove the header, but can, to spare clients that send it by mistake
// that answer.
//
// # What is sent twice, and what is not
//
// A body is passed on as it comes; its first 1 MiB is kept until the request is answered.
// A request that a node did not accept (it could not be reached, or it refused) is sent
// again, or served here if the job has moved here, unless more than 1 MiB of its body has
// been read. If the connection breaks after that, the request may have had an effect: if
// its method may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE), it is sent again,
// up to three times in all as a rule, and waits for a node as if it had just come; others
// are not. If that does not help, the answer is 502 Bad Gateway, with the reason.
//
// If the answer comes before the end of the body, a connection of HTTP/1 is closed after
// it. Trailers of a request are not passed on.
//
// # When the job leaves
//
// What a handler does is exclusive only as long as Work may run. The context of a
// request belongs to the leadership under which it is served
// ([distributed.LeadershipFromContext]): a handler that changes a database should send
// it the token to check.
//
// When leadership is lost, requests are aborted at once; when the job is told to move,
// after a while ([WithWait] again). Their contexts are done, reading the body and
// writing the answer return errors, and connections that the handler has hijacked, such
// as for a websocket, are closed. So a slow client cannot hold a job up. For that,
// middleware around a router that wraps the [http.ResponseWriter] has to let its
// deadlines through (Unwrap; see [http.ResponseController]). A handler that waits for
// anything else has to obey the context: Serve, and so Work, and so the move, wait for
// it.
package routing
