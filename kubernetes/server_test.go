//go:build unix

package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/client-go/rest"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/internal/nodetest"
	"github.com/b2552be4/distributed/internal/process"
	"github.com/b2552be4/distributed/storetest"
)

// server is the role of an API server, or its etcd, in a process that can be killed
// and frozen.
const server = "server"

func TestMain(m *testing.M) {
	nodetest.RunRole(func(servers []string, opts ...distributed.LeaseOption) distributed.LeaseProvider {
		return NewLeaseProvider(Config{REST: &rest.Config{
			Host: "https://" + servers[0], BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // it is on this machine
		}, Namespace: "default"}, opts...)
	}, map[string]process.Role{server: func(config []byte) error {
		var args []string
		if err := json.Unmarshal(config, &args); err != nil {
			return err
		}
		return syscall.Exec(args[0], args, os.Environ())
	}})
	// The tests mostly wait, so more of them run at a time than there are cores.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/b2552be4/distributed/internal/process.spawnAll"))
}

const token = "secret"

// executable builds the servers: minutes the first time, and then a second.
var executable = sync.OnceValues(func() (string, error) {
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", "server", ".")
	build.Dir, build.Stderr = "testdata/server", os.Stderr
	if err := build.Run(); err != nil {
		return "", err
	}
	return filepath.Abs("testdata/server/server")
})

// cluster is an etcd with an API server or more.
type cluster struct {
	t    testing.TB
	bin  string
	dir  string
	addr string // of etcd
	etcd *process.Process
	apis []*api
}

// api is an API server.
type api struct {
	*process.Process
	addr string
	ca   string
}

func startCluster(t testing.TB, apis int) *cluster {
	bin, err := executable()
	require.NoError(t, err)
	c := &cluster{t: t, bin: bin, dir: t.TempDir(), addr: freeAddr(t)}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	c.write("sa.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	c.write("tokens.csv", []byte(token+",admin,1,\"system:masters\"\nplain,bob,2\nnode,node,3\n"))
	c.startETCD("etcd")
	t.Cleanup(func() { c.etcd.Kill() })
	for range apis {
		a := &api{addr: freeAddr(t)}
		a.ca = filepath.Join(c.dir, "certs"+a.addr, "apiserver.crt")
		c.apis = append(c.apis, a)
		c.startAPI(a)
		t.Cleanup(func() { a.Kill() })
		c.ready(a)
	}
	return c
}

func freeAddr(t testing.TB) string {
	addr, err := link.FreeAddr()
	require.NoError(t, err)
	return addr
}

func (c *cluster) write(name string, data []byte) {
	require.NoError(c.t, os.WriteFile(filepath.Join(c.dir, name), data, 0o600))
}

func (c *cluster) start(name string, args ...string) *process.Process {
	log, err := os.OpenFile(filepath.Join(c.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	defer log.Close()
	p, err := process.Start(server, append([]string{c.bin}, args...), log)
	require.NoError(c.t, err)
	return p
}

// startETCD starts etcd on the data in dir.
func (c *cluster) startETCD(dir string) {
	client, peer := "http://"+c.addr, "http://"+freeAddr(c.t)
	c.etcd = c.start("etcd", "etcd", "--data-dir="+filepath.Join(c.dir, dir), "--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer, "--unsafe-no-fsync", "--log-level=error")
}

func (c *cluster) startAPI(a *api) {
	_, port, _ := net.SplitHostPort(a.addr)
	key := filepath.Join(c.dir, "sa.key")
	a.Process = c.start("api"+port, "apiserver", "--etcd-servers=http://"+c.addr, "--bind-address=127.0.0.1", "--secure-port="+port,
		"--cert-dir="+filepath.Dir(a.ca), "--token-auth-file="+filepath.Join(c.dir, "tokens.csv"), "--authorization-mode=RBAC",
		"--endpoint-reconciler-type=none", "--service-account-issuer=https://x", "--service-account-key-file="+key, "--service-account-signing-key-file="+key)
}

// ready waits until the API server is.
func (c *cluster) ready(a *api) {
	require.Eventually(c.t, func() bool {
		client, err := rest.HTTPClientFor(c.rest(a, a.addr)) // fails until the certificate is written
		if err != nil {
			return false
		}
		defer client.CloseIdleConnections()
		resp, err := client.Get("https://" + a.addr + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == 200
	}, 2*time.Minute, 50*time.Millisecond)
}

// rest is how an API server is reached at addr.
func (c *cluster) rest(a *api, addr string) *rest.Config {
	return &rest.Config{Host: "https://" + addr, BearerToken: token, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAFile: a.ca}}
}

func (c *cluster) config(i int) Config {
	return Config{REST: c.rest(c.apis[i], c.apis[i].addr), Namespace: "default"}
}

// space opens stores each of which has a link of its own, to one of the API servers.
func (c *cluster) space(t *testing.T) storetest.Space {
	links := map[distributed.Store]*link.Link{}
	return storetest.Space{
		Open: func() distributed.Store {
			a := c.apis[len(links)%len(c.apis)]
			l, err := link.New(a.addr)
			require.NoError(t, err)
			s, err := Config{REST: c.rest(a, l.Addr()), Namespace: "default"}.open(context.Background(), distributed.LeaseRequest{})
			require.NoError(t, err)
			links[s] = l
			t.Cleanup(l.Close)
			return s
		},
		TooLarge:     256<<10 + 1,
		HoldRequests: func(s distributed.Store) func() { links[s].HoldUp(); return links[s].Heal },
		HoldReplies:  func(s distributed.Store) func() { links[s].HoldDown(); return links[s].Heal },
	}
}
