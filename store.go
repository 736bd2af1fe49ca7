package distributed

import (
	"context"
	"fmt"
)

// Store keeps the documents of apps in one place that all nodes share. The package
// storetest says what a store must keep (P1 to P5) and what it may do, and has tests
// for it. A store makes one attempt for each call and reports the result; this library
// repeats and batches.
//
// Implementations must be safe for concurrent use.
type Store interface {
	// Put writes value under key if the document is at rev (0: there is none), in
	// one attempt, and returns the revision of the write. It returns a
	// *ConflictError if the document is not at rev: then nothing was written by
	// this attempt. After any other error, such as that of ctx, the write may have
	// taken effect, or may still do so. It blocks until the store has answered or ctx is
	// done. value is never empty; the caller may change it afterwards, also if the
	// write is still on its way.
	Put(ctx context.Context, key string, value []byte, rev int64) (int64, error)

	// Delete removes the document if it is at rev, likewise. At 0 it is refused if there
	// is a document; if there is none, what it returns does not matter.
	Delete(ctx context.Context, key string, rev int64) error

	// Follow tells what happens to the documents whose key begins with prefix,
	// until ctx is done or it can go on no longer, and returns why. tell is called
	// by one goroutine at a time, in order, and does not block for long. The first step
	// is a listing (Whole), and so is the next one whenever the store cannot be sure
	// that it goes on in the same history without a gap: after a connection was lost,
	// the server may have been put back to a backup, and be past where it was.
	// While nothing changes it should tell an empty step of the last revision every
	// few seconds at least, as a proof of life for those who only look on.
	// It never returns nil. tell may keep a step, but must not change its values.
	Follow(ctx context.Context, prefix string, tell func(Step)) error

	// Close frees what the store holds here. Calls under way fail, and so do later
	// ones, with any error but a *ConflictError; a second Close does nothing and
	// returns nil.
	Close() error
}

// Step takes a follower's picture to Revision, exactly.
type Step struct {
	Revision  int64      // above 0, also if nothing was ever written
	Whole     bool       // Documents are all there is, in place of the picture so far
	Documents []Document // each key once; none if nothing has changed up to Revision (a proof of life)
}

// Document is a document as of its last change.
type Document struct {
	Key      string
	Value    []byte // nil: it is gone
	Revision int64  // of the change
}

// ConflictError says that a document is not at the revision at which it was to be
// changed.
type ConflictError struct {
	Key   string
	Known bool     // the store says what is there: There
	There Document // only if Known; Revision 0 if there is none, and nothing else of it counts
}

func (e *ConflictError) Error() string {
	if !e.Known {
		return fmt.Sprintf("distributed: document %q is at another revision", e.Key)
	}
	return fmt.Sprintf("distributed: document %q is at revision %d", e.Key, e.There.Revision)
}

// BatchStore may be implemented by stores that can write several documents in one
// round trip. The writes need not be atomic: each takes effect or fails by itself.
type BatchStore interface {
	Store

	// PutAll writes several documents, each key at most once, and returns a result
	// for each, in the order of the writes. It takes any number of writes; a store
	// with a limit of its own makes several round trips. It blocks like Put.
	PutAll(ctx context.Context, writes []Write) []WriteResult
}

// Write is a Put of a BatchStore; a nil Value deletes.
type Write struct {
	Key      string
	Value    []byte
	Revision int64
}

// WriteResult is what Put, or Delete, would have returned. The revision of a
// deletion is not told.
type WriteResult struct {
	Revision int64
	Err      error
}
