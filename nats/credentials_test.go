//go:build unix

package nats

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

// A file with credentials, and TLS, as NATS services have them.
func TestCredentialsAndTLS(t *testing.T) {
	t.Parallel()
	operator := newKey(t, nkeys.CreateOperator)
	account, stranger, system := newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	web := httptest.NewTLSServer(nil) // it has a certificate for 127.0.0.1
	defer web.Close()
	config := memberConfigs(t, 1)[0]
	o := config.options()
	o.TLSConfig = &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	o.TrustedOperators = []*jwt.OperatorClaims{jwt.NewOperatorClaims(operator.public(t))}
	accounts := new(server.MemAccResolver)
	token, err := jwt.NewAccountClaims(system.public(t)).Encode(operator)
	require.NoError(t, err)
	require.NoError(t, accounts.Store(system.public(t), token))
	claims := jwt.NewAccountClaims(account.public(t))
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit}
	token, err = claims.Encode(operator)
	require.NoError(t, err)
	require.NoError(t, accounts.Store(account.public(t), token))
	o.AccountResolver, o.SystemAccount = accounts, system.public(t)
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(20*time.Second))

	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	good, trust := nats.UserCredentials(account.credentials(t)), nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	open := func(options ...nats.Option) (distributed.Store, error) {
		return Config{Servers: []string{"tls://" + config.addr()}, Replicas: 1, Options: append(options, patient)}.open(t.Context(), distributed.LeaseRequest{Instance: "test"})
	}
	for _, options := range [][]nats.Option{{good}, {trust}, {trust, nats.UserCredentials(stranger.credentials(t))}} {
		_, err := open(options...)
		require.ErrorIs(t, err, distributed.ErrRefused)
	}
	node, err := open(trust, good)
	require.NoError(t, err)
	defer node.Close()
	at, err := node.Put(t.Context(), "app/key", []byte("value"), 0)
	require.NoError(t, err)
	require.NoError(t, node.Delete(t.Context(), "app/key", at))
	require.True(t, follow(t, node.(*store), "app/").Whole)
}

type key struct{ nkeys.KeyPair }

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) key {
	k, err := create()
	require.NoError(t, err)
	return key{k}
}

func (k key) public(t *testing.T) string {
	p, err := k.PublicKey()
	require.NoError(t, err)
	return p
}

// credentials writes a file for a user of the account.
func (k key) credentials(t *testing.T) (path string) {
	user := newKey(t, nkeys.CreateUser)
	token, err := jwt.NewUserClaims(user.public(t)).Encode(k)
	require.NoError(t, err)
	seed, err := user.Seed()
	require.NoError(t, err)
	file, err := jwt.FormatUserConfig(token, seed)
	require.NoError(t, err)
	path = filepath.Join(t.TempDir(), "creds")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	return path
}
