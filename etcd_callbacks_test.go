package distributed_test

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/etcdtest"
)

// clientPlugs are the places in which users plug in what etcd's client calls, each as
// a configuration that calls misbehave there.
var clientPlugs = map[string]func(misbehave func()) clientv3.Config{
	"interceptor": func(misbehave func()) clientv3.Config {
		return dialing(grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			misbehave()
			return invoke(ctx, method, req, reply, cc, opts...)
		}))
	},
	"stream interceptor": func(misbehave func()) clientv3.Config {
		return dialing(grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			misbehave()
			return open(ctx, desc, cc, method, opts...)
		}))
	},
	"stream": func(misbehave func()) clientv3.Config {
		return dialing(grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := open(ctx, desc, cc, method, opts...)
			return misbehavingStream{s, misbehave}, err
		}))
	},
	"credentials": func(misbehave func()) clientv3.Config {
		return dialing(grpc.WithPerRPCCredentials(misbehavingCredentials(misbehave)))
	},
	"dialer": func(misbehave func()) clientv3.Config {
		return dialing(grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			misbehave()
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}))
	},
	"logger": func(misbehave func()) clientv3.Config {
		return clientv3.Config{Logger: zap.New(misbehavingCore(misbehave))}
	},
}

func dialing(o grpc.DialOption) clientv3.Config {
	return clientv3.Config{DialOptions: []grpc.DialOption{o}}
}

type misbehavingStream struct {
	grpc.ClientStream
	misbehave func()
}

func (s misbehavingStream) RecvMsg(m any) error { s.misbehave(); return s.ClientStream.RecvMsg(m) }

type misbehavingCredentials func()

func (misbehave misbehavingCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	misbehave()
	return nil, nil
}

func (misbehavingCredentials) RequireTransportSecurity() bool { return false }

type misbehavingCore func()

func (misbehave misbehavingCore) Enabled(zapcore.Level) bool                 { misbehave(); return true }
func (misbehave misbehavingCore) With([]zapcore.Field) zapcore.Core          { misbehave(); return misbehave }
func (misbehave misbehavingCore) Sync() error                                { misbehave(); return nil }
func (misbehave misbehavingCore) Write(zapcore.Entry, []zapcore.Field) error { misbehave(); return nil }

func (misbehave misbehavingCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	misbehave()
	return ce.AddCore(e, misbehave)
}

// What is plugged into etcd's client begins to misbehave while a node leads, and then
// its network fails, too.
func TestNothingThatIsPluggedIntoTheClientBreaksExclusion(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	network, endpoint := linkTo(t, cluster)
	free := make(chan struct{})
	var armed atomic.Bool
	provider := func(endpoint string, config clientv3.Config) distributed.LeaseProvider {
		return distributed.NewETCDLeaseProvider([]string{endpoint}, distributed.WithLeaseTTL(5*time.Second), distributed.WithETCDConfig(config))
	}
	pairs := map[string]*pair{}
	for plug, configure := range clientPlugs {
		for name, misbehave := range misbehaviours {
			if plug == "dialer" && name == "panics" {
				continue // on a goroutine of gRPC's, which ends the process
			}
			config := configure(func() {
				if armed.Load() {
					misbehave(free)
				}
			})
			name := plug + " " + name
			pairs[name] = newPair(t, name, provider(endpoint, config), provider(cluster.Endpoints()[0], clientv3.Config{}), distributed.WithLogger(slog.New(slog.DiscardHandler)))
		}
	}
	each := func(f func(name string, p *pair)) {
		var all sync.WaitGroup
		for name, p := range pairs {
			all.Go(func() { f(name, p) })
		}
		all.Wait()
	}
	each(func(_ string, p *pair) { p.a.start(); p.awaitRunning(&p.a) })
	each(func(_ string, p *pair) { p.b.start() })
	armed.Store(true)
	network.HoldUp()
	network.HoldDown()
	each(func(name string, p *pair) { p.awaitRunning(&p.b) })
	network.Heal()
	var mu sync.Mutex
	took := map[string]time.Duration{}
	each(func(name string, p *pair) {
		stopped := time.Now()
		p.a.halt()
		mu.Lock()
		took[name] = time.Since(stopped)
		mu.Unlock()
		assert.Less(t, time.Since(stopped), 2*closing, name) // closing, on a quiet machine
	})
	for _, name := range slices.SortedFunc(maps.Keys(took), strings.Compare) {
		t.Logf("%s: stopped within %v", name, took[name].Round(time.Millisecond))
	}
	close(free)
	each(func(_ string, p *pair) { p.b.halt() })
}
