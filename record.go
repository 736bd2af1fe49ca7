package distributed

import (
	"errors"
	"time"
)

// JobRecord is what the store has on record of a job: that its Work has failed, or that
// it is done. It survives restarts of all nodes.
type JobRecord struct {
	Job      string    `json:"job"`
	Token    int64     `json:"token"`    // of the leadership in which that happened
	Instance string    `json:"instance"` // of the node
	At       time.Time `json:"at"`       // when, by the clock of that node

	// Done: Work has returned [ErrDone]. It is not called again.
	Done bool `json:"done"`

	// Failures is how often Work has failed in a row. Error is the last error, on one
	// line of some 200 bytes at most. Pause is how long after the failure Work is
	// called again. The record is deleted once Work has run for longer than Pause, or
	// has returned nil by itself.
	Failures int           `json:"failures"`
	Error    string        `json:"error"`
	Pause    time.Duration `json:"pause"`
}

// Next returns the earliest time at which Work is called again after a failure, by the
// clock of the node on which it failed. The other nodes count the pause from when they
// saw the failure, each by its own clock.
func (r JobRecord) Next() time.Time { return r.At.Add(r.Pause) }

// ErrDone is returned by a Work that has finished for good, such as a migration: it is
// not called again, on any node, nor after restarts of all of them. That is recorded
// under the fencing token before the job is released. If the leadership is lost before
// it is recorded, Work is called again.
var ErrDone = errors.New("distributed: the job is done")
