package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeKubeconfig writes one with the context "here", which is the current one.
func writeKubeconfig(t *testing.T, server string) (path string) {
	path = filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(`{apiVersion: v1, kind: Config, current-context: here,
clusters: [{name: c, cluster: {server: "`+server+`", insecure-skip-tls-verify: true}}],
users: [{name: u, user: {token: secret}}],
contexts: [{name: here, context: {cluster: c, user: u}}]}`), 0o600))
	return path
}

func TestParse(t *testing.T) {
	for store, want := range map[string]place{
		"etcd://a:1,b:2/":                  {"etcd", "", "a:1,b:2", url.Values{}},
		"postgres:///shop?host=/run":       {"postgres", "", "/shop", url.Values{"host": {"/run"}}},
		"postgresql://me:p%40@a:1,b:2/db":  {"postgresql", "me:p%40@", "a:1,b:2/db", url.Values{}},
		"nats://me:p@ss@a,b/stream":        {"nats", "me:p@ss@", "a,b/stream", url.Values{}},
		"tls://a?creds=f&replicas=1":       {"tls", "", "a", url.Values{"creds": {"f"}, "replicas": {"1"}}},
		"kubernetes://n?context=arn:a:b/c": {"kubernetes", "", "n", url.Values{"context": {"arn:a:b/c"}}},
	} {
		p, err := parse(store)
		require.NoError(t, err, store)
		require.Equal(t, want, p, store)
		require.NotContains(t, p.String(), "@", store)
	}
}

func TestWrongStoresSayWhatIsWrong(t *testing.T) {
	t.Setenv("KUBECONFIG", writeKubeconfig(t, "https://127.0.0.1:1"))
	for args, want := range map[string]string{
		"x":                                        "must begin with etcd://, etcds://, postgres://, nats://, tls:// or kubernetes://",
		"redis://me:secret@x":                      "must begin with etcd://, etcds://, postgres://, nats://, tls:// or kubernetes://",
		"nats://a?creds=%":                         "--store nats://: behind the ?",
		"etcd://me:secret@a:1":                     "--store etcd://a:1: the user must be in --user",
		"etcd://":                                  "--store etcd://: must have a host: etcd://HOST:PORT",
		"etcds://":                                 "must have a host: etcds://HOST:PORT",
		"etcd://a:1?x=1":                           `--store etcd://a:1: there is no parameter "x"`,
		"postgres://me:secret@a -user b:c":         "--store postgres://a: there is a user in it",
		"postgres://a -cacert f":                   "--store postgres://a: the URL must say how to use TLS",
		"postgres://a -user me":                    "no password",
		"postgres://me:secret@a:b/c":               "postgres.Config.URL",
		"postgres://a?schema=A":                    `postgres.Config.Schema "A"`,
		"nats://":                                  "--store nats://: must have a host: nats://HOST:PORT",
		"nats:///stream":                           "must have a host",
		"nats://me:secret@a/b?stream=c":            `--store nats://a/b: there is no parameter "stream"`,
		"nats://a?replicas=x":                      "replicas=x must be 1, 3 or 5",
		"nats://a?replicas=2":                      "Config.Replicas 2: must be 1, 3 or 5",
		"nats://a/b.c":                             `Config.Stream "b.c"`,
		"nats://a -user me":                        "no password",
		"nats://127.0.0.1:1?creds=none":            "none",
		"tls://a -cacert none":                     "--cacert",
		"kubernetes://":                            "must have the namespace of the Leases: kubernetes://NAMESPACE",
		"kubernetes://a/b":                         `Config.Namespace "a/b"`,
		"kubernetes://a?namespace=b":               `there is no parameter "namespace"`,
		"kubernetes://a?context=there":             `context "there" does not exist`,
		"kubernetes://a?kubeconfig=none":           "none",
		"kubernetes://me:secret@a":                 "--store kubernetes://a: the kubeconfig says how to log in",
		"kubernetes://a -insecure-skip-tls-verify": "the kubeconfig says how to log in",
	} {
		var out, errs strings.Builder
		call := strings.Fields("jobs -app a -timeout 300ms -store " + args)
		require.Equal(t, exitFailed, run(t.Context(), call, strings.NewReader(""), &out, &errs), args)
		require.Contains(t, errs.String(), want, args)
		require.NotContains(t, errs.String(), "secret", args)
		require.Empty(t, out.String(), args)
	}
}

// Both to look and to give an order.
func TestAStoreThatCannotBeReachedIsNamed(t *testing.T) {
	t.Setenv("KUBECONFIG", writeKubeconfig(t, "https://127.0.0.1:1"))
	for store, want := range map[string]string{
		"etcd://127.0.0.1:1":               "connection refused",
		"postgres://me:secret@127.0.0.1:1": "connection refused",
		"nats://me:secret@127.0.0.1:1":     "no servers available",
		"kubernetes://distributed":         "connection refused",
	} {
		for _, verb := range []string{"jobs", "resume job"} {
			t.Run(verb+" "+store, func(t *testing.T) {
				t.Parallel()
				var out, errs strings.Builder
				call := strings.Fields(verb + " -app a -timeout 3s -store " + store)
				require.Equal(t, exitFailed, run(t.Context(), call, strings.NewReader(""), &out, &errs))
				require.Contains(t, errs.String(), "127.0.0.1:1")
				require.Contains(t, errs.String(), want)
				require.NotContains(t, errs.String(), "secret")
			})
		}
	}
}

// What is refused stays so, and nobody waits for the time to run out.
func TestARefusalEndsTheCall(t *testing.T) {
	asked := make(chan string, 100)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path + " " + r.Header.Get("Authorization")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	path := writeKubeconfig(t, server.URL)
	var out, errs strings.Builder
	call := []string{"nodes", "-app", "a", "-timeout", "1h", "-store", "kubernetes://jobs?context=here&kubeconfig=" + path}
	require.Equal(t, exitFailed, run(t.Context(), call, strings.NewReader(""), &out, &errs))
	require.Contains(t, errs.String(), "kubernetes at "+server.URL+", namespace jobs: distributed: refused by the store")
	require.Equal(t, "/apis/coordination.k8s.io/v1/namespaces/jobs/leases Bearer secret", <-asked)
}

func TestHelpDoesNotTellThePassword(t *testing.T) {
	t.Setenv("DISTRIBUTED_STORE", "postgres://me:secret@a")
	var out, errs strings.Builder
	require.Zero(t, run(t.Context(), []string{"help"}, strings.NewReader(""), &out, &errs))
	require.Contains(t, out.String(), "kubernetes://NAMESPACE")
	require.NotContains(t, out.String(), "secret")
}
