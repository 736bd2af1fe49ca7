package distributed

import "time"

const (
	// verdictTime and verdictAttempts are for how long, and how often, a node must
	// have been refused, and by nobody admitted, before that is taken as final. One
	// member, or a moment, proves nothing.
	verdictTime     = 10 * time.Second
	verdictAttempts = 4
)

// verdict collects the refusals that waiting may or may not mend: a wrong password,
// a missing permission, a certificate that is not accepted. The zero verdict is
// that nobody has refused.
type verdict struct {
	since    time.Time // of the first refusal
	attempts int
	by       map[string]bool // addresses of the members that have refused
	unknown  bool            // somebody else has, too
}

// refused takes in that an attempt was refused at now, by the members at by, of
// several if there are several. It reports whether the refusal is final: enough
// attempts over enough time agree, on two members at least if there are so many.
func (v *verdict) refused(now time.Time, by []string, members int) bool {
	if v.attempts == 0 {
		v.since, v.by = now, map[string]bool{}
	}
	v.attempts++
	v.unknown = v.unknown || len(by) == 0
	for _, address := range by {
		v.by[address] = true
		v.unknown = v.unknown || address == ""
	}
	return v.attempts >= verdictAttempts && now.Sub(v.since) >= verdictTime &&
		(v.unknown || len(v.by) >= min(2, members))
}

// admitted takes in a success: whatever was refused before was no verdict.
func (v *verdict) admitted() { *v = verdict{} }
