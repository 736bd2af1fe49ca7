//go:build unix

package faults

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/b2552be4/distributed/internal/link"
)

// Register is what a fencing token is for: a store that keeps the highest token
// of each job it has seen, and refuses writes with a smaller one.
type Register struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	conns    []net.Conn
	writes   map[string]*written // by job
	holders  map[string]string   // process by job and token
	unfenced bool                // it takes any token
	stale    []string            // refused writes
	hellos   map[string]int      // how often each node has come
	reused   []string
	claims   []string // of refused writers that were told that they lead

	lives func(line string) (answer string) // what lively jobs ask and tell
}

// written is the state of a job in the register.
type written struct {
	token         int64
	node, process string
	at            time.Duration // of the last write
	count         int
}

// run tells a run from all others, also where tokens have begun anew.
func (w written) run() string { return fmt.Sprint(w.process, " ", w.token) }

func startRegister() (*Register, error) {
	l, err := link.Listen()
	if err != nil {
		return nil, err
	}
	r := &Register{listener: l, writes: map[string]*written{}, holders: map[string]string{}, hellos: map[string]int{}}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *Register) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.conns = append(r.conns, c)
		r.mu.Unlock()
		r.wg.Go(func() {
			in, answers := bufio.NewReader(c), bufio.NewWriter(c)
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				fmt.Fprintln(answers, r.handle(strings.TrimSpace(line))) // an error stays until Flush
				if in.Buffered() == 0 && answers.Flush() != nil {
					return
				}
			}
		})
	}
}

// handle makes a write "<token> <node> <process> <job>", or takes note of
// a claim or of a node that has come, or of what lively jobs say.
func (r *Register) handle(line string) string {
	if life, ok := strings.CutPrefix(line, "life "); ok {
		r.mu.Lock()
		answer := r.lives
		r.mu.Unlock()
		return answer(life)
	}
	if node, ok := strings.CutPrefix(line, "hello "); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hellos[node]++
		return "ok"
	}
	if claim, ok := strings.CutPrefix(line, "claim "); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.claims = append(r.claims, claim)
		return "ok"
	}
	var token int64
	var node, process, job string
	if _, err := fmt.Sscan(line, &token, &node, &process, &job); err != nil {
		return "bad"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.writes[job]
	if last == nil {
		last = &written{}
		r.writes[job] = last
	}
	key := fmt.Sprint(job, " ", token)
	if holder, ok := r.holders[key]; ok && holder != process {
		r.reused = append(r.reused, fmt.Sprintf("token %d of %s: used by %s and %s", token, job, holder, process))
	}
	r.holders[key] = process
	if token < last.token && !r.unfenced {
		r.stale = append(r.stale, fmt.Sprintf("%s wrote %s with token %d after token %d", process, job, token, last.token))
		return "stale"
	}
	*last = written{token: token, node: node, process: process, at: monotonic(), count: last.count + 1}
	return "ok"
}

// holder returns who wrote job last, and when.
func (r *Register) holder(job string) (written, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.writes[job]
	if w == nil {
		return written{}, false
	}
	return *w, true
}

// answerBy has answer answer what lively jobs ask and tell.
func (r *Register) answerBy(answer func(line string) string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives = answer
}

// unfence has the register take any token from now on.
func (r *Register) unfence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unfenced = true
}

// came returns how often a node has come.
func (r *Register) came(node string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hellos[node]
}

// verdict returns the refused writes, and what must not be: tokens that two
// processes used, and writers that were refused while they were told to lead.
func (r *Register) verdict() (stale, wrong []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.stale), slices.Concat(r.reused, r.claims)
}

func (r *Register) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// registerClient is a node's connection to the register. Many ask at once: each
// sends its line without waiting for the answers to those before.
type registerClient struct {
	conn    net.Conn
	sending sync.Mutex       // so that lines are sent in the order of asked
	asked   chan chan string // to whom answers go, in the order in which they come
	ended   chan struct{}    // closed when there are no more answers
}

func dialRegister(addr string) (*registerClient, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &registerClient{conn: conn, asked: make(chan chan string, 1<<12), ended: make(chan struct{})}
	go c.hear() // until the process ends, or the register
	return c, nil
}

// hear hands each answer to the one it is for.
func (c *registerClient) hear() {
	defer close(c.ended)
	for lines := bufio.NewScanner(c.conn); lines.Scan(); {
		<-c.asked <- lines.Text()
	}
}

// claim says that a write was refused although its writer was told that it leads.
func (c *registerClient) claim(job string, token int64, process string) error {
	_, err := c.ask(fmt.Sprintf("claim %s with token %d was refused for %s, whose leadership was said to be valid", process, token, job))
	return err
}

// write reports whether the register took the write.
func (c *registerClient) write(job string, token int64, node, process string) (bool, error) {
	answer, err := c.ask(fmt.Sprintln(token, node, process, job))
	return answer == "ok", err
}

func (c *registerClient) ask(line string) (string, error) {
	answer := make(chan string, 1)
	if err := c.send(line, answer); err != nil {
		return "", err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-c.ended:
		return "", net.ErrClosed
	}
}

func (c *registerClient) send(line string, answer chan string) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	select {
	case c.asked <- answer:
	case <-c.ended:
		return net.ErrClosed
	}
	_, err := fmt.Fprintln(c.conn, strings.TrimSpace(line))
	return err
}
