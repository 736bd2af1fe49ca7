package distributed_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/b2552be4/distributed"
)

// What comes in place of etcd for a while, such as a balancer that has no member to
// offer, or a certificate that nobody has renewed in time, is not final, however
// long it takes.
func TestWhatIsNoAnswerOfETCDIsNeverFinal(t *testing.T) {
	t.Parallel()
	away := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no member", http.StatusServiceUnavailable)
	})
	quiet := log.New(io.Discard, "", 0) // they are talked to in vain, and say so
	plain := httptest.NewServer(away)
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(away)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	trusted := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	trusted.RootCAs.AddCert(secure.Certificate())
	expired := httptest.NewUnstartedServer(away)
	cert := expiredCertificate(t)
	expired.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	expired.EnableHTTP2 = true
	expired.Config.ErrorLog = quiet
	expired.StartTLS()
	t.Cleanup(expired.Close)
	old := httptest.NewUnstartedServer(away)
	old.Config.ErrorLog = quiet
	old.StartTLS()
	t.Cleanup(old.Close)
	trusted.RootCAs.AddCert(old.Certificate())
	knows := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	knows.RootCAs.AddCert(cert.Leaf)
	address := plain.Listener.Addr().String()
	for name, c := range map[string]struct {
		config clientv3.Config
		want   string
	}{
		"503":                   {clientv3.Config{Endpoints: []string{"http://" + address}}, ""},
		"503, with a password":  {clientv3.Config{Endpoints: []string{"http://" + address}, Username: "user", Password: "secret"}, ""},
		"503 in place of TLS":   {clientv3.Config{Endpoints: []string{"https://" + address}, TLS: trusted}, "tls: first record does not look like a TLS handshake"},
		"503 over TLS":          {clientv3.Config{Endpoints: []string{secure.URL}, TLS: trusted, Username: "user", Password: "secret"}, "503"},
		"503 without HTTP/2":    {clientv3.Config{Endpoints: []string{old.URL}, TLS: trusted}, "tls: no application protocol"},
		"certificate has ended": {clientv3.Config{Endpoints: []string{expired.URL}, TLS: knows}, "x509: certificate has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := distributed.NewETCDLeaseProvider(nil, config(c.config))
			said := false // not by each attempt: on a busy machine a handshake takes longer than that waits for it
			for begun := time.Now(); time.Since(begun) < 11*time.Second; time.Sleep(2 * time.Second) {
				_, err := provider.AcquireLease(testContext(t), distributed.LeaseRequest{App: "app", Instance: "a", Logger: new(logBuffer).logger()})
				require.Error(t, err)
				require.NotErrorIs(t, err, distributed.ErrPermanent)
				said = said || strings.Contains(err.Error(), c.want)
			}
			require.True(t, said, c.want)
		})
	}
}

func expiredCertificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
