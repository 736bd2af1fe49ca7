package etcdtest

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// server is a member's etcd from one start to the next stop. Its methods work
// around three properties of embed's Close: it waits 7 s for open streams to
// end, and watches do not end; it waits as long for a handover of leadership
// when there is nobody left to take it; and it waits for ever when the server
// never became ready.
type server struct {
	etcd *embed.Etcd
	grpc *grpc.Server // serves the clients; nil until etcd is ready
}

// startServer returns when the server is ready, or why it never was.
func startServer(ctx context.Context, cfg *embed.Config) (*server, error) {
	registered := make(chan *grpc.Server, 1)
	cfg.ServiceRegister = func(g *grpc.Server) { registered <- g }
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	s := &server{etcd: etcd}
	select {
	case s.grpc = <-registered: // happens after etcd has become ready
		return s, nil
	case err = <-etcd.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.kill()
	return nil, fmt.Errorf("member %s did not get ready: %w", cfg.Name, err)
}

func (s *server) leads() bool {
	return s.etcd.Server.Leader() == s.etcd.Server.MemberID()
}

func (s *server) stop() {
	s.cutClients()
	s.etcd.Close()
}

func (s *server) kill() {
	if s.grpc != nil {
		s.cutClients()
	}
	s.etcd.Server.HardStop()
	s.etcd.Close()
}

// cutClients needs both ways to stop. GracefulStop waits for the clients; Stop
// does not, but with TLS, where gRPC sits behind net/http, it accepts streams
// that come while it stops, and waits for those for ever.
func (s *server) cutClients() {
	var wg sync.WaitGroup
	wg.Go(s.grpc.GracefulStop)
	s.grpc.Stop()
	wg.Wait()
}
