package distributed

import (
	"context"
	"fmt"
)

// answer is how a call of a function of the user's has ended.
type answer[T any] struct {
	value T
	err   error
}

// ask calls f, which what names in errors, on a goroutine of its own: f may block, and
// goes on behind us then, or panic or end its goroutine, which is an error. The
// channel has room for the answer, and gets one if f does not block.
func ask[T any](what string, f func() (T, error)) chan answer[T] {
	answers := make(chan answer[T], 1)
	go func() { // nobody waits for it if it blocks
		a := answer[T]{err: fmt.Errorf("%s called runtime.Goexit", what)}
		defer func() {
			if v := recover(); v != nil {
				a.err = fmt.Errorf("%s panicked: %v", what, v)
			}
			answers <- a
		}()
		v, err := f()
		a = answer[T]{v, err}
	}()
	return answers
}

// await waits for an answer until ctx is done.
func await[T any](ctx context.Context, answers <-chan answer[T]) (T, error) {
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
