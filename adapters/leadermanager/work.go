// Package leadermanager runs a manager of controller-runtime, or whatever else has its
// Start, on one node only, the one that leads a job.
//
// controller-runtime can elect a leader itself, with a lock of client-go: a manager that
// loses it goes on until its RenewDeadline, and the process has to end then. As the Work
// of a job, the manager stops before another one begins.
//
// controller-runtime is no dependency of this module, and its tests run another manager:
// [Manager] is the one method of manager.Manager that is needed.
package leadermanager

import "context"

// Manager is what Work needs of a manager.Manager.
type Manager interface {
	// Start blocks until ctx is done, and nothing that it started runs any more.
	Start(ctx context.Context) error
}

// Work returns the Work of a job that runs a manager. A manager can be started only
// once, so build makes a new one for each leadership, with LeaderElection off in its
// options. Errors of build and of the manager are returned by Work.
func Work[M Manager](build func(ctx context.Context) (M, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		manager, err := build(ctx)
		if err != nil {
			return err
		}
		return manager.Start(ctx)
	}
}
