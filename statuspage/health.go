package statuspage

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// checks is what health and readiness answer.
type checks struct {
	OK     bool    `json:"ok"`
	Checks []check `json:"checks"`
}

type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func (c *checks) add(name string, ok bool, good, bad string) {
	detail := good
	if !ok {
		detail = bad
	}
	c.Checks = append(c.Checks, check{name, ok, detail})
	c.OK = c.OK && ok
}

// health says whether this node takes part.
func (p *Page) health() checks {
	c := checks{OK: true}
	p.checkStore(&c)
	if p.processor == nil {
		return c
	}
	status := p.processor.Status()
	checkNode(&c, &status)
	stuck := stuckJobs(&status, time.Now())
	c.add("work", len(stuck) == 0, "stops when it is told to", "does not stop: "+strings.Join(stuck, ", "))
	return c
}

// readiness says whether this node can be given jobs.
func (p *Page) readiness() checks {
	c := checks{OK: true}
	if p.processor == nil {
		p.checkStore(&c)
		return c
	}
	status := p.processor.Status()
	checkNode(&c, &status)
	c.add("draining", !status.Draining, "takes jobs", "drains: takes no jobs")
	return c
}

func (p *Page) checkStore(c *checks) {
	s := storeOf(p.observer.View(), p.observer.Silence(), p.silence)
	heard := fmt.Sprintf("a node was heard of %.1f s ago", float64(s.Silence)/1000)
	switch {
	case s.State == storeUnknown:
		heard = "there is no node to be heard of"
	case s.State == storeAway && s.Silence == 0:
		heard = "no node is heard of any more"
	}
	c.add("store", s.State != storeAway, heard, heard)
}

func checkNode(c *checks, status *distributed.Status) {
	c.add("execute", status.Executing, "runs", "does not run, or is ending")
	c.add("lease", status.Leased, "held", "this node has none, and leads nothing")
}

// stuckJobs returns what does not stop, and a remark if that is too much to tell.
func stuckJobs(status *distributed.Status, now time.Time) (told []string) {
	const most = 10
	n := 0
	for _, j := range status.Jobs {
		if j.State != distributed.JobStuck {
			continue
		}
		if n++; n <= most {
			told = append(told, fmt.Sprintf("%s (for %.0f s)", j.Name, now.Sub(j.Since).Seconds()))
		}
	}
	if n > most {
		told = append(told, fmt.Sprintf("and %d more", n-most))
	}
	return told
}

func (p *Page) serveChecks(w http.ResponseWriter, c checks) {
	status := http.StatusOK
	if !c.OK {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, c)
}
