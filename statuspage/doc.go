// Package statuspage shows in a browser, live, who runs what: a column for each node,
// and a tile for each job, which moves when the job does. It is an [http.Handler] that
// a service mounts in one line:
//
//	http.Handle("/status/", statuspage.New(observer, statuspage.WithProcessor(processor)))
//
// It can be mounted below any path that ends in a slash, with and without
// [http.StripPrefix], and in any process; all that it needs is an
// [distributed.Observer]. It changes nothing, unless [WithOperator] gives it buttons, and
// takes everything from its own origin.
//
// # What it serves
//
// Below the path where it is mounted, all of it as it is at the time of the call:
//
//	""        the page. Without JavaScript it is a snapshot, with links to filter it
//	jobs      JSON: nodes, jobs, and the last moves
//	job       JSON: of the job called by the parameter name, why it runs where it runs
//	events    server-sent events, for the page: one "picture", then "change" and "beat"
//	healthz   JSON: 200 if this node takes part, 503 if it does not
//	readyz    JSON: 200 if this node can be given jobs, 503 if it cannot
//
// The page and jobs take the parameters q, a part of a job's name or its node's,
// upper or lower case, and state: running, failed, stopping, stuck, waiting or
// done. The page shows those that are done only when asked for them.
//
// With view=board the page shows the nodes and their jobs only, close together: to
// put it into a frame of another page of the same origin, or on a screen on the wall.
//
// The page is for operators: it shows names, versions, labels and metadata of nodes.
// Mount it where only operators can reach it, or behind a password.
//
// # What its figures mean
//
// The page shows what an observer sees, which may be late: by a moment as a rule, and
// by as long as the store cannot be reached. Only a node itself knows whether its Work
// is stopping or stuck: the page shows these states for the processor given with
// [WithProcessor] only. All nodes know the record of a job: how often it has failed in
// a row, with which error, and when it is called again; or that it is done. A job that
// has failed and runs again is shown as running, with its failures, until it has
// recovered.
//
// A node that has gone is shown for a minute, and how it went. It left if it stopped, or
// knew that it had lost its lease. It fell silent if it crashed, was frozen or is cut off:
// then the others buried it after a TTL, which [distributed.View].Buried says.
//
// The gap of a move is how long the observer saw nobody lead the job: 0 if the next
// node in the queue led at once. If its leader fell silent, the gap counts from when
// that was last heard of, which may be up to a quarter of the TTL before it was lost.
//
// # Health and readiness
//
// healthz is red when the store cannot be reached, and with [WithProcessor] also when
// Execute does not run, there is no lease, or a Work does not stop. It is for alerts.
// It makes a poor liveness probe: when the store cannot be reached, all nodes are red,
// and restarting them fixes nothing.
//
// readyz is red when Execute does not run or is ending, there is no lease, or the node
// drains; without [WithProcessor] it is red when the store cannot be reached.
package statuspage
