package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"regexp"
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
func (s *store) Follow(ctx context.Context, prefix string, tell func(distributed.Step)) error {
	ctx, done := s.bound(ctx)
	defer done()
	f := &follower{store: s, prefix: prefix, tell: tell}
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
	at     int64 // the revision that has been told; 0: all there is has to be listed again
}

// run lists, and watches for as long as it can. It returns nil when it is worth
// beginning again. Each watch goes on from a listing: by another's end, the API server
// may have been put back to a backup, and be past where it was.
func (f *follower) run(ctx context.Context) error {
	if err := f.list(ctx); err != nil {
		return err
	}
	options := metav1.ListOptions{ResourceVersion: strconv.FormatInt(f.at, 10), AllowWatchBookmarks: true, Watch: true}
	w, err := f.request(http.MethodGet).VersionedParams(&options, scheme.ParameterCodec).Watch(ctx)
	if err == nil {
		defer w.Stop()
		err = f.read(ctx, w.ResultChan())
	}
	if isGone(err) {
		return nil
	}
	return err
}

// read returns when the watch ends, or all there is has to be listed.
func (f *follower) read(ctx context.Context, events <-chan watch.Event) (err error) {
	silent := time.NewTimer(silence)
	defer silent.Stop()
	for err == nil && f.at != 0 {
		select {
		case e, ok := <-events:
			if !ok {
				return ctx.Err() // after some time, and when the server ends
			}
			err = f.take(e)
		case <-silent.C:
			err = f.look(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
		silent.Reset(silence)
	}
	return err
}

// isGone recognizes that the history behind a version is not there any more, as after
// each restart of an API server.
func isGone(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// list tells what there is.
func (f *follower) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	var all coordinationv1.LeaseList
	if err := f.request(http.MethodGet).Do(ctx).Into(&all); err != nil {
		return err
	}
	rev, err := revision(all.ResourceVersion)
	if err != nil {
		return err
	}
	step := distributed.Step{Revision: rev, Whole: true}
	for i := range all.Items {
		if d, ok := document(&all.Items[i]); ok && strings.HasPrefix(d.Key, f.prefix) {
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

// take takes in an event.
func (f *follower) take(e watch.Event) error {
	if e.Type == watch.Error {
		return apierrors.FromObject(e.Object)
	}
	l, ok := e.Object.(*coordinationv1.Lease)
	if !ok {
		return errors.New("kubernetes: an event of something else than a Lease")
	}
	rev, err := revision(l.ResourceVersion)
	if err != nil {
		return err
	}
	d, ok := document(l)
	if !ok && e.Type == watch.Modified && documents.MatchString(l.Name) {
		f.at = 0 // its annotations have been taken away, and with them its key
		return nil
	}
	step := distributed.Step{Revision: rev}
	if ok && strings.HasPrefix(d.Key, f.prefix) {
		if e.Type == watch.Deleted {
			d.Value = nil
		}
		step.Documents = []distributed.Document{d}
	}
	f.advance(step)
	return nil
}

// documents matches the names of Leases that are documents.
var documents = regexp.MustCompile(`(^|-)[0-9a-f]{32}$`)

// look asks the API server how far it is. That it answers is a proof of life, on the
// connection of the watch; where it is shows if it goes on from an earlier state.
func (f *follower) look(ctx context.Context) error {
	at, err := f.position(ctx)
	switch {
	case err != nil:
		return err
	case at < f.at:
		f.at = 0
	default:
		f.tell(distributed.Step{Revision: f.at})
	}
	return nil
}

// position returns the revision of what the API server would list.
func (s *store) position(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var none coordinationv1.LeaseList
	options := metav1.ListOptions{Limit: 1}
	err := s.request(http.MethodGet).VersionedParams(&options, scheme.ParameterCodec).Do(ctx).Into(&none)
	if err != nil {
		return 0, err
	}
	return revision(none.ResourceVersion)
}
