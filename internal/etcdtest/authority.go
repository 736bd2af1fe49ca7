package etcdtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// Authority signs certificates, for the members of a cluster with TLS and for
// their clients. A test makes a second one for a client nobody trusts.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an Authority with a key of its own.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template("etcdtest authority")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert: cert, key: key}, err
}

// ClientConfig returns the configuration of a client that trusts the Authority
// and has a certificate of it for commonName, which etcd takes for the user.
func (a *Authority) ClientConfig(commonName string) (*tls.Config, error) {
	cert, err := a.issue(commonName)
	if err != nil {
		return nil, err
	}
	cfg := a.AnonymousConfig()
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, nil
}

// AnonymousConfig returns the configuration of a client that trusts the
// Authority and has no certificate.
func (a *Authority) AnonymousConfig() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// issue returns a certificate for a server on the loopback interface or a client.
func (a *Authority) issue(commonName string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := template(commonName)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func template(commonName string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// tlsFiles are where etcd reads a member's certificate from.
type tlsFiles struct {
	ca, cert, key  string
	clientCertAuth bool
}

func (f *tlsFiles) info() transport.TLSInfo {
	info := transport.TLSInfo{CertFile: f.cert, KeyFile: f.key}
	if f.clientCertAuth {
		info.ClientCertAuth = true
		info.TrustedCAFile = f.ca // for etcd this alone would be a demand as well
	}
	return info
}

// writeFiles issues a certificate for the members and puts it into dir.
func (a *Authority) writeFiles(dir string, clientCertAuth bool) (*tlsFiles, error) {
	cert, err := a.issue("etcd")
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, err
	}
	f := &tlsFiles{
		ca:             filepath.Join(dir, "ca.pem"),
		cert:           filepath.Join(dir, "server.pem"),
		key:            filepath.Join(dir, "server-key.pem"),
		clientCertAuth: clientCertAuth,
	}
	for _, file := range []struct {
		path, kind string
		der        []byte
	}{
		{f.ca, "CERTIFICATE", a.cert.Raw},
		{f.cert, "CERTIFICATE", cert.Certificate[0]},
		{f.key, "PRIVATE KEY", key},
	} {
		block := pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.der})
		if err := os.WriteFile(file.path, block, 0o600); err != nil {
			return nil, err
		}
	}
	return f, nil
}
