package distributed

import (
	"fmt"
	"math"
	"time"
)

// timing is what the owner of a lease and the others have to agree on, so that
// the owner stops before anybody else starts.
type timing struct {
	ttl   time.Duration
	drift float64
	grace time.Duration // for Work to stop
}

const (
	defaultTTL   = 10 * time.Second
	defaultDrift = 0.02

	// epsilon is taken off the validity, for the clock's own tolerance.
	epsilon = clockTolerance + 5*time.Millisecond

	// callTimeout bounds each attempt of a call to the store, which is then repeated.
	callTimeout = time.Second
)

// validity is how long after it was sent a heartbeat keeps the lease valid.
func (t timing) validity() time.Duration {
	return t.ttl - time.Duration(float64(t.ttl)*t.drift) - epsilon
}

// period is the time between two heartbeats.
func (t timing) period() time.Duration { return t.ttl / 4 }

// attempt bounds a call: the next heartbeat must not wait for one that hangs.
func (t timing) attempt() time.Duration { return min(callTimeout, t.ttl/5) }

// lag bounds how long the feed may not show a heartbeat that the store has
// confirmed. What tells it may hang, and so may the next one: there has to be time
// for a third.
func (t timing) lag() time.Duration {
	return min(t.attempt(), max(t.attempt()/2, 250*time.Millisecond))
}

func (t timing) validate() error {
	if t.ttl < minTTL || t.ttl > maxTTL {
		return fmt.Errorf("%w: WithLeaseTTL(%v): must be between %v and %v", ErrInvalidConfig, t.ttl, minTTL, maxTTL)
	}
	if math.IsNaN(t.drift) || t.drift < 0 || t.drift > maxDrift {
		return fmt.Errorf("%w: WithClockDrift(%v): must be between 0 and %v", ErrInvalidConfig, t.drift, maxDrift)
	}
	if t.ttl%time.Millisecond != 0 {
		return fmt.Errorf("%w: WithLeaseTTL(%v): must be a whole number of milliseconds", ErrInvalidConfig, t.ttl)
	}
	if room := t.validity() - t.period() - t.attempt(); t.grace < 0 || t.grace > room {
		return fmt.Errorf("%w: WithLeaseGrace(%v): must be between 0 and %v with a lease TTL of %v, or a single late heartbeat would end the lease",
			ErrInvalidConfig, t.grace, room.Truncate(time.Millisecond), t.ttl)
	}
	return nil
}

// silence is how long others wait without a heartbeat until nothing can run any
// more on a node with that TTL.
func silence(ttl time.Duration, drift float64) time.Duration {
	return ttl + time.Duration(float64(ttl)*drift)
}

// longestSilence is that of a node of which nothing is known.
var longestSilence = silence(maxTTL, maxDrift)
