//go:build unix

package main

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/contest"
	"github.com/b2552be4/distributed/kubernetes"
	"github.com/b2552be4/distributed/kubernetes/internal/apiserver"
)

const namespace = "default"

// way is a way of electing who runs each job. A node of it runs work for the jobs that it
// leads, until ctx is done.
type way struct {
	name  string
	elect func(ctx context.Context, server *rest.Config, node string, jobs []string, work work) error
}

// work is a job, which runs until ctx is done.
type work func(ctx context.Context, job string)

var ways = []way{
	{"this library", electOurs},
	{"client-go", func(ctx context.Context, server *rest.Config, node string, jobs []string, work work) error {
		return electTheirs(ctx, server, node, jobs, work, false)
	}},
	{"client-go with ReleaseOnCancel", func(ctx context.Context, server *rest.Config, node string, jobs []string, work work) error {
		return electTheirs(ctx, server, node, jobs, work, true)
	}},
}

// contenders run one job each.
func contenders() (all []contest.Contender) {
	for i, w := range ways {
		job := []string{"one-job-" + string(rune('a'+i))}
		all = append(all, contest.Contender{Name: w.name, Run: func(ctx context.Context, n contest.Node, running func()) error {
			server := &rest.Config{Host: "https://" + n.Server, BearerToken: apiserver.Token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}} // it is on this machine
			return w.elect(ctx, server, n.Name, job, func(ctx context.Context, _ string) {
				for ctx.Err() == nil {
					running()
					time.Sleep(contest.Tick)
				}
			})
		}})
	}
	return all
}

// electOurs has the default TTL of 15 s.
func electOurs(ctx context.Context, server *rest.Config, node string, names []string, work work) error {
	var jobs []distributed.Job
	for _, name := range names {
		jobs = append(jobs, distributed.Job{Name: name, Work: func(ctx context.Context) error {
			work(ctx, name)
			return nil
		}})
	}
	provider := kubernetes.NewLeaseProvider(kubernetes.Config{REST: server, Namespace: namespace})
	return distributed.NewLeadershipBasedJobProcessor("bench", node, provider, jobs).Execute(ctx)
}

// electTheirs has the times that client-go's documentation gives as those of the core
// components, which are also 15 s, and an election for each job.
func electTheirs(ctx context.Context, server *rest.Config, node string, jobs []string, work work, release bool) error {
	client, err := coordination.NewForConfig(server)
	if err != nil {
		return err
	}
	var nodes sync.WaitGroup
	defer nodes.Wait()
	for _, job := range jobs {
		var terms sync.WaitGroup
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Name: job, Namespace: namespace}, Client: client,
				LockConfig: resourcelock.ResourceLockConfig{Identity: node},
			},
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: release,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) { terms.Go(func() { work(ctx, job) }) },
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return err
		}
		nodes.Go(func() {
			for ctx.Err() == nil {
				elector.Run(ctx)
				terms.Wait()
			}
		})
	}
	return nil
}
