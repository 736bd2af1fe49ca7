package distributed

import "time"

// Hooks are functions that are called as things happen, for metrics and
// alerts. Each may be nil. They are called without locks held, by the goroutine
// that makes the thing happen, and possibly by several at once: they must be
// safe for concurrent use and return at once.
type Hooks struct {
	// Elected: this node won job after having stood for it for waited.
	Elected func(job string, token int64, waited time.Duration)

	// Lost: the leadership of job ended without this node's doing. Called after
	// its context is done.
	Lost func(job string, cause error)

	// Resigned: this node released job, which it had led for held, whether or
	// not the store has confirmed that.
	Resigned func(job string, token int64, held time.Duration)

	// Stuck: the Work of job has not returned, although its context has been
	// done for that long. Called after 1 s, and again each time the duration
	// has doubled, up to once a minute.
	Stuck func(job string, token int64, since time.Duration)
}

func (h *Hooks) elected(job string, token int64, waited time.Duration) {
	if h.Elected != nil {
		h.Elected(job, token, waited)
	}
}

func (h *Hooks) lost(job string, cause error) {
	if h.Lost != nil {
		h.Lost(job, cause)
	}
}

func (h *Hooks) resigned(job string, token int64, held time.Duration) {
	if h.Resigned != nil {
		h.Resigned(job, token, held)
	}
}

func (h *Hooks) stuck(job string, token int64, since time.Duration) {
	if h.Stuck != nil {
		h.Stuck(job, token, since)
	}
}
