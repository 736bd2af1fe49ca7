//go:build unix

package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/postgres"
)

// encrypt lets the server take connections with TLS, and returns the file of its
// certificate.
func (s *server) encrypt() string {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(s.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(s.t, err)
	for name, block := range map[string]*pem.Block{"server.crt": {Type: "CERTIFICATE", Bytes: certificate}, "server.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		path := filepath.Join(s.dir, name)
		require.NoError(s.t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
		if who := account(); who != nil {
			require.NoError(s.t, os.Chown(path, int(who.Uid), int(who.Gid)))
		}
	}
	s.exec("ALTER SYSTEM SET ssl = on")
	s.exec("SELECT pg_reload_conf()")
	return filepath.Join(s.dir, "server.crt")
}

// Connections with TLS stand what others do: timeouts while a feed waits, calls that
// are given up, networks that are cut.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	root := s.encrypt()
	l := s.link()
	url := fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=verify-full&sslrootcert=%s", l.Addr(), root)
	var store distributed.Store
	require.Eventually(t, func() (ok bool) { // the server reads its file a moment later
		var err error
		store, err = postgres.OpenStore(postgres.Config{URL: url, Poll: poll})(t.Context(), distributed.LeaseRequest{Instance: "test"})
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := follow(t, store, "app/")
	observer := follow(t, open(t, postgres.Config{URL: s.url(), Poll: poll}), "app/")
	f.await(func() bool { return f.steps > 10 }) // it has looked that often
	at := put(t, store, "app/document", "first", 0)
	f.awaitValue("app/document", "first")
	seen := f.told()
	f.await(func() bool { return f.steps > seen+1 })
	for i := range 5 {
		putInTime(t, store, fmt.Sprint("app/", i), "connected")
		l.HoldDown()
		ctx, giveUp := context.WithCancel(t.Context())
		given := make(chan error, 1)
		go func() {
			_, err := store.Put(ctx, "app/document", fmt.Append(nil, i), at)
			given <- err
		}()
		observer.awaitValue("app/document", fmt.Sprint(i))
		giveUp()
		require.ErrorIs(t, <-given, context.Canceled)
		l.Heal()
		f.awaitValue("app/document", fmt.Sprint(i))
		at = f.revision("app/document")
		l.Cut()
	}
	putInTime(t, store, "app/last", "last")
	f.awaitValue("app/last", "last")
	stranger := fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=verify-full&sslrootcert=", s.addr)
	require.ErrorIs(t, refusal(t, postgres.Config{URL: stranger}), distributed.ErrRefused, "the certificate is nobody's")
}
