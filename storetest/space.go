package storetest

import (
	"testing"

	"github.com/b2552be4/distributed"
)

// Space is a place for documents, with what only its owner can do to it. Each case
// gets a Space of its own, and uses keys that begin with a prefix no other case
// has: so the spaces may share a server. Others may write there meanwhile.
//
// The functions of a Space are called one at a time, and no more when its case has
// ended.
type Space struct {
	// Open returns one more store on the space, as another process would have it.
	// It may fail the test. The case closes it. Required.
	Open func() distributed.Store

	// TooLarge is the size of a value, in bytes, that the store refuses, just above
	// what it takes: more than 96 KiB. The case about it is skipped if it is 0.
	TooLarge int

	// HoldRequests keeps what s sends on its way until release is called, which may
	// be after s was closed; then it arrives. HoldReplies does the same with all
	// that s is answered and told. Cases that need one are skipped when it is nil.
	HoldRequests, HoldReplies func(s distributed.Store) (release func())

	// Compact makes the store forget its history up to revision rev: it cannot tell
	// any more what changed until then. Cases that need it are skipped when it is nil.
	Compact func(rev int64)
}

func (s Space) require(t testing.TB) {
	t.Helper()
	if s.Open == nil {
		t.Fatalf("storetest: Space.Open is required")
	}
}
