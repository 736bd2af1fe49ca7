package distributed

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

const (
	// loginTimeout bounds a login. It is long, for a check of a password takes etcd a
	// while, longer still when all nodes come at once after a restart, and is lost
	// when the caller gives up.
	loginTimeout = 9 * time.Second

	// maxLogins is how many are sent until one is answered, with pauses between them.
	maxLogins  = 3
	loginPause = 3 * time.Second

	// tokenTimeout bounds a call of the user's.
	tokenTimeout = 10 * time.Second
)

// login has the token that calls to etcd carry, for all connections of a provider.
// etcd's own client logs in for each stream that it opens, and for each call that
// finds its token run out: fifteen times a node after a restart of etcd, which
// checks passwords slowly on purpose.
type login struct {
	from  string // where tokens come from
	fetch func(ctx context.Context, c *connection, cc *grpc.ClientConn) (string, error)

	mu       sync.Mutex
	token    string
	valid    bool          // as far as we know
	proven   bool          // etcd has taken it
	fetching chan struct{} // closed when the fetch under way is done; nil if there is none
	pace     backoff
	next     time.Time // not before then
	err      error     // why there is no token
}

// newLogin returns nil if config has no credentials but certificates.
func newLogin(config clientv3.Config, ask func(context.Context) (string, error)) *login {
	switch {
	case ask != nil:
		s := &tokenSource{ask: ask}
		return &login{from: tokenFunction, fetch: func(ctx context.Context, _ *connection, _ *grpc.ClientConn) (string, error) { return s.get(ctx) }}
	case config.Token != "":
		return &login{from: "Config.Token", fetch: func(context.Context, *connection, *grpc.ClientConn) (string, error) { return config.Token, nil }}
	case config.Username != "":
		return &login{from: "etcd, for the password", fetch: func(ctx context.Context, c *connection, cc *grpc.ClientConn) (string, error) {
			return logIn(ctx, c, cc, &pb.AuthenticateRequest{Name: config.Username, Password: config.Password})
		}}
	}
	return nil
}

// get returns the token, for which it may have to wait. Soon after a failure it
// returns that instead. A fetch does not end with the ctx of who began it, but
// with the connection c.
func (l *login) get(ctx context.Context, c *connection, cc *grpc.ClientConn) (string, error) {
	for {
		l.mu.Lock()
		switch {
		case l.valid:
			defer l.mu.Unlock()
			return l.token, nil
		case l.fetching == nil && l.err != nil && time.Now().Before(l.next):
			defer l.mu.Unlock()
			return "", l.err
		case l.fetching == nil:
			if !c.begin(func() { l.refresh(c, cc) }) {
				defer l.mu.Unlock()
				return "", context.Canceled
			}
			l.fetching = make(chan struct{})
		}
		fetching := l.fetching
		l.mu.Unlock()
		select {
		case <-fetching:
		case <-ctx.Done():
			return "", fmt.Errorf("wait for a token from %s: %w", l.from, ctx.Err())
		case <-c.life.Done():
			return "", fmt.Errorf("wait for a token from %s: %w", l.from, c.life.Err())
		}
	}
}

func (l *login) refresh(c *connection, cc *grpc.ClientConn) {
	token, err := l.fetch(c.life, c, cc)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.fetching)
	l.fetching = nil
	if err != nil && c.life.Err() != nil {
		return // whoever needs the token next begins anew
	}
	l.token, l.valid, l.proven, l.err = token, err == nil, false, err
	if err != nil {
		l.next = time.Now().Add(l.pace.next())
	}
}

// forget takes in that etcd does not take token any more, which it says as cause.
func (l *login) forget(token string, cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.valid && l.token == token {
		if l.proven {
			l.pace = backoff{}
		}
		l.valid, l.err = false, cause
		l.next = time.Now().Add(l.pace.next())
	}
}

// prove takes in that etcd has taken token.
func (l *login) prove(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proven = l.proven || l.valid && l.token == token
}

// logIn checks in with a password, and sends that again, likely to another member,
// if there is no answer; but the first answer counts, whichever it is to.
func logIn(ctx context.Context, c *connection, cc *grpc.ClientConn, req *pb.AuthenticateRequest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	type answer struct {
		token string
		err   error
	}
	answers := make(chan answer, maxLogins)
	for sent := 1; ; sent++ {
		c.begin(func() {
			resp, err := pb.NewAuthClient(cc).Authenticate(ctx, req)
			answers <- answer{resp.GetToken(), err}
		})
		var again <-chan time.Time
		if sent < maxLogins {
			again = time.After(loginPause)
		}
		select {
		case a := <-answers:
			if isETCD(a.err, rpctypes.ErrAuthNotEnabled) {
				return "", nil
			}
			return a.token, a.err
		case <-again:
		}
	}
}

// tokenSource asks the user for tokens.
type tokenSource struct {
	ask func(context.Context) (string, error)

	mu    sync.Mutex
	asked chan answer[string] // of the call under way, nil if there is none
}

const tokenFunction = "the function of WithETCDToken"

// get calls the user's function, and waits no longer than tokenTimeout. If it has not
// returned since the last time, its answer is waited for instead of asking again.
func (s *tokenSource) get(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	s.mu.Lock()
	if s.asked == nil {
		s.asked = ask(tokenFunction, func() (string, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokenTimeout)
			defer cancel()
			return s.ask(ctx)
		})
	}
	asked := s.asked
	s.mu.Unlock()
	token, err := await(ctx, asked)
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s has not returned: %w", tokenFunction, ctx.Err())
	}
	s.mu.Lock()
	s.asked = nil
	s.mu.Unlock()
	if err == nil && token == "" {
		return "", fmt.Errorf("%s returned an empty token", tokenFunction)
	}
	return token, err
}
