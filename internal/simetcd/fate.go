package simetcd

import (
	"context"
	"path"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
)

// Faults decides what befalls messages. Its methods are called concurrently, and
// must not block.
type Faults interface {
	// Call is asked about each call of a method, such as "Txn", by a node.
	Call(node, method string) Fate

	// Event returns for how long a message of a watch is on its way to node.
	Event(node string) time.Duration
}

// Observer is implemented by Faults that want to know what nodes hear.
type Observer interface {
	// Told is called when a watch has told node that keys were deleted. Unless
	// the link is in the way, the node has heard it.
	Told(node string, deleted []*mvccpb.KeyValue)
}

// Fate is what befalls a call.
type Fate struct {
	Before time.Duration // on its way there; it is executed even if nobody waits for it any more
	Lost   bool          // on its way there
	Again  time.Duration // if positive, it is executed once more, that long after
	Mute   bool          // the reply is lost
	After  time.Duration // the reply's way back
}

// befall is the interceptor of all calls but streams.
func (c *Cluster) befall(ctx context.Context, req any, info *grpc.UnaryServerInfo, execute grpc.UnaryHandler) (any, error) {
	fate := c.faults.Call(nodeOf(ctx), path.Base(info.FullMethod))
	time.Sleep(fate.Before)
	if fate.Lost {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	<-c.up()
	detached := context.WithoutCancel(ctx)
	resp, err := execute(detached, req)
	if fate.Again > 0 {
		c.loops.Go(func() {
			time.Sleep(fate.Again)
			<-c.up()
			_, _ = execute(detached, req) // nobody hears of it
		})
	}
	if fate.Mute {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(fate.After)
	return resp, err
}

// nodeOf returns the name of the link by which a call came.
func nodeOf(ctx context.Context) string {
	p, _ := peer.FromContext(ctx)
	return p.Addr.String()
}
