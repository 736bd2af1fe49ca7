package distributed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdcredentials "go.etcd.io/etcd/client/v3/credentials"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// connection is a client of etcd: a lease's or an observer's own, or the caller's.
type connection struct {
	client *clientv3.Client
	own    bool
	wires  *wires // below a client of our own
	login  *login // nil for the caller's client, and without credentials

	life context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	closed bool
	loops  sync.WaitGroup // logins under way
}

// connect returns a connection, which may not have reached anybody yet. It
// outlives ctx, but not a ctx that ends while it is being made.
func (p *etcdProvider) connect(ctx context.Context, log *slog.Logger) (*connection, error) {
	c := &connection{client: p.client, own: p.client == nil, wires: newWires(&p.refusers), login: p.login}
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	if !c.own {
		if p.client.Ctx().Err() != nil {
			c.end()
			return nil, fmt.Errorf("%w: WithETCDClient: the client has been closed", ErrInvalidConfig)
		}
		return c, nil
	}
	stop := context.AfterFunc(ctx, c.end)
	defer stop()
	config, err := p.clientConfig(c, log)
	if err == nil {
		c.client, err = clientv3.New(config)
	}
	if err != nil {
		return nil, errors.Join(c.refusal(fmt.Errorf("connect to etcd at %s: %w", strings.Join(p.endpoints, ", "), err)), c.close())
	}
	return c, nil
}

// clientConfig completes the user's. The login is ours, see [login], and so are
// the retries: those of the client hide why an attempt failed.
func (p *etcdProvider) clientConfig(c *connection, log *slog.Logger) (clientv3.Config, error) {
	if err := p.buildLogger(); err != nil {
		return clientv3.Config{}, err
	}
	config := p.config
	config.Context = c.life
	config.Endpoints = p.endpoints
	config.Username, config.Password, config.Token = "", "", ""
	config.Logger, config.LogConfig = clientLogger(config, log), nil
	if config.MaxUnaryRetries == 0 {
		config.MaxUnaryRetries = 1
	}
	if config.DialTimeout == 0 {
		config.DialTimeout = 5 * callTimeout
	}
	if config.DialKeepAliveTime == 0 {
		config.DialKeepAliveTime = 10 * time.Second // the least that gRPC allows
	}
	if config.DialKeepAliveTimeout == 0 {
		config.DialKeepAliveTimeout = 3 * time.Second
	}
	config.DialOptions = append([]grpc.DialOption{
		grpc.WithTransportCredentials(wireCredentials{p.credentials(), c.wires}),
		grpc.WithChainUnaryInterceptor(c.call),
		grpc.WithChainStreamInterceptor(c.stream),
	}, config.DialOptions...)
	return config, nil
}

// credentials are those that the client would choose itself: validateEndpoints has
// seen to it that the first endpoint stands for all.
func (p *etcdProvider) credentials() credentials.TransportCredentials {
	first := p.endpoints[0]
	if p.config.TLS != nil || strings.HasPrefix(strings.ToLower(first), "https://") || strings.HasPrefix(first, "unixs:") {
		return etcdcredentials.NewTransportCredential(p.config.TLS)
	}
	return insecure.NewCredentials()
}

// begin runs f until it returns, for which close waits; it reports whether it did,
// and does not after close.
func (c *connection) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.loops.Go(f)
	}
	return !c.closed
}

// close frees what is ours.
func (c *connection) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	defer c.loops.Wait()
	defer c.end()
	if !c.own || c.client == nil {
		return nil
	}
	return ignoreCanceled(c.client.Close())
}

// call is the innermost of all calls but for those that the user's dial options
// add. It fails when no member can be reached, with the reason, for the client's
// default is to wait until the deadline, which hides that; and it carries the
// token, and asks for another, once, if etcd says that it is not valid.
func (c *connection) call(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ask := func(ctx context.Context) error {
		var to peer.Peer
		sent := time.Now()
		err := invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false), grpc.Peer(&to))...)
		c.wires.note(&to, sent, method == pb.KV_Txn_FullMethodName, err)
		return err
	}
	send := func(ctx context.Context) error {
		err := ask(ctx)
		for range c.others(err) { // one after the other, as the client does with calls
			if err = ask(ctx); !isRefusal(err) {
				return err
			}
		}
		return err
	}
	if c.login == nil || method == pb.Auth_Authenticate_FullMethodName {
		return send(ctx)
	}
	for again := false; ; again = true {
		token, err := c.login.get(ctx, c, cc)
		if err != nil {
			return err
		}
		err = send(withToken(ctx, token))
		if !isStale(err) {
			if err == nil {
				c.login.prove(token)
			}
			return err
		}
		c.login.forget(token, err)
		if again {
			return err
		}
	}
}

// others returns how many members are to be asked the same after one that refused:
// it may be wrong, and nothing has happened.
func (c *connection) others(err error) int {
	if !isRefusal(err) {
		return 0
	}
	return len(c.client.Endpoints()) - 1
}

// stream gives a stream the token. That it is not valid becomes known by what
// comes through the stream.
func (c *connection) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	token := ""
	if c.login != nil {
		var err error
		if token, err = c.login.get(ctx, c, cc); err != nil {
			return nil, err
		}
	}
	s, err := open(withToken(ctx, token), desc, cc, method, opts...)
	return &stream{s, c, token}, err
}

type stream struct {
	grpc.ClientStream
	connection *connection
	token      string
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	refused := err
	if w, ok := m.(*pb.WatchResponse); ok && err == nil && w.Canceled && w.CancelReason != "" {
		refused = errors.New(w.CancelReason)
	}
	if to, ok := peer.FromContext(s.Context()); ok && isRefusal(refused) {
		s.connection.wires.refusers.add(to.Addr)
	}
	if isStale(refused) && s.connection.login != nil {
		s.connection.login.forget(s.token, refused)
	}
	return err
}

func withToken(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// reach waits until a member can be reached, or says why none can. It returns
// early with a reason, and after patience without.
func (c *connection) reach(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cc := c.client.ActiveConnection()
	for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() {
		if state == connectivity.Idle {
			cc.Connect()
		}
		if state == connectivity.TransientFailure {
			return c.reason(ctx)
		}
		if !cc.WaitForStateChange(ctx, state) {
			return fmt.Errorf("no connection within %v: %w", patience, ctx.Err())
		}
	}
	return nil
}

// reason makes a call that fails at once when there is no connection.
func (c *connection) reason(ctx context.Context) error {
	_, err := pb.NewKVClient(c.client.ActiveConnection()).Range(ctx, &pb.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1}, grpc.WaitForReady(false))
	return err
}
