package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/kubernetes"
	"github.com/b2552be4/distributed/nats"
	"github.com/b2552be4/distributed/postgres"
	natsgo "github.com/nats-io/nats.go"
	clientv3 "go.etcd.io/etcd/client/v3"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what a kubeconfig may log in with
	"k8s.io/client-go/tools/clientcmd"
)

const storesHelp = `--store says where the documents of the app are, as its nodes have it:

  etcd://HOST:PORT,HOST:PORT                      etcds:// for TLS
  postgres://HOST:PORT,HOST:PORT/DATABASE         or any other URL that psql takes
      ?schema=NAME                                default: distributed
  nats://HOST:PORT,HOST:PORT                      tls:// for TLS
  nats://HOST:PORT,HOST:PORT/STREAM               default: distributed
      ?creds=FILE                                 of the user
      &replicas=N                                 1, 3 or 5; default: 3
  kubernetes://NAMESPACE                          with the kubeconfig that kubectl uses
      ?context=NAME                               default: the current one
      &kubeconfig=FILE

--user and --password are for all of them but kubernetes://, and --cacert, --cert, --key,
--server-name and --insecure-skip-tls-verify for etcd and NATS: a URL of PostgreSQL has sslmode,
sslrootcert and so on, and a kubeconfig has it all.`

// place is what the URL of a store says.
type place struct {
	scheme  string
	login   string // what is before the @, and the @
	address string // of hosts, and a path
	query   url.Values
}

// stores are those that there are, by the scheme of their URLs.
var stores = map[string]func(c *conn, p place) (distributed.LeaseProvider, error){
	"etcd":       (*conn).etcd,
	"etcds":      (*conn).etcd,
	"postgres":   (*conn).postgres,
	"postgresql": (*conn).postgres,
	"nats":       (*conn).nats,
	"tls":        (*conn).nats,
	"kubernetes": (*conn).kubernetes,
}

// parse reads the URL of a store. Its errors say nothing of what may be a password.
func parse(store string) (place, error) {
	scheme, rest, ok := strings.Cut(store, "://")
	if !ok || stores[scheme] == nil {
		return place{}, errors.New("--store must begin with etcd://, etcds://, postgres://, nats://, tls:// or kubernetes://")
	}
	address, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return place{}, fmt.Errorf("--store %s://: behind the ?: %w", scheme, err)
	}
	at := strings.LastIndex(address, "@") + 1
	return place{scheme, address[:at], strings.TrimSuffix(address[at:], "/"), values}, nil
}

// String tells where it is, and not how to log in.
func (p place) String() string { return p.scheme + "://" + p.address }

// only refuses what no store of this kind has.
func (p place) only(parameters ...string) error {
	for _, name := range slices.Sorted(maps.Keys(p.query)) {
		if !slices.Contains(parameters, name) {
			return fmt.Errorf("--store %v: there is no parameter %q", p, name)
		}
	}
	return nil
}

func (c *conn) etcd(p place) (distributed.LeaseProvider, error) {
	if err := p.only(); err != nil {
		return nil, err
	}
	if p.login != "" {
		return nil, fmt.Errorf("--store %v: the user must be in --user", p)
	}
	if p.address == "" {
		return nil, fmt.Errorf("--store %v: must have a host: %s://HOST:PORT", p, p.scheme)
	}
	var config clientv3.Config
	var err error
	if config.Username, config.Password, err = c.login(); err != nil {
		return nil, err
	}
	if config.TLS, err = c.tls(p.scheme == "etcds"); err != nil {
		return nil, err
	}
	prefix := "http://"
	if config.TLS != nil {
		prefix = "https://"
	}
	endpoints := strings.Split(p.address, ",")
	for i := range endpoints {
		endpoints[i] = prefix + endpoints[i]
	}
	return distributed.NewETCDLeaseProvider(endpoints, distributed.WithETCDConfig(config), distributed.WithNamespace(c.namespace)), nil
}

func (c *conn) postgres(p place) (distributed.LeaseProvider, error) {
	if c.hasTLS() {
		return nil, fmt.Errorf("--store %v: the URL must say how to use TLS (sslmode, sslrootcert, sslcert, sslkey), and not --cacert, --cert, --key, --server-name or --insecure-skip-tls-verify", p)
	}
	user, password, err := c.login()
	switch {
	case err != nil:
		return nil, err
	case user != "" && p.login != "":
		return nil, fmt.Errorf("--store %v: there is a user in it, and another in --user", p)
	case user != "":
		p.login = url.UserPassword(user, password).String() + "@"
	}
	config := postgres.Config{Schema: p.query.Get("schema")}
	p.query.Del("schema")
	config.URL = "postgres://" + p.login + p.address + "?" + p.query.Encode()
	return postgres.NewLeaseProvider(config, distributed.WithNamespace(c.namespace)), nil
}

func (c *conn) nats(p place) (distributed.LeaseProvider, error) {
	if err := p.only("creds", "replicas"); err != nil {
		return nil, err
	}
	hosts, stream, _ := strings.Cut(p.address, "/")
	if hosts == "" {
		return nil, fmt.Errorf("--store %v: must have a host: nats://HOST:PORT", p)
	}
	config := nats.Config{Stream: stream}
	for host := range strings.SplitSeq(hosts, ",") {
		config.Servers = append(config.Servers, p.scheme+"://"+p.login+host)
	}
	if n := p.query.Get("replicas"); n != "" {
		var err error
		if config.Replicas, err = strconv.Atoi(n); err != nil || config.Replicas < 1 {
			return nil, fmt.Errorf("--store %v: replicas=%s must be 1, 3 or 5", p, n)
		}
	}
	user, password, err := c.login()
	if err != nil {
		return nil, err
	}
	if user != "" {
		config.Options = append(config.Options, natsgo.UserInfo(user, password))
	}
	if file := p.query.Get("creds"); file != "" {
		config.Options = append(config.Options, natsgo.UserCredentials(file))
	}
	tls, err := c.tls(p.scheme == "tls")
	if err != nil {
		return nil, err
	}
	if tls != nil {
		config.Options = append(config.Options, natsgo.Secure(tls))
	}
	return nats.NewLeaseProvider(config, distributed.WithNamespace(c.namespace)), nil
}

func (c *conn) kubernetes(p place) (distributed.LeaseProvider, error) {
	if err := p.only("context", "kubeconfig"); err != nil {
		return nil, err
	}
	if user, password := c.given(); c.hasTLS() || user != "" || password != "" || p.login != "" {
		return nil, fmt.Errorf("--store %v: the kubeconfig says how to log in and use TLS: give no user, and no --cacert, --cert, --key, --server-name or --insecure-skip-tls-verify", p)
	}
	if p.address == "" {
		return nil, fmt.Errorf("--store %v: must have the namespace of the Leases: kubernetes://NAMESPACE", p)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = p.query.Get("kubeconfig")
	overrides := &clientcmd.ConfigOverrides{CurrentContext: p.query.Get("context")}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("--store %v: kubeconfig: %w", p, err)
	}
	return kubernetes.NewLeaseProvider(kubernetes.Config{REST: config, Namespace: p.address}, distributed.WithNamespace(c.namespace)), nil
}
