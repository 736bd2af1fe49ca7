package distributed

import (
	"context"
	"errors"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// OpenETCDStore opens a store on an etcd cluster, as a lease does.
func OpenETCDStore(endpoints []string, config clientv3.Config) (Store, error) {
	e := &etcdProvider{endpoints: endpoints, config: config, login: newLogin(config, nil)}
	for attempt := 1; ; attempt++ { // the first has a second, which etcd may need on a machine that is busy
		s, err := e.open(context.Background(), LeaseRequest{Logger: slog.New(slog.DiscardHandler)})
		if attempt == 5 || !isTimeout(err) || errors.Is(err, ErrRefused) {
			return s, err
		}
	}
}

// Errors of stores in memory.
var (
	ErrCut      = errCut
	ErrTooLarge = errTooLarge
)

// Cut ends all calls of instance that are under way.
func (h *MemoryHub) Cut(instance string) { h.breakOff(instance) }

// ForgetJob is what an operator does to a job that is done.
func ForgetJob(ctx context.Context, store Store, prefix, job string) error {
	return forgetJob(ctx, store, keys{prefix}, job)
}
