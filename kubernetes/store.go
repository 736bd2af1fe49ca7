package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
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
// resource version of one is its revision. No call is repeated, not by client-go
// either: it would take its own first attempt for somebody else's.
type store struct {
	host, namespace string
	rest            rest.Interface
	dialer          *connrotation.Dialer

	closed context.Context
	close  context.CancelFunc

	mu  sync.Mutex
	own map[string]*written // documents that this store has written last, by key
}

// written is a Lease as it was written.
type written struct {
	uid types.UID
	rev int64
}

// Put implements [distributed.Store].
func (s *store) Put(ctx context.Context, key string, value []byte, rev int64) (int64, error) {
	ctx, done := s.bound(ctx)
	defer done()
	l := lease(key, value)
	request := s.rest.Post().Namespace(s.namespace).Resource("leases")
	if rev != 0 {
		uid, err := s.uid(ctx, key, rev)
		if err != nil {
			return 0, s.explain(err)
		}
		l.UID, l.ResourceVersion = uid, strconv.FormatInt(rev, 10)
		request = s.rest.Put().Namespace(s.namespace).Resource("leases").Name(l.Name)
	}
	var now coordinationv1.Lease
	if err := request.Body(l).MaxRetries(0).Do(ctx).Into(&now); err != nil {
		return 0, s.explain(refused(key, err))
	}
	at, err := revision(now.ResourceVersion)
	s.note(key, &written{now.UID, at})
	return at, err
}

// Delete implements [distributed.Store].
func (s *store) Delete(ctx context.Context, key string, rev int64) error {
	ctx, done := s.bound(ctx)
	defer done()
	uid, err := s.uid(ctx, key, rev)
	if err == nil {
		version := strconv.FormatInt(rev, 10)
		only := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}
		err = s.rest.Delete().Namespace(s.namespace).Resource("leases").Name(name(key)).Body(&only).MaxRetries(0).Do(ctx).Error()
	}
	if err == nil {
		s.note(key, nil)
	}
	return s.explain(refused(key, err))
}

// uid returns which Lease is the document at rev. It has to be named beside the
// version: an update without it creates a Lease that was deleted meanwhile.
func (s *store) uid(ctx context.Context, key string, rev int64) (types.UID, error) {
	s.mu.Lock()
	own := s.own[key]
	s.mu.Unlock()
	if own != nil && own.rev == rev {
		return own.uid, nil
	}
	var there coordinationv1.Lease
	err := s.rest.Get().Namespace(s.namespace).Resource("leases").Name(name(key)).MaxRetries(0).Do(ctx).Into(&there)
	if err != nil {
		return "", refused(key, err)
	}
	if at, err := revision(there.ResourceVersion); err != nil || at != rev {
		return "", errors.Join(&distributed.ConflictError{Key: key}, err)
	}
	return there.UID, nil
}

func (s *store) note(key string, w *written) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own[key] = w; w == nil {
		delete(s.own, key)
	}
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

// lease returns the Lease of a document. All that is more than its annotations is for
// people.
func lease(key string, value []byte) *coordinationv1.Lease {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: name(key), Labels: labels(key),
		Annotations: map[string]string{keyAnnotation: key, valueAnnotation: string(value), nonceAnnotation: rand.Text()[:8]},
	}}
	var node struct {
		Instance, State string
		TTL             int64
	}
	if l.Labels[kindLabel] == "nodes" && json.Unmarshal(value, &node) == nil && node.Instance != "" {
		now, seconds := metav1.NewMicroTime(time.Now()), int32(max(1, (node.TTL+999)/1000))
		l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &node.Instance, RenewTime: &now, LeaseDurationSeconds: &seconds}
		if node.State != "" {
			l.Spec = coordinationv1.LeaseSpec{}
		}
	}
	return l
}

// document returns the document that a Lease is, unless it is a stranger's.
func document(l *coordinationv1.Lease) (d distributed.Document, ok bool) {
	key, ok := l.Annotations[keyAnnotation]
	if !ok || name(key) != l.Name {
		return d, false
	}
	rev, err := revision(l.ResourceVersion)
	return distributed.Document{Key: key, Value: []byte(l.Annotations[valueAnnotation]), Revision: rev}, err == nil
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
