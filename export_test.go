package distributed

import (
	"context"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// OpenMemoryStore opens a store on a hub, as a lease of instance does.
func OpenMemoryStore(h *MemoryHub, instance string) Store { return h.open(instance) }

// What a hub can do to a node beyond what is exported.
var (
	HoldRequests = (*MemoryHub).holdRequests
	HoldReplies  = (*MemoryHub).holdReplies
	Compact      = (*MemoryHub).compact
)

// OpenETCDStore opens a store on an etcd cluster, as a lease does.
func OpenETCDStore(endpoints []string, config clientv3.Config) (Store, error) {
	e := &etcdProvider{endpoints: endpoints, config: config}
	return e.open(context.Background(), LeaseRequest{Logger: slog.New(slog.DiscardHandler)})
}
