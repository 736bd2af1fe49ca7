package statuspage

import (
	"net/http"
	"time"

	"github.com/b2552be4/distributed"
)

// detail is what the page shows of one job that is looked at.
type detail struct {
	Name    string   `json:"name"`
	Waiting []string `json:"waiting"`          // instances that wait for it, in order
	Weight  int      `json:"weight,omitempty"` // of a job that nodes have announced, as is what follows
	Prefer  []string `json:"prefer,omitempty"`
	Avoid   []string `json:"avoid,omitempty"`
	Reason  string   `json:"reason,omitempty"`  // why it runs where it runs, by load balancing
	Standby string   `json:"standby,omitempty"` // instance that takes over when its node fails
	MovesTo string   `json:"moves_to,omitempty"`
}

// serveDetail computes the placement for a reader who has asked about one job: the
// others do not pay for it.
func (p *Page) serveDetail(w http.ResponseWriter, r *http.Request) {
	d, ok := detailOf(p.observer.View(), r.URL.Query().Get("name"))
	if !ok {
		http.Error(w, "there is no such job", http.StatusNotFound)
		return
	}
	writeJSON(w, http.StatusOK, d)
}

func detailOf(view *distributed.View, job string) (detail, bool) {
	d := detail{Name: job, Waiting: waiting(view, job)}
	e, ok := view.Explain(job)
	if info, announced := infoOf(view, job); announced {
		d.Weight, d.Prefer, d.Avoid = info.Weight, info.Prefer, info.Avoid
		d.Reason, d.Standby = e.Reason, e.Standby
		if e.Belongs != e.Runs {
			d.MovesTo = e.Belongs
		}
	}
	return d, ok
}

func waiting(view *distributed.View, job string) []string {
	instances := []string{}
	for i := range view.Jobs {
		j := &view.Jobs[i]
		if j.Name != job {
			continue
		}
		for q, c := range j.Queue {
			for _, n := range view.Nodes {
				if n.ID == c.Node && (q > 0 || !j.Led) {
					instances = append(instances, n.Instance)
				}
			}
		}
	}
	return instances
}

// infoOf returns what the node says of the job that was started last.
func infoOf(view *distributed.View, job string) (info distributed.JobInfo, ok bool) {
	var started time.Time
	for i := range view.Nodes {
		n := &view.Nodes[i]
		for _, j := range n.Jobs {
			if j.Name == job && (!ok || n.Started.After(started)) {
				info, started, ok = j, n.Started, true
			}
		}
	}
	return info, ok
}
