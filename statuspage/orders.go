package statuspage

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/b2552be4/distributed"
)

// WithOperator lets those who see the page give orders: pause, move, pin and resign
// jobs, drain instances, and so on (see [distributed.Operator]). o must be of the
// observer's app, and must stay open as long as the page is used. Default: none, the
// page changes nothing.
//
// who returns who has sent a request, for the record, such as the user name that a
// proxy in front has checked; if it returns "", the order is refused. It is called for
// each order, concurrently. The page does not check passwords: mount it behind
// something that does.
//
// Requests that other sites make a browser send are refused, by their Origin. To
// prevent DNS rebinding, the page also accepts orders only under the given hosts,
// without a port, and under localhost and IP addresses.
func WithOperator(o *distributed.Operator, who func(*http.Request) string, hosts ...string) Option {
	return func(page *Page) { page.orders = &orders{operator: o, who: who, hosts: hosts} }
}

// orders is what takes orders for a page.
type orders struct {
	operator *distributed.Operator
	who      func(*http.Request) string
	hosts    []string
	origins  http.CrossOriginProtection
}

// request is an order as the page sends it.
type request struct {
	Verb     string `json:"verb"`
	Job      string `json:"job"`
	Instance string `json:"instance"`
	Why      string `json:"why"`
}

const maxRequest = 16 << 10

// serve answers GET with the orders that there are, and carries out what is posted.
func (o *orders) serve(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		writeJSON(w, http.StatusOK, o.operator.Orders())
		return
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "orders are posted", http.StatusMethodNotAllowed)
		return
	}
	if status, err := o.admit(r); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	// All is read before who is asked, which may take long: only then does a server
	// notice that the client has gone.
	q, err := readRequest(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		http.Error(w, "this is no order: "+err.Error(), http.StatusBadRequest)
		return
	}
	by := o.who(r)
	if by == "" {
		http.Error(w, "you may not order anything", http.StatusForbidden)
		return
	}
	if err := r.Context().Err(); err != nil { // who sent it takes it for not given
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := o.carryOut(r, q, distributed.Note{By: by, Why: q.Why}); err != nil {
		http.Error(w, strings.TrimPrefix(err.Error(), "distributed: "), statusOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// readRequest reads an order, and nothing beside it.
func readRequest(r io.Reader) (q request, err error) {
	d := json.NewDecoder(r)
	if err := d.Decode(&q); err != nil {
		return q, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return q, errors.New("there is something behind it")
	}
	return q, nil
}

// admit returns why nobody may send such a request, if that is so.
func (o *orders) admit(r *http.Request) (status int, err error) {
	if err := o.origins.Check(r); err != nil {
		return http.StatusForbidden, errors.New("another site has sent this")
	}
	if !o.knows(r.Host) {
		return http.StatusForbidden, fmt.Errorf("no orders are taken under the name %q: see statuspage.WithOperator", r.Host)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return http.StatusUnsupportedMediaType, errors.New("orders are application/json")
	}
	if o.who == nil {
		return http.StatusForbidden, errors.New("nobody may order anything: see statuspage.WithOperator")
	}
	return 0, nil
}

// knows reports whether host, with or without a port, can be nobody else's name.
func (o *orders) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	return slices.ContainsFunc(o.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

func (o *orders) carryOut(r *http.Request, q request, n distributed.Note) error {
	ctx := r.Context()
	switch q.Verb {
	case "pause":
		return o.operator.Pause(ctx, q.Job, n)
	case "pause-all":
		return o.operator.PauseAll(ctx, n)
	case "resume":
		return o.operator.Resume(ctx, q.Job)
	case "resume-all":
		return o.operator.ResumeAll(ctx)
	case "move":
		return o.operator.Move(ctx, q.Job, q.Instance, n)
	case "pin":
		return o.operator.Pin(ctx, q.Job, q.Instance, n)
	case "unpin":
		return o.operator.Unpin(ctx, q.Job)
	case "drain":
		return o.operator.Drain(ctx, q.Instance, n)
	case "undrain":
		return o.operator.Undrain(ctx, q.Instance)
	case "resign":
		return o.operator.Resign(ctx, q.Job, n)
	case "forget":
		return o.operator.Forget(ctx, q.Job)
	}
	return fmt.Errorf("%w: there is no order %q", distributed.ErrInvalidConfig, q.Verb)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, distributed.ErrUnknown) || errors.Is(err, distributed.ErrNotOrdered):
		return http.StatusNotFound
	case errors.Is(err, distributed.ErrOrdered):
		return http.StatusConflict
	case errors.Is(err, distributed.ErrInvalidConfig):
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

// pausedJobs returns by whom a job is paused and why, "" if it is not, and the names of
// those that are paused by themselves, sorted.
func pausedJobs(view *distributed.View) (paused func(job string) string, names []string) {
	all, each := "", map[string]string{}
	for i := range view.Orders {
		switch o := &view.Orders[i]; {
		case o.Kind != distributed.OrderPause:
		case o.Job == "":
			all = givenBy(o)
		default:
			each[o.Job] = givenBy(o)
			names = append(names, o.Job)
		}
	}
	slices.Sort(names)
	return func(job string) string { return cmp.Or(each[job], all) }, names
}

// givenBy says who has given an order, and why.
func givenBy(o *distributed.Order) string {
	if o.Why == "" {
		return "by " + o.By
	}
	return "by " + o.By + ": " + o.Why
}
