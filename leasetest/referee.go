package leasetest

// The referee watches all elections of a case. What it is told, it is told in
// the goroutine in which it happens: so if it hears that somebody leads while
// somebody else does, then that was so.

// decide is told each time the campaign is decided, and reports whether it is the first.
func (c *candidate) decide() bool {
	c.mu.Lock()
	c.decisions++
	first := c.decisions == 1
	c.mu.Unlock()
	if !first {
		c.breached("decided was called again on %v", c)
	}
	return first
}

// lead is told when the campaign was won. A node that closes its lease,
// as all do at the end of a case, wants none any more.
func (c *candidate) lead() {
	if c.hasLeft() {
		return
	}
	for _, rival := range c.enter() {
		if rival.inCharge() {
			c.breached("%v leads (token %d) although %v does (token %d): it has not resigned, and lost has not been called", c, c.token, rival, rival.token)
			continue
		}
		if rival.election.Valid() {
			c.breached("%v leads (token %d) although Valid of %v (token %d) still says true", c, c.token, rival, rival.token)
		}
	}
}

// enter returns who has led before.
func (c *candidate) enter() (rivals []*candidate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.terms {
		if o.app == c.app && o.name == c.name && o.node != c.node {
			rivals = append(rivals, o)
		}
	}
	c.terms = append(c.terms, c)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return rivals
}

// lose is what the provider calls.
func (c *candidate) lose(cause error) {
	c.mu.Lock()
	c.losses++
	first := c.losses == 1
	if first {
		c.cause = cause
	}
	c.mu.Unlock()
	if !first {
		return
	}
	close(c.lost)
	if c.onLost != nil {
		c.onLost()
	}
}

// leave is told before the node resigns, or closes its lease.
func (c *candidate) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
}

func (c *candidate) inCharge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.losses == 0 && !c.left
}

func (c *candidate) hasLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

func (c *candidate) loss() (times int, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.losses, c.cause
}
