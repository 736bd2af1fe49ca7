package distributed

import (
	"strings"
	"time"
)

// Expire takes away all leases of instance, by deleting their node documents. When it
// returns, the contexts of the leaderships are done with cause [ErrLeadershipLost],
// unless the instance is cut off, and its campaigns return [ErrLeaseLost]. No node
// begins to lead anything in those apps until the work under the leases has stopped, or
// until they would have run out. It reports whether there was a lease.
func (h *MemoryHub) Expire(instance string) bool {
	found := h.deleteNodes(instance)
	for _, key := range found {
		h.await(key)
	}
	return len(found) > 0
}

func (h *MemoryHub) deleteNodes(instance string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, d := range h.documents {
		if v, ok := nodeIn(d); ok && v.Instance == instance && v.State == "" {
			found = append(found, key)
		}
	}
	for _, key := range found {
		h.change(key, nil)
	}
	return found
}

// RemoveCandidate takes job out of what instance claims, as somebody might who changes
// its documents. That ends its lease, as [MemoryHub.Expire] does. It reports whether
// there was such a claim.
func (h *MemoryHub) RemoveCandidate(app, job, instance string) bool {
	defer h.await(app + "/")
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.picture(app)
	q := m.queues[job]
	if q == nil {
		return false
	}
	found := false
	for _, c := range q.claims {
		n := c.doc.node
		for k, d := range n.docs {
			if d == c.doc && n.value.Instance == instance {
				found = true
				h.takeOut(m.keys, n.id, k, job)
			}
		}
	}
	return found
}

// takeOut writes a document of claims as somebody would who is not its session, and
// knows nothing of its checksum. It is called with h.mu held.
func (h *MemoryHub) takeOut(k keys, id string, n int, job string) {
	key := k.claims(id, n)
	var v claimsValue
	if k.decode(key, h.documents[key].Value, &v) != nil {
		return
	}
	var rest positions
	for _, c := range v.claims() {
		if c.job != job {
			rest = append(rest, c)
		}
	}
	if b, err := k.encode(key, v.claim(rest)); err == nil { // it has become shorter
		copy(b[len(valueStart):], h.documents[key].Value[len(valueStart):][:sumLength])
		h.change(key, b)
	}
}

// Leader returns who leads job, and with which fencing token, as far as the documents
// tell: zeros for nobody, also while others wait for a node that was lost, and once the
// leader has not been heard of for its TTL. For a provider with [WithNamespace], app
// begins with that.
func (h *MemoryHub) Leader(app, job string) (instance string, token int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.picture(app)
	q := m.queues[job]
	if q == nil || len(q.claims) == 0 || !m.led(q) {
		return "", 0
	}
	first := q.claims[0]
	n := first.doc.node
	if h.age(time.Now())-n.seen >= time.Duration(n.value.TTL)*time.Millisecond {
		return "", 0
	}
	return n.value.Instance, first.number
}

// Candidates returns the instances in the queue for job, in the order in which
// they lead: the leader, if there is one, is the first.
func (h *MemoryHub) Candidates(app, job string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := h.picture(app).queues[job]
	if q == nil {
		return nil
	}
	var instances []string
	for _, c := range q.claims {
		instances = append(instances, c.doc.node.value.Instance)
	}
	return instances
}

// picture is what somebody sees who has followed from the beginning, change by change,
// if the hub remembers them. It is called with h.mu held.
func (h *MemoryHub) picture(app string) *mirror {
	m := h.pictures[app]
	if m == nil {
		if h.pictures == nil {
			h.pictures = map[string]*mirror{}
		}
		m = newMirror(keys{app + "/"}, "", timing{ttl: minTTL}, memory{})
		h.pictures[app] = m
		m.step(Step{Revision: 1, Whole: true}, h.age(h.began))
	}
	if m.rev < h.forgotten() {
		m.step(Step{Revision: h.revision(), Whole: true, Documents: h.list(m.keys.prefix)}, h.age(time.Now()))
	}
	for _, c := range h.history[m.rev-h.forgotten():] {
		m.expire(h.age(c.at))
		step := Step{Revision: c.Revision}
		if strings.HasPrefix(c.Key, m.keys.prefix) {
			step.Documents = []Document{c.Document}
		}
		m.step(step, h.age(c.at))
	}
	m.expire(h.age(time.Now()))
	return m
}

// age counts from the first change, and is never 0, which would mean never.
func (h *MemoryHub) age(at time.Time) time.Duration { return 1 + at.Sub(h.began) }

// nodeIn reads a node document, of whatever app.
func nodeIn(d Document) (v nodeValue, ok bool) {
	i := strings.LastIndex(d.Key, "/nodes/")
	if i < 0 {
		return v, false
	}
	return v, keys{d.Key[:i+1]}.decode(d.Key, d.Value, &v) == nil
}
