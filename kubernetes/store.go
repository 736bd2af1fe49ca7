package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"github.com/b2552be4/distributed"
)

// store keeps documents in Leases, which are named after their keys: see name. The
// resource version of one is its revision.
type store struct {
	host, namespace string
	rest            rest.Interface
	dialer          *connrotation.Dialer

	closed context.Context
	close  context.CancelFunc
}

// request begins a call. None is repeated, not by client-go either: it would take its own
// first attempt for somebody else's.
func (s *store) request(verb string) *rest.Request {
	return s.rest.Verb(verb).Namespace(s.namespace).Resource("leases").MaxRetries(0)
}

// Put implements [distributed.Store]. A change is a patch that names the version: an
// update that does would create a Lease that was deleted meanwhile.
func (s *store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	ctx, done := s.bound(ctx)
	defer done()
	request, l := s.request(http.MethodPost).SetHeader("Content-Type", "application/json"), newLease(key, value)
	if rev != 0 {
		l.Metadata.ResourceVersion = strconv.FormatInt(rev, 10)
		request = s.request(http.MethodPatch).SetHeader("Content-Type", string(types.MergePatchType)).Name(l.Metadata.Name)
	}
	body, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	var now coordinationv1.Lease
	if err := request.Body(body).Do(ctx).Into(&now); err != nil {
		return 0, s.explain(refused(key, err))
	}
	return revision(now.ResourceVersion)
}

// Delete implements [distributed.Store].
func (s *store) Delete(ctx context.Context, key string, rev int64) error {
	ctx, done := s.bound(ctx)
	defer done()
	version := strconv.FormatInt(rev, 10)
	only := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}
	return s.explain(refused(key, s.request(http.MethodDelete).Name(name(key)).Body(&only).Do(ctx).Error()))
}

// refused makes a conflict of an answer that says that the Lease is another one, not
// there, or there already. It does not say what is there.
func refused(key string, err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) && !noNamespace(err) {
		return &distributed.ConflictError{Key: key}
	}
	return err
}

func noNamespace(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

func revision(version string) (int64, error) {
	rev, err := strconv.ParseInt(version, 10, 64)
	if err != nil || rev <= 0 {
		return 0, fmt.Errorf("kubernetes: resource version %q is no revision", version)
	}
	return rev, nil
}

const (
	keyAnnotation   = "distributed/key"
	valueAnnotation = "distributed/value"
	nonceAnnotation = "distributed/nonce" // else a write of what is there would change nothing
)

// lease is what a document makes of a Lease. All that is more than its annotations is
// for people.
type lease struct {
	Metadata metav1.ObjectMeta         `json:"metadata"`
	Spec     *coordinationv1.LeaseSpec `json:"spec"` // nil takes away what was there
}

func newLease(key string, value []byte) *lease {
	l := &lease{Metadata: metav1.ObjectMeta{
		Name: name(key), Labels: labels(key),
		Annotations: map[string]string{keyAnnotation: key, valueAnnotation: string(value), nonceAnnotation: rand.Text()[:8]},
	}}
	var node struct {
		Instance, State string
		TTL             int64
	}
	if l.Metadata.Labels[kindLabel] == "nodes" && json.Unmarshal(value, &node) == nil && node.Instance != "" && node.State == "" {
		now, seconds := metav1.NewMicroTime(time.Now()), int32(max(1, (node.TTL+999)/1000))
		l.Spec = &coordinationv1.LeaseSpec{HolderIdentity: &node.Instance, RenewTime: &now, LeaseDurationSeconds: &seconds}
	}
	return l
}

// document returns the document that a Lease is, unless it is a stranger's.
func document(l *coordinationv1.Lease) (d distributed.Document, ok bool) {
	key := l.Annotations[keyAnnotation]
	rev, err := revision(l.ResourceVersion)
	return distributed.Document{Key: key, Value: []byte(l.Annotations[valueAnnotation]), Revision: rev}, err == nil && name(key) == l.Name
}

// Close implements [distributed.Store].
func (s *store) Close() error {
	s.close()
	s.dialer.CloseAll()
	return nil
}

// bound ends ctx when the store is closed.
func (s *store) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// explain says why a call failed, and where.
func (s *store) explain(err error) error {
	if _, conflict := errors.AsType[*distributed.ConflictError](err); err == nil || conflict {
		return err
	}
	if s.closed.Err() != nil {
		return errors.Join(distributed.ErrClosed, err)
	}
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	if certificate || apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) || noNamespace(err) || strings.Contains(err.Error(), "remote error: tls: ") {
		err = fmt.Errorf("%w: %w", distributed.ErrRefused, err)
	}
	return fmt.Errorf("kubernetes at %s, namespace %s: %w", s.host, s.namespace, err)
}
