package distributed

import (
	"time"
)

// LeaseOption changes the leases of a provider, whatever its store: those of
// [NewLeaseProvider], [NewETCDLeaseProvider] and [NewMemoryLeaseProvider]. Of an
// option given twice the last counts. What is out of bounds is an error of Campaign
// or Execute, before anything is written.
type LeaseOption func(*leaseOptions)

type leaseOptions struct {
	timing    timing
	graceSet  bool
	namespace string
	invalid   error
}

func newLeaseOptions(opts []LeaseOption) leaseOptions {
	o := leaseOptions{timing: timing{ttl: defaultTTL, drift: defaultDrift}}
	for _, opt := range opts {
		if opt == nil {
			o.invalid = errNilOption
			continue
		}
		opt(&o)
	}
	if !o.graceSet {
		o.timing.grace = o.timing.ttl / 5
	}
	return o
}

func (o *leaseOptions) validate() error {
	if o.invalid != nil {
		return o.invalid
	}
	if o.namespace != "" {
		if err := validateText("WithNamespace", o.namespace, 256); err != nil {
			return err
		}
	}
	return o.timing.validate()
}

// WithLeaseTTL sets how long other nodes wait for a node that is silent before they run
// its jobs: 200 ms to 300 s, in whole milliseconds. That is what a crash costs. On the
// other hand, leadership survives a silence of the store of little more than half the
// TTL; with a TTL below some 4 s it does not survive that etcd elects another leader. A
// node writes a heartbeat four times a TTL. Nodes may have different TTLs. Default: 10
// s.
func WithLeaseTTL(ttl time.Duration) LeaseOption {
	return func(o *leaseOptions) { o.timing.ttl = ttl }
}

// WithLeaseGrace sets how long before anybody else may lead the context of a lost
// leadership is done: that is the time that Work has to stop. It must be at least 0,
// and leave time for a late heartbeat: at most 6.275 s with the default TTL and drift.
// Default: a fifth of the TTL.
func WithLeaseGrace(grace time.Duration) LeaseOption {
	return func(o *leaseOptions) { o.timing.grace, o.graceSet = grace, true }
}

// WithClockDrift sets by how much the clock of a node may run slow or fast, from 0 to
// 0.1. It should be the same on all nodes. Jobs are exclusive only while the clocks
// keep to it. Default: 0.02, which is 2 %, forty times as much as NTP corrects a clock
// by.
func WithClockDrift(rate float64) LeaseOption {
	return func(o *leaseOptions) { o.timing.drift = rate }
}

// WithNamespace puts prefix before the key of every document, so that several
// installations of a service can share a store, or permissions can be given for one of
// them. Nothing is put in between: "prod/" makes "prod/app/...". prefix is at most 256
// bytes of UTF-8 without control characters. Default: none.
func WithNamespace(prefix string) LeaseOption {
	return func(o *leaseOptions) { o.namespace = prefix }
}
