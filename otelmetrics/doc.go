// Package otelmetrics turns [distributed.Hooks] into OpenTelemetry metrics:
//
//	hooks, err := otelmetrics.New(otel.GetMeterProvider())
//	...
//	processor := distributed.NewLeadershipBasedJobProcessor(app, node, provider, jobs, distributed.WithHooks(hooks))
//
// The metrics are of one node: let service.name and service.instance.id of the
// resource say which. There is no attribute for the job by default, so there are
// some 30 series, for 10 jobs as for 10,000; [WithJobs] adds an attribute for
// those that are named, 1,000 at most. [WithAttributes] adds attributes that tell
// several apps in a process apart.
//
// # Metrics
//
// Of what this node's jobs do:
//
//	distributed.job.campaigning          updowncounter  {job}       jobs that this node campaigns for
//	distributed.job.led                  updowncounter  {job}       jobs that this node leads; its sum over all nodes is the number of jobs that run
//	distributed.job.running              updowncounter  {job}       jobs whose Work runs here: led ones, and those whose Work has to stop
//	distributed.job.stuck                updowncounter  {job}       jobs whose Work goes on more than 1 s after its context was done
//	distributed.job.failures             counter        {failure}   times that a Work failed or panicked, so that its job paused
//	distributed.job.done                 counter        {job}       jobs whose Work has finished for good on this node
//	distributed.campaign.duration        histogram      s           from the start of a campaign to leading the job, or to giving up; distributed.campaign.won says which
//	distributed.handover.gap             histogram      s           from seeing that the node before had released a job to leading it
//	distributed.term.duration            histogram      s           from leading a job to having lost or released it, by distributed.term.cause
//	distributed.work.duration            histogram      s           of the calls of Work, by distributed.work.result
//
// Of the lease, and of the store:
//
//	distributed.store.up                 gauge          1           1 when the last call for the lease worked, 0 when it failed
//	distributed.store.outages            counter        {outage}    times that the store stopped working
//	distributed.lease.held               updowncounter  {lease}     1 while this node has a lease
//	distributed.lease.losses             counter        {lease}     leases lost, without this node's doing
//	distributed.lease.acquisition.duration  histogram   s           from the first attempt to the lease
//	distributed.lease.renewal.duration   histogram      s           from sending a renewal to its effect
//	distributed.lease.renewal.margin     histogram      s           how much longer leadership would have been valid without the renewal
//	distributed.lease.renewal.failures   counter        {attempt}   attempts that failed
//
// # Attributes
//
//	distributed.campaign.won    true or false
//	distributed.term.cause      lost, without this node's doing; term_ended, by distributed.WithVoluntaryTimeout; moved, by
//	                            distributed.WithLoadBalancing; resigned, as Work returned, or by a call; closed, by a call;
//	                            stopped, as the processor stops, or as Work failed; done, with distributed.ErrDone
//	distributed.work.result     ok; canceled, when Work returned the error or the cause of its context; error; panic
//	distributed.job.name        with WithJobs, on the first six metrics and on those of handover, term and Work; left out for
//	                            jobs that are not named
package otelmetrics
