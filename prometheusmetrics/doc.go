// Package prometheusmetrics turns [distributed.Hooks] into metrics for Prometheus:
//
//	hooks, err := prometheusmetrics.New(prometheus.DefaultRegisterer)
//	...
//	processor := distributed.NewLeadershipBasedJobProcessor(app, node, provider, jobs, distributed.WithHooks(hooks))
//
// The metrics are of one node, in the process that they are scraped from; there
// is no label for the app, the instance or the job. So they are about 150
// series, for 10 jobs as for 10,000. [WithJobs] adds three series for each job that
// is named, 1,000 jobs at most.
//
// For several apps in a process, let each have metrics of its own:
//
//	prometheusmetrics.New(prometheus.WrapRegistererWith(prometheus.Labels{"app": "shop"}, registerer))
//
// # Metrics
//
// What this node's jobs do now:
//
//	distributed_jobs_campaigning                    gauge      jobs that this node campaigns for
//	distributed_jobs_led                            gauge      jobs that this node leads; its sum over all nodes is the number of jobs that run
//	distributed_jobs_running                        gauge      jobs whose Work runs here: led ones, and those whose Work has to stop
//	distributed_jobs_stuck                          gauge      jobs whose Work goes on more than 1 s after its context was done
//	distributed_job_led                             gauge      by job, with WithJobs: 1 while this node leads it; its sum over all nodes should be 1
//	distributed_job_stuck_seconds                   gauge      by job, with WithJobs: for how long its Work was late to stop, as last reported; 0 when it is not stuck
//
// What has happened to them:
//
//	distributed_terms_total                         counter    elections won
//	distributed_terms_ended_total                   counter    leaderships ended, by cause: lost, term_ended, done, moved, resigned, closed, stopped
//	distributed_failures_total                      counter    times that a Work failed or panicked, so that its job paused
//	distributed_job_failures_total                  counter    by job, with WithJobs: the same
//	distributed_jobs_done_total                     counter    jobs whose Work has finished for good on this node
//	distributed_campaigns_withdrawn_total           counter    campaigns given up before they were won
//	distributed_campaign_duration_seconds           histogram  from the start of a campaign to leading the job
//	distributed_handover_gap_seconds                histogram  from seeing that the node before had released a job to leading it
//	distributed_term_duration_seconds               histogram  from leading a job to having lost or released it
//	distributed_work_duration_seconds               histogram  of the calls of Work, by result: ok, canceled, error, panic
//
// The causes are: lost, without this node's doing; term_ended, by
// distributed.WithVoluntaryTimeout; moved, by distributed.WithLoadBalancing;
// done, with distributed.ErrDone; resigned, as Work returned, or by a call; closed, by a call; and stopped, as
// the processor stops, or as Work failed. The result canceled is that of a Work which returned the
// error or the cause of its context.
//
// The lease, and the store:
//
//	distributed_store_up                            gauge      1 when the last call for the lease worked, 0 when it failed, or there was none
//	distributed_store_outages_total                 counter    times that the store stopped working
//	distributed_lease_held                          gauge      1 while this node has a lease
//	distributed_leases_acquired_total               counter    leases acquired; a rate above that of restarts means losses
//	distributed_leases_lost_total                   counter    leases lost, without this node's doing
//	distributed_lease_acquisition_duration_seconds  histogram  from the first attempt to the lease
//	distributed_lease_renewal_duration_seconds      histogram  from sending a renewal to its effect
//	distributed_lease_renewal_margin_seconds        histogram  how much longer leadership would have been valid without the renewal
//	distributed_lease_renewals_failed_total         counter    attempts that failed
//	distributed_lease_last_renewal_timestamp_seconds  gauge    Unix time of the last renewal or acquisition that worked
//
// dashboard.json, next to this file, shows them in Grafana; alerts.yaml has rules
// for alerts, and docs/operations.md says what to do about each.
package prometheusmetrics
