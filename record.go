package distributed

import (
	"errors"
	"time"
)

// JobRecord is what the nodes of an app have on record of a job: that its Work has
// failed, or that it is done. It is kept in the store, and outlives them.
type JobRecord struct {
	Job      string    `json:"job"`
	Token    int64     `json:"token"`    // of the leadership under which that happened
	Instance string    `json:"instance"` // of the node
	At       time.Time `json:"at"`       // when, by the clock of that node

	// Done: Work has returned [ErrDone]. It is not called any more.
	Done bool `json:"done"`

	// Failures is how often Work has failed in a row, Error is the last error, in one
	// line of some 200 bytes at most, and Pause is how long after that Work is called
	// again. There is nothing on record any more once Work has run for longer than
	// Pause, or has returned nil by itself.
	Failures int           `json:"failures"`
	Error    string        `json:"error"`
	Pause    time.Duration `json:"pause"`
}

// Next is when Work is called again after a failure, at the earliest, by the clock of
// the node on which it has failed. Each node counts the pause by a clock of its own,
// from when it has seen the failure.
func (r JobRecord) Next() time.Time { return r.At.Add(r.Pause) }

// ErrDone is returned by a Work that has finished for good, such as a migration: it is
// not called again, on any node, nor after restarts of all of them. That is recorded
// under the fencing token before the job is released. If the leadership is lost before
// it is recorded, Work is called again.
var ErrDone = errors.New("distributed: the job is done")
