package distributed

import (
	"context"
	"errors"
	"fmt"
)

// Save keeps data for the job, or whatever it is that this node leads, in place of what
// was kept before: a checkpoint, or what makes the next start a warm one. Whoever leads
// next gets it from [Leadership.Saved]. It is for up to 64 KiB, and for a write every
// few seconds at most, as all nodes of the app are told of each: no database.
//
// It blocks until the store has confirmed that, and tries for as long as the lease
// lives, or until ctx is done, but for a second at least: a Work that was told to stop
// may save before it returns, with the context that it has. After an error data may be
// kept or not, and may become so until the next call, or the next leadership.
//
// It returns what wraps [ErrLeadershipLost] if this node does not lead any more. That
// is not for the clock alone to say: the write takes effect only in place of what this
// leadership knows to be there. So once a later leadership has called Saved or Save,
// the store itself refuses it, also if this process was frozen in between.
func (l *Leadership) Save(ctx context.Context, data []byte) error {
	if len(data) > maxSaved {
		return fmt.Errorf("%w: Save: %d bytes, at most %d are allowed", ErrInvalidConfig, len(data), maxSaved)
	}
	return l.keep(ctx, "save", func(ctx context.Context) error { return l.election.Save(ctx, data) })
}

// Saved returns what was saved last for what this node leads, under whatever
// leadership, and nil or nothing if nothing was. No earlier leadership can save anything
// any more once it has returned. It blocks for a write, likewise, with the same errors.
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
