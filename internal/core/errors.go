package core

import (
	"errors"
	"fmt"
)

var (
	// ErrLeaseLost is returned by a campaign when the session it stands under has
	// ended.
	ErrLeaseLost = errors.New("distributed: lease lost")

	// ErrLeadershipLost is the cause that a leadership was lost with.
	ErrLeadershipLost = errors.New("distributed: leadership lost")

	// ErrInvalidConfig marks an argument that cannot work.
	ErrInvalidConfig = errors.New("distributed: invalid configuration")

	// ErrClosed is what ends a session that is closed.
	ErrClosed = errors.New("distributed: closed")
)

// Why a session is over.
var (
	errExpired  = errors.New("no heartbeat came back in time")
	errTornAway = errors.New("a document of the node was changed or deleted by somebody else")
	errBuried   = errors.New("another node has waited for a heartbeat long enough, and buried this one")
	errEpoch    = errors.New("the documents of the app were deleted, or put back from a backup")
	errHistory  = fmt.Errorf("%w: the store goes on from an earlier state", errEpoch)
)
