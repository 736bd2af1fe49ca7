package kubernetes

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/b2552be4/distributed"
)

const (
	// silence is after what time without an event the API server is asked how far it is.
	silence = 2 * time.Second

	// answerTime is how long the answer to that may take, and another one that is short.
	answerTime = 2 * time.Second

	// listTime is how long a listing may take.
	listTime = 30 * time.Second
)

// Follow implements [distributed.Store].
func (s *store) Follow(ctx context.Context, prefix string, after int64, tell func(distributed.Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := &follower{store: s, prefix: prefix, at: after, tell: tell, keys: map[string]string{}}
	for {
		if err := f.run(ctx); err != nil {
			return s.explain(err)
		}
		select { // a server that ends each watch at once is not asked without a pause
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return s.explain(ctx.Err())
		}
	}
}

// follower is a call of Follow. It follows all Leases of the namespace: one that
// loses a label by a stranger's hand would be gone for who follows a label.
type follower struct {
	*store
	prefix string
	tell   func(distributed.Step)
	at     int64             // the revision that has been told; 0: all there is has to be listed
	keys   map[string]string // of the documents that have been told, by name
}

// run watches for as long as it can. It returns nil when it is worth beginning again.
func (f *follower) run(ctx context.Context) error {
	if f.at == 0 {
		if err := f.list(ctx); err != nil {
			return err
		}
	}
	options := metav1.ListOptions{ResourceVersion: strconv.FormatInt(f.at, 10), AllowWatchBookmarks: true, Watch: true}
	w, err := f.rest.Get().Namespace(f.namespace).Resource("leases").VersionedParams(&options, scheme.ParameterCodec).MaxRetries(0).Watch(ctx)
	if isGone(err) {
		f.at = 0
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	silent := time.NewTimer(silence)
	defer silent.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return ctx.Err() // after some time, and when the server ends
			}
			if again, err := f.take(e); again || err != nil {
				return err
			}
		case <-silent.C:
			if back, err := f.look(ctx); back || err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		silent.Reset(silence)
	}
}

// isGone recognizes that the history behind a version is not there any more, as after
// each restart of an API server.
func isGone(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// list tells what there is.
func (f *follower) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	var all coordinationv1.LeaseList
	if err := f.rest.Get().Namespace(f.namespace).Resource("leases").MaxRetries(0).Do(ctx).Into(&all); err != nil {
		return err
	}
	rev, err := revision(all.ResourceVersion)
	if err != nil {
		return err
	}
	step := distributed.Step{Revision: rev, Whole: true}
	clear(f.keys)
	for i := range all.Items {
		if d, ok := document(&all.Items[i]); ok && strings.HasPrefix(d.Key, f.prefix) {
			f.keys[all.Items[i].Name] = d.Key
			step.Documents = append(step.Documents, d)
		}
	}
	f.advance(step)
	return nil
}

func (f *follower) advance(step distributed.Step) {
	f.at = step.Revision
	f.tell(step)
}

// take takes in an event. again says that it is no use to read on.
func (f *follower) take(e watch.Event) (again bool, err error) {
	if e.Type == watch.Error {
		err := apierrors.FromObject(e.Object)
		if isGone(err) {
			f.at, err = 0, nil
		}
		return true, err
	}
	l, ok := e.Object.(*coordinationv1.Lease)
	if !ok {
		return false, errors.New("kubernetes: an event of something else than a Lease")
	}
	rev, err := revision(l.ResourceVersion)
	if err != nil {
		return false, err
	}
	step := distributed.Step{Revision: rev}
	if d, ok := f.change(e.Type, l); ok {
		step.Documents = []distributed.Document{d}
	}
	f.advance(step)
	return false, nil
}

// change returns the document that an event is about, if it is one of ours. One whose
// annotations have been taken away is gone.
func (f *follower) change(event watch.EventType, l *coordinationv1.Lease) (d distributed.Document, ok bool) {
	d, ok = document(l)
	if !ok {
		d.Key, ok = f.keys[l.Name]
		d.Revision, _ = revision(l.ResourceVersion) // looked at before
	}
	if event == watch.Bookmark || !ok || !strings.HasPrefix(d.Key, f.prefix) {
		return d, false
	}
	f.keys[l.Name] = d.Key
	if event == watch.Deleted {
		d.Value = nil
	}
	if d.Value == nil {
		delete(f.keys, l.Name)
	}
	return d, true
}

// look asks the API server how far it is. That it answers is a proof of life, on the
// connection of the watch; where it is shows if it goes on from an earlier state.
func (f *follower) look(ctx context.Context) (back bool, err error) {
	at, err := f.position(ctx)
	switch {
	case err != nil:
		return false, err
	case at < f.at:
		f.at = 0
		return true, nil
	}
	f.tell(distributed.Step{Revision: f.at})
	return false, nil
}

// position returns the revision of what the API server would list.
func (s *store) position(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var none coordinationv1.LeaseList
	options := metav1.ListOptions{Limit: 1}
	err := s.rest.Get().Namespace(s.namespace).Resource("leases").VersionedParams(&options, scheme.ParameterCodec).MaxRetries(0).Do(ctx).Into(&none)
	if err != nil {
		return 0, err
	}
	return revision(none.ResourceVersion)
}
