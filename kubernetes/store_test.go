//go:build unix

package kubernetes

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/kubernetes/internal/apiserver"
)

func TestWhatCannotWorkIsAnErrorBeforeAnythingIsWritten(t *testing.T) {
	for field, config := range map[string]Config{
		"Config.REST is nil": {Namespace: "default"},
		"Transport":          {Namespace: "default", REST: &rest.Config{Transport: http.DefaultTransport}},
		"Config.Namespace":   {REST: &rest.Config{}, Namespace: "Default"},
		"Config.REST: ":      {Namespace: "default", REST: &rest.Config{Host: "https://127.0.0.1:1", TLSClientConfig: rest.TLSClientConfig{CAFile: "missing"}}},
	} {
		c := distributed.NewConcurrency("app", "node", NewLeaseProvider(config))
		_, err := c.Campaign(t.Context(), "job")
		require.ErrorIs(t, err, distributed.ErrInvalidConfig)
		require.ErrorContains(t, err, field)
		require.NoError(t, c.Close())
	}
}

// Names are those of Kubernetes, whatever the app and the job are called.
func TestLeasesHaveLegalNamesThatTellThemApart(t *testing.T) {
	seen := map[string]string{}
	for _, key := range []string{"shop/epoch", "Shop/epoch", "/", "ä/é", strings.Repeat("k", 700), strings.Repeat("k", 699) + "/", "a.b/c", "a-b/c", "-/-"} {
		n := name(key)
		require.Regexp(t, `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, n)
		require.LessOrEqual(t, len(n), 253)
		require.NotContains(t, seen, n)
		seen[n] = key
	}
	require.True(t, strings.HasPrefix(name("shop/nodes/k7yq2m5xw3ndahgt"), "shop-nodes-k7yq2m5xw3ndahgt-"))
}

// admin is a client with all rights.
func (c *cluster) admin() *kubernetes.Clientset {
	clients, err := kubernetes.NewForConfig(c.config(0).REST)
	require.NoError(c.t, err)
	return clients
}

func (c *cluster) open(t *testing.T) *store {
	s, err := c.config(0).open(t.Context(), distributed.LeaseRequest{})
	require.NoError(t, err)
	return s.(*store)
}

func readsWell(t *testing.T, c *cluster) {
	s := c.open(t)
	defer s.Close()
	_, err := s.Put(t.Context(), "shop/nodes/k7yq", []byte(`{"v":1,"instance":"shop-1","ttl":10000,"beat":3}`), 0)
	require.NoError(t, err)
	list, err := c.admin().CoordinationV1().Leases("default").List(t.Context(), metav1.ListOptions{LabelSelector: "distributed/app=shop,distributed/kind=nodes"})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, "shop-1", *list.Items[0].Spec.HolderIdentity)
	require.Equal(t, int32(10), *list.Items[0].Spec.LeaseDurationSeconds)
	require.WithinDuration(t, time.Now(), list.Items[0].Spec.RenewTime.Time, time.Minute)
}

func lateUpdate(t *testing.T, c *cluster) {
	s := c.open(t)
	defer s.Close()
	at, err := s.Put(t.Context(), "late/key", []byte("value"), 0)
	require.NoError(t, err)
	require.NoError(t, c.admin().CoordinationV1().Leases("default").Delete(t.Context(), name("late/key"), metav1.DeleteOptions{}))
	_, err = s.Put(t.Context(), "late/key", []byte("late"), at)
	require.Equal(t, &distributed.ConflictError{Key: "late/key"}, err)
	_, err = c.admin().CoordinationV1().Leases("default").Get(t.Context(), name("late/key"), metav1.GetOptions{})
	require.Error(t, err)
}

func strangers(t *testing.T, c *cluster) {
	s := c.open(t)
	defer s.Close()
	_, err := s.Put(t.Context(), "touched/key", []byte("value"), 0)
	require.NoError(t, err)
	patch := func(kind types.PatchType, body any) *coordinationv1.Lease {
		b, err := json.Marshal(body)
		require.NoError(t, err)
		l, err := c.admin().CoordinationV1().Leases("default").Patch(t.Context(), name("touched/key"), kind, b, metav1.PatchOptions{})
		require.NoError(t, err)
		return l
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := c.open(t)
	defer seen.Close()
	steps, ended := make(chan distributed.Step, 100), make(chan error, 1)
	go func() {
		ended <- seen.Follow(ctx, "touched/", func(step distributed.Step) {
			if len(step.Documents) > 0 || step.Whole {
				steps <- step
			}
		})
	}()
	require.True(t, (<-steps).Whole)
	type m = map[string]any
	unlabeled := patch(types.MergePatchType, m{"metadata": m{"labels": m{managedLabel: nil, kindLabel: nil}}})
	stripped := patch(types.MergePatchType, m{"metadata": m{"annotations": m{keyAnnotation: nil}}})
	first, _ := revision(unlabeled.ResourceVersion)
	second, _ := revision(stripped.ResourceVersion)
	require.Equal(t, distributed.Step{Revision: first, Documents: []distributed.Document{{Key: "touched/key", Value: []byte("value"), Revision: first}}}, <-steps)
	listed := <-steps // the event says no more what it was
	require.True(t, listed.Whole)
	require.GreaterOrEqual(t, listed.Revision, second)
	require.Empty(t, listed.Documents)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func idle(t *testing.T, c *cluster) {
	s := c.open(t)
	defer s.Close()
	_, err := s.Put(t.Context(), "idle/key", []byte("value"), 0)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = s.Follow(ctx, "idle/", func(step distributed.Step) {
		if !step.Whole {
			require.Empty(t, step.Documents)
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
}

func manifest(t *testing.T, c *cluster) {
	as := func(token, namespace string) Config {
		config := c.config(0)
		config.REST.BearerToken, config.Namespace = token, namespace
		return config
	}
	for _, config := range []Config{as("wrong", "default"), as("plain", "default"), as("node", "distributed")} {
		_, err := config.open(t.Context(), distributed.LeaseRequest{})
		require.ErrorIs(t, err, distributed.ErrRefused)
	}
	file, err := os.ReadFile("rbac.yaml")
	require.NoError(t, err)
	role, binding, _ := strings.Cut(string(file), "---\n")
	var r rbacv1.Role
	var b rbacv1.RoleBinding
	require.NoError(t, yaml.UnmarshalStrict([]byte(role), &r))
	require.NoError(t, yaml.UnmarshalStrict([]byte(binding), &b))
	b.Subjects = []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "node"}}
	r.Namespace, b.Namespace = "default", "default"
	_, err = c.admin().RbacV1().Roles("default").Create(t.Context(), &r, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.admin().RbacV1().RoleBindings("default").Create(t.Context(), &b, metav1.CreateOptions{})
	require.NoError(t, err)
	var s distributed.Store
	require.Eventually(t, func() bool { // the API server has taken it in
		s, err = as("node", "default").open(t.Context(), distributed.LeaseRequest{})
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	defer s.Close()
	at, err := s.Put(t.Context(), "role/key", []byte("value"), 0)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	listed := make(chan struct{})
	written := make(chan error, 1)
	go func() {
		<-listed
		var err error
		at, err = s.Put(t.Context(), "role/key", []byte("more"), at)
		written <- err
	}()
	err = s.Follow(ctx, "role/", func(step distributed.Step) {
		switch {
		case step.Whole:
			close(listed)
		case len(step.Documents) > 0: // the watch has told it
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, <-written)
	require.NoError(t, s.Delete(t.Context(), "role/key", at))
}

// throttled has an API server answer as priority and fairness do, three times in a row:
// the client asks no second time by itself, and the next heartbeat counts.
func throttled(t *testing.T, c *cluster) {
	at := c.Servers[0].REST(c.Servers[0].Addr)
	transport, err := rest.TransportFor(at)
	require.NoError(t, err)
	target, err := url.Parse(at.Host)
	require.NoError(t, err)
	var left, changes atomic.Int64
	through := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, FlushInterval: -1}
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			changes.Add(1)
			if left.Add(-1) >= 0 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
		}
		through.ServeHTTP(w, r)
	}))
	proxy.EnableHTTP2 = true
	proxy.StartTLS()
	defer proxy.Close()
	config := Config{REST: &rest.Config{Host: proxy.URL, BearerToken: apiserver.Token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, Namespace: "default"}

	s, err := config.open(t.Context(), distributed.LeaseRequest{})
	require.NoError(t, err)
	left.Store(1)
	_, err = s.Put(t.Context(), "throttled/key", []byte("value"), 0)
	require.True(t, apierrors.IsTooManyRequests(err), err)
	require.NotErrorIs(t, err, distributed.ErrRefused)
	require.EqualValues(t, 1, changes.Load())
	_, err = s.Put(t.Context(), "throttled/key", []byte("value"), 0)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	node := distributed.NewConcurrency("throttled", "node", NewLeaseProvider(config))
	defer node.Close()
	l, err := node.Campaign(t.Context(), "job")
	require.NoError(t, err)
	left.Store(3)
	before := changes.Load()
	require.Eventually(t, func() bool { return changes.Load() > before+4 }, time.Minute, 20*time.Millisecond)
	require.True(t, l.Valid())
}
