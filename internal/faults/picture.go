//go:build unix

package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// picture is what the documents of an app say after each revision. It reads them by
// itself: what the library takes them for does not count here.
type picture struct {
	values map[string][]byte            // by key, of what is there
	nodes  map[string]*nodeDocument     // by id; those that have gone as well
	queues map[string]map[string]*claim // by job and by key of the document
	firsts map[string]map[int64]string  // by job and token: whose claim was the first of the queue
}

// nodeDocument is a session.
type nodeDocument struct {
	instance string
	there    bool // and readable
	void     bool // it has drained, or was buried
}

func (n *nodeDocument) counts() bool { return n != nil && n.there && !n.void }

// claim is a place in a queue. Its owner takes for its token the revision of the
// write that brought it in, or one at which somebody has touched that.
type claim struct {
	id     string
	seq    int64
	place  int64
	tokens []int64
}

func newPicture() *picture {
	return &picture{
		values: map[string][]byte{}, nodes: map[string]*nodeDocument{},
		queues: map[string]map[string]*claim{}, firsts: map[string]map[int64]string{},
	}
}

// revision takes in the changes of one revision.
func (p *picture) revision(events []change) {
	touched := map[string]bool{} // jobs
	for _, e := range events {
		delete(p.values, e.key)
		if !e.deleted {
			p.values[e.key] = e.value
		}
		dir, rest, _ := strings.Cut(e.key, "/")
		switch dir {
		case "nodes":
			p.takeNode(rest, e, touched)
		case "claims":
			p.takeClaims(e, touched)
		}
	}
	for job := range touched {
		if c := p.first(job); c != nil {
			for _, token := range c.tokens {
				p.firsts[job][token] = p.nodes[c.id].instance
			}
		}
	}
}

func (p *picture) takeNode(id string, e change, touched map[string]bool) {
	n := p.nodes[id]
	if n == nil {
		n = &nodeDocument{}
		p.nodes[id] = n
	}
	var v struct{ Instance, State string }
	counted := n.counts()
	n.there = !e.deleted && read(e.key, e.value, &v)
	if n.there {
		n.instance, n.void = v.Instance, n.void || v.State != ""
	}
	if n.counts() == counted {
		return
	}
	for job, queue := range p.queues {
		for _, c := range queue {
			touched[job] = touched[job] || c.id == id
		}
	}
}

func (p *picture) takeClaims(e change, touched map[string]bool) {
	var v struct {
		Seq     int64
		Jobs    string
		Numbers []int64
	}
	claims := map[string]int64{}
	if !e.deleted && read(e.key, e.value, &v) && v.Jobs != "" {
		for i, job := range strings.Split(v.Jobs, "\n") {
			claims[job] = v.Numbers[min(i, len(v.Numbers)-1)]
		}
	}
	for job, queue := range p.queues {
		if _, there := claims[job]; !there && queue[e.key] != nil {
			delete(queue, e.key)
			touched[job] = true
		}
	}
	for job, place := range claims {
		if p.queues[job] == nil {
			p.queues[job], p.firsts[job] = map[string]*claim{}, map[int64]string{}
		}
		c := p.queues[job][e.key]
		switch {
		case c == nil || (place != 0 && place != c.place) || (place == 0 && v.Seq != c.seq): // given up and claimed anew in one write
			c = &claim{id: strings.Split(e.key, "/")[1], place: place, seq: v.Seq, tokens: []int64{place}}
			if place == 0 {
				c.place, c.tokens = e.rev, []int64{e.rev}
			}
			p.queues[job][e.key] = c
		case place == 0 && v.Seq == c.seq: // touched
			c.tokens = append(c.tokens, e.rev)
		}
		p.queues[job][e.key].seq = v.Seq
		touched[job] = true
	}
}

// first returns who leads a job, or nil.
func (p *picture) first(job string) *claim {
	var first *claim
	for _, c := range p.queues[job] {
		if p.nodes[c.id].counts() && (first == nil || c.place < first.place) {
			first = c
		}
	}
	return first
}

// candidates returns how many campaign for a job.
func (p *picture) candidates(job string) (n int) {
	for _, c := range p.queues[job] {
		if p.nodes[c.id].counts() {
			n++
		}
	}
	return n
}

// document returns the key of the document in which an instance claims a job, or "".
func (p *picture) document(instance, job string) string {
	for key, c := range p.queues[job] {
		if n := p.nodes[c.id]; n.counts() && n.instance == instance {
			return key
		}
	}
	return ""
}

// alive returns how many sessions have not ended.
func (p *picture) alive() (n int) {
	for _, node := range p.nodes {
		if node.counts() {
			n++
		}
	}
	return n
}

// lives returns how many sessions of an instance there have been.
func (p *picture) lives(instance string) (n int) {
	for _, node := range p.nodes {
		if node.instance == instance {
			n++
		}
	}
	return n
}

const (
	before = `{"v":1,"sum":"`
	after  = `",`
	digits = 16
)

// read decodes a document, and reports whether it is one as the library writes it.
func read(key string, value []byte, v any) bool {
	rest, ok := bytes.CutPrefix(value, []byte(before))
	if !ok || len(rest) < digits+len(after) || string(rest[:digits]) != sum(key, rest[digits+len(after):]) {
		return false
	}
	return json.Unmarshal(value, v) == nil
}

func sum(key string, rest []byte) string {
	h := sha256.Sum256(append([]byte(key+"\x00"), rest...))
	return hex.EncodeToString(h[:digits/2])
}

// edit returns a document with some fields changed, as somebody would write it who
// knows the format.
func edit(key string, value []byte, fields map[string]any) ([]byte, error) {
	all := map[string]any{}
	if err := json.Unmarshal(value, &all); err != nil {
		return nil, fmt.Errorf("edit %s: %w", key, err)
	}
	delete(all, "v")
	delete(all, "sum")
	maps.Copy(all, fields)
	body, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("edit %s: %w", key, err)
	}
	return append([]byte(before+sum(key, body[1:])+after), body[1:]...), nil
}
