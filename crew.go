package distributed

import "sync"

// crew counts the goroutines that serve jobs: who ends Execute, or removes a job, waits
// for them. Its mutex may be taken while others are held.
type crew struct {
	mu     sync.Mutex
	loose  int           // that have not ended
	given  int           // of these, those whose Work is given up
	ending bool          // no more are to begin
	left   chan struct{} // closed when it is ending, and all that have not ended are given up
}

// join counts one that serves job.
func (c *crew) join(job *plannedJob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loose++
	job.served++
}

// desert says that one does not serve job any more; leave, that it has ended.
func (c *crew) desert(job *plannedJob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	job.served--
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loose--
	c.look()
}

// serves reports whether anybody serves job.
func (c *crew) serves(job *plannedJob) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return job.served > 0
}

// giveUp counts n more whose Work nobody waits for; n may be below 0.
func (c *crew) giveUp(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given += n
	c.look()
}

func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	c.look()
}

// look is called with mu held.
func (c *crew) look() {
	if !c.ending || c.given == 0 || c.given < c.loose {
		return
	}
	select {
	case <-c.left:
	default:
		close(c.left)
	}
}
