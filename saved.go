package distributed

import (
	"context"
	"errors"
	"fmt"
)

// Save keeps data, up to 64 KiB, for the next leader of this name, in place of what was
// kept before: a checkpoint, or what the next leader needs for a warm start. The next
// leader gets it from [Leadership.Saved]. All nodes of the app are told of each write,
// so call it every few seconds at most; it is not a database.
//
// Save blocks until the store has confirmed the write, trying for as long as the lease
// lives, or until ctx is done. It tries for at least a second even if ctx is done
// already, so that a Work that was told to stop can save before it returns. After any
// other error than the following, data may or may not be kept, and may still be written
// until the next call or the next leadership.
//
// It returns an error that wraps [ErrLeadershipLost] if this node no longer leads. That
// does not rest on clocks alone: the write takes effect only in place of what this
// leadership knows to be there. So once a later leadership has called Saved or Save,
// the store itself refuses the write, even if this process was frozen in between.
func (l *Leadership) Save(ctx context.Context, data []byte) error {
	if len(data) > maxSaved {
		return fmt.Errorf("%w: Save: %d bytes, at most %d are allowed", ErrInvalidConfig, len(data), maxSaved)
	}
	return l.keep(ctx, "save", func(ctx context.Context) error { return l.election.Save(ctx, data) })
}

// Saved returns what any earlier leadership, or this one, saved last for this name; it
// returns no data if nothing was saved. Once it has returned, no earlier leadership can
// save anything. It makes one write, blocks as Save does, and returns the same errors.
func (l *Leadership) Saved(ctx context.Context) (data []byte, err error) {
	err = l.keep(ctx, "read what was saved", func(ctx context.Context) error {
		data, err = l.election.Saved(ctx)
		return err
	})
	return data, err
}

func (l *Leadership) keep(ctx context.Context, what string, call func(context.Context) error) error {
	if err := l.made(); err != nil {
		return err
	}
	attempt, cancel := notBefore(ctx, resignAttempt)
	defer cancel()
	err := errNotValid
	if l.Valid() {
		err = call(attempt)
	}
	if attempt.Err() != nil && errors.Is(err, attempt.Err()) {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("distributed: %s for %q: %w", what, l.name, err)
	}
	return nil
}
