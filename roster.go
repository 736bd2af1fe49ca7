package distributed

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// Roster is implemented by the leases of stores in which nodes can see one
// another. [WithLoadBalancing] needs it; whatever else this package does goes
// without. The package leasetest checks an implementation, which must be safe
// for concurrent use.
type Roster interface {
	// Announce tells the other nodes about this one, in place of all that it has
	// told before: what info leaves empty is no longer said. It blocks until the
	// store has accepted that, and returns [ErrLeaseLost] when the lease has
	// ended, whatever it is that notices; ctx's error when ctx is done; and what
	// is wrong with info. What it returned an error for may be announced yet, but
	// must not replace what a later call has announced. Of calls at the same time
	// all but one may fail.
	//
	// What has been announced goes with the lease: a lease of the same instance
	// has announced nothing. nil Jobs must be kept apart from empty ones; other
	// slices and maps need not be, and Started may be cut to the millisecond. The
	// caller does not change what info refers to, not even later.
	Announce(ctx context.Context, info NodeInfo) error

	// View returns a picture of the app, and a channel that is closed when there
	// is another one, from that picture on: who waits for it before calling View
	// again must not miss what lasts. It should stay open while the picture would
	// be the same, and must not be closed for heartbeats. View does not block and
	// makes no call to the store. Pictures may be late, but each is of one moment,
	// and later ones of later moments. A candidate that is lost in a way that its
	// node may not know of is in none. View returns [ErrLeaseLost] when the lease
	// has ended, and the channel is closed then.
	View() (*View, <-chan struct{}, error)

	// Silence returns for how long each node of the last View, its own included,
	// has not been heard of, by ID: less than its TTL while it is well. As long as
	// one of them is heard, so is the store.
	Silence() map[string]time.Duration
}

// View is a picture of an app at one moment: its nodes, and who leads or waits
// for which job. It is not changed after it was made, and safe for concurrent
// use as long as nobody changes it.
type View struct {
	Self  string     `json:"self"`  // ID of the node whose view this is; empty if that is none
	Nodes []NodeView `json:"nodes"` // sorted by ID
	Jobs  []JobView  `json:"jobs"`  // that somebody leads or waits for, sorted by Name
}

// NodeView is a node in a [View].
type NodeView struct {
	ID       string `json:"id"` // unique; a node that gets another lease is another one
	Instance string `json:"instance"`
	NodeInfo
}

// NodeInfo is what a node tells the others about itself.
type NodeInfo struct {
	// Version tells builds of the program apart while one replaces the other.
	Version string `json:"version"`

	// Started is when the process started, by its own clock. Of two versions,
	// the one that was started first later is the newer one.
	Started time.Time `json:"started,omitzero"`

	// Labels say what the node is like, such as "zone": "eu-1".
	Labels map[string]string `json:"labels"`

	// Metadata is for whoever looks for the node, such as an address to route
	// requests to. Placement does not heed it.
	Metadata map[string]string `json:"metadata"`

	// Capacity is how many jobs the node runs at most; 0 means no limit.
	Capacity int `json:"capacity"`

	// Draining is set while the node takes no jobs and hands over those it has.
	Draining bool `json:"draining"`

	// Jobs are those that the node can run, sorted by Name, each once; nil for a
	// node that takes no part in placement, and stands for what it likes.
	Jobs []JobInfo `json:"jobs"`
}

// JobInfo is what placement heeds of a [Job].
type JobInfo struct {
	Name   string   `json:"name"`
	Weight int      `json:"weight"` // at least 1
	Prefer []string `json:"prefer"`
	Avoid  []string `json:"avoid"`
}

func (i *NodeInfo) validate() error {
	if i.Version != "" {
		if err := validateText("WithVersion", i.Version, maxVersion); err != nil {
			return err
		}
	}
	for key := range i.Labels {
		if err := validateKey("WithLabels", key); err != nil {
			return err
		}
	}
	return errors.Join(
		validateTexts("WithLabels", i.Labels, maxLabels, maxLabel),
		validateTexts("WithMetadata", i.Metadata, maxMetadata, maxMetadatum),
	)
}

// validateKey refuses the key of a label that no "key=value" can name, or none
// that looks like it.
func validateKey(field, key string) error {
	switch {
	case strings.Contains(key, "="):
		return fmt.Errorf("%w: %s key %q contains \"=\"", ErrInvalidConfig, field, key)
	case strings.TrimSpace(key) != key:
		return fmt.Errorf("%w: %s key %q begins or ends with a space", ErrInvalidConfig, field, key)
	}
	return validateText(field+" key", key, maxLabel)
}

const (
	maxVersion   = 128
	maxMetadata  = 64
	maxMetadatum = 1024
)

func validateTexts(option string, m map[string]string, entries, limit int) error {
	if len(m) > entries {
		return fmt.Errorf("%w: %s: %d entries, at most %d are allowed", ErrInvalidConfig, option, len(m), entries)
	}
	for key, value := range m {
		if err := validateText(option+" key", key, limit); err != nil {
			return err
		}
		if value == "" {
			continue
		}
		if err := validateText(fmt.Sprintf("%s[%q]", option, key), value, limit); err != nil {
			return err
		}
	}
	return nil
}

// buildVersion is what the program was stamped with when it was built.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	parts := []string{info.Main.Version}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			parts = append(parts, s.Value[:min(12, len(s.Value))])
		case s.Key == "vcs.modified" && s.Value == "true":
			parts = append(parts, "modified")
		}
	}
	version := strings.Join(parts, " ")
	return version[:min(maxVersion, len(version))]
}

// JobView is a job in a [View].
type JobView struct {
	Name  string          `json:"name"`
	Queue []CandidateView `json:"queue"` // in the order in which they lead, never empty
	Led   bool            `json:"led"`   // the first leads; otherwise it will, once a node that is gone has surely stopped
}

// CandidateView is a node that leads a job or waits for it.
type CandidateView struct {
	Node  string `json:"node"`  // ID; of no node in the view if the candidate is foreign, or its node just leaves
	Token int64  `json:"token"` // of its leadership, also while it waits
}
