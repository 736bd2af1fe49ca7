package main

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/kubernetes"
	"github.com/b2552be4/distributed/nats"
	"github.com/b2552be4/distributed/postgres"
)

// parse returns what makes a provider for the store at a URL: such as the command takes,
// with the login in it, but without the parameters that the command adds to those of the
// client.
func parse(store string) (func() distributed.LeaseProvider, error) {
	scheme, rest, _ := strings.Cut(store, "://")
	address, query, _ := strings.Cut(rest, "?")
	switch scheme {
	case "etcd":
		endpoints := strings.Split(address, ",")
		return func() distributed.LeaseProvider { return distributed.NewETCDLeaseProvider(endpoints) }, nil
	case "postgres", "postgresql":
		return func() distributed.LeaseProvider { return postgres.NewLeaseProvider(postgres.Config{URL: store}) }, nil
	case "nats", "tls":
		values, err := url.ParseQuery(query)
		if err != nil {
			return nil, err
		}
		config := nats.Config{}
		text := values.Get("replicas")
		if values.Del("replicas"); len(values) > 0 {
			return nil, errors.New("nats: nothing but replicas can be said behind the ?")
		}
		if text != "" {
			if config.Replicas, err = strconv.Atoi(text); err != nil {
				return nil, errors.New("replicas must be 1, 3 or 5")
			}
		}
		address, config.Stream, _ = strings.Cut(address, "/")
		for server := range strings.SplitSeq(address, ",") {
			config.Servers = append(config.Servers, scheme+"://"+server)
		}
		return func() distributed.LeaseProvider { return nats.NewLeaseProvider(config) }, nil
	case "kubernetes":
		if query != "" {
			return nil, errors.New("kubernetes: nothing can be said behind the namespace: the context and the kubeconfig are those that kubectl takes")
		}
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
		if err != nil {
			return nil, err
		}
		return func() distributed.LeaseProvider {
			return kubernetes.NewLeaseProvider(kubernetes.Config{REST: config, Namespace: address})
		}, nil
	}
	return nil, errors.New("must begin with etcd://, postgres://, nats:// or kubernetes://")
}
