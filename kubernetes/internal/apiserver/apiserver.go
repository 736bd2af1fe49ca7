//go:build unix

// Package apiserver runs etcd and kube-apiserver as processes that can be killed and
// frozen, for tests and measurements.
package apiserver

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/process"
)

// Role is the name of the role in which a child is a server: see Roles.
const Role = "server"

// Token is that of a user with all rights. The tokens "plain" and "node" are of users
// without any, of the same names.
const Token = "secret"

// Roles are what the program must give to process.RunRole.
func Roles() map[string]process.Role {
	return map[string]process.Role{Role: process.RoleOf(func(args []string) error {
		return syscall.Exec(args[0], args, os.Environ())
	})}
}

// Build builds the servers in the module at dir: minutes the first time, and then a
// second. It returns the executable.
func Build(dir string) (string, error) {
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", "server", ".")
	build.Dir, build.Stderr = dir, os.Stderr
	if err := build.Run(); err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(dir, "server"))
}

// Cluster is an etcd with an API server or more.
type Cluster struct {
	Dir     string // of all data
	ETCD    *process.Process
	Servers []*Server

	executable string
	addr       string // of etcd
}

// Server is an API server.
type Server struct {
	*process.Process
	Addr string

	flags []string
	ca    string
}

// Start starts etcd, and as many API servers, with more flags if there are any. It
// returns when all are ready. The caller calls Kill, whatever it returns.
func Start(executable, dir string, servers int, flags ...string) (*Cluster, error) {
	c := &Cluster{Dir: dir, executable: executable}
	var err error
	if c.addr, err = link.FreeAddr(); err != nil {
		return c, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return c, err
	}
	if err := errors.Join(
		c.write("sa.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		c.write("tokens.csv", []byte(Token+",admin,1,\"system:masters\"\nplain,plain,2\nnode,node,3\n")),
		c.StartETCD("etcd"),
	); err != nil {
		return c, err
	}
	for range servers {
		addr, err := link.FreeAddr()
		if err != nil {
			return c, err
		}
		s := &Server{Addr: addr, flags: flags, ca: filepath.Join(dir, "certs"+addr, "apiserver.crt")}
		c.Servers = append(c.Servers, s)
		if err := c.StartServer(s); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Kill ends all processes.
func (c *Cluster) Kill() {
	for _, s := range c.Servers {
		if s.Process != nil {
			s.Kill()
		}
	}
	if c.ETCD != nil {
		c.ETCD.Kill()
	}
}

func (c *Cluster) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(c.Dir, name), data, 0o600)
}

func (c *Cluster) start(name string, args ...string) (*process.Process, error) {
	log, err := os.OpenFile(filepath.Join(c.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() //nolint:errcheck // the child has it
	return process.Start(Role, append([]string{c.executable}, args...), log)
}

// StartETCD starts etcd on the data in a directory below Dir.
func (c *Cluster) StartETCD(data string) error {
	own, err := link.FreeAddr()
	if err != nil {
		return err
	}
	client, peer := "http://"+c.addr, "http://"+own
	c.ETCD, err = c.start("etcd", "etcd", "--data-dir="+filepath.Join(c.Dir, data), "--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer, "--unsafe-no-fsync", "--log-level=error")
	return err
}

// StartServer starts an API server, and returns when it is ready.
func (c *Cluster) StartServer(s *Server) error {
	_, port, _ := net.SplitHostPort(s.Addr)
	key := filepath.Join(c.Dir, "sa.key")
	var err error
	s.Process, err = c.start("api"+port, append([]string{
		"apiserver", "--etcd-servers=http://" + c.addr, "--bind-address=127.0.0.1", "--secure-port=" + port,
		"--cert-dir=" + filepath.Dir(s.ca), "--token-auth-file=" + filepath.Join(c.Dir, "tokens.csv"), "--authorization-mode=RBAC",
		"--endpoint-reconciler-type=none", "--service-account-issuer=https://x", "--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
	}, s.flags...)...)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := s.ready()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Server) ready() error {
	client, err := rest.HTTPClientFor(s.REST(s.Addr)) // fails until the certificate is written
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+s.Addr+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("the API server is not ready: %s", resp.Status), err)
	}
	return nil
}

// REST is how the server is reached at addr, by a user with all rights.
func (s *Server) REST(addr string) *rest.Config {
	return &rest.Config{Host: "https://" + addr, BearerToken: Token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAFile: s.ca}}
}
