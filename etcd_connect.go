package distributed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcdcredentials "go.etcd.io/etcd/client/v3/credentials"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// connection is a client of etcd: a lease's or an observer's own, or the caller's.
type connection struct {
	client  *clientv3.Client
	own     bool
	foreign bool   // it has dial options of the user's
	members int    // as far as the endpoints tell
	wires   *wires // below a client of our own
	login   *login // nil for the caller's client, and without credentials

	life context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	closed bool
	loops  sync.WaitGroup // logins under way
}

// connect returns a connection, which may not have reached anybody yet. It
// outlives ctx, but not a ctx that ends while it is being made.
func (p *etcdProvider) connect(ctx context.Context, req LeaseRequest) (*connection, error) {
	c := &connection{client: p.client, own: p.client == nil, foreign: len(p.config.DialOptions) > 0, members: len(p.endpoints), wires: newWires(&p.refusers), login: p.login}
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
	config, err := p.clientConfig(c, req)
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
func (p *etcdProvider) clientConfig(c *connection, req LeaseRequest) (clientv3.Config, error) {
	if err := p.buildLogger(); err != nil {
		return clientv3.Config{}, err
	}
	config := p.config
	config.Context = c.life
	config.Endpoints = p.endpoints
	config.Username, config.Password, config.Token = "", "", ""
	config.Logger, config.LogConfig = clientLogger(config.Logger, req), nil
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
// seen to it that the first endpoint is used for all.
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
	opts = slices.DeleteFunc(slices.Clone(opts), func(o grpc.CallOption) bool {
		_, ok := o.(grpc.PeerCallOption) // the client's, for its log, which it reads when we have given up
		return ok
	})
	send := func(ctx context.Context) (err error) {
		for range c.members { // one that refuses may be wrong: the next is asked
			_, err = guard(ctx, c, func() (any, error) {
				var to peer.Peer
				sent := time.Now()
				err := invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false), grpc.Peer(&to))...)
				c.wires.note(&to, sent, method == pb.KV_Txn_FullMethodName, err)
				return nil, err
			})
			if !isRefusal(err) || c.wires.refusers.enough(c.members) {
				break
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
	s, err := guard(ctx, c, func() (grpc.ClientStream, error) {
		return open(withToken(ctx, token), desc, cc, method, opts...)
	})
	return &stream{s, c, token}, err
}

// guard calls f, in which what the user's dial options add is called. If there are
// any, it waits no longer than until ctx is done, and survives what they do.
func guard[T any](ctx context.Context, c *connection, f func() (T, error)) (T, error) {
	if !c.foreign {
		return f()
	}
	v, err := await(ctx, ask("a function of Config.DialOptions", f))
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = status.FromContextError(err).Err()
	}
	return v, err
}

type stream struct {
	grpc.ClientStream
	connection *connection
	token      string
}

func (s *stream) RecvMsg(m any) (err error) {
	defer survive(&err)
	err = s.ClientStream.RecvMsg(m)
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

func (s *stream) SendMsg(m any) (err error) {
	defer survive(&err)
	return s.ClientStream.SendMsg(m)
}

// survive makes an error of a panic, which is of an interceptor of the user's.
func survive(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("a stream of Config.DialOptions panicked: %v", v)
	}
}

func withToken(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
}

// reach waits until a member answers, or says why none can be asked. It returns early
// with a reason, and after patience without. What the answer is, it does not say.
func (c *connection) reach(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cc := c.client.ActiveConnection()
	for state := cc.GetState(); state != connectivity.Ready && state != connectivity.TransientFailure; state = cc.GetState() {
		if state == connectivity.Idle {
			cc.Connect()
		}
		if !cc.WaitForStateChange(ctx, state) {
			return fmt.Errorf("no connection within %v: %w", patience, ctx.Err())
		}
	}
	_, err := pb.NewKVClient(cc).Range(ctx, &pb.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1}, grpc.WaitForReady(false))
	if isTimeout(err) || status.Code(err) == codes.Unavailable {
		return err
	}
	return nil
}
