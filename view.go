package distributed

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// View is a picture of an app at one moment: its nodes, and who leads or waits
// for which job. It is not changed after it was made, and safe for concurrent
// use as long as nobody changes it.
type View struct {
	Self  string     `json:"self"`  // ID of the node whose view this is; empty if that is none
	Nodes []NodeView `json:"nodes"` // sorted by ID
	Jobs  []JobView  `json:"jobs"`  // that somebody leads or waits for, sorted by Name

	// Buried are nodes that the others have given up, with their instances by ID: nobody
	// had heard of them for a TTL, as they had crashed, were frozen or cut off. They are
	// here for 10 minutes or longer. A node that has gone and is not here has left by
	// itself: it stopped, or knew that it had lost its lease.
	Buried map[string]string `json:"buried,omitempty"`

	// Orders are those of operators, by Kind, Job and Instance; those that have been
	// carried out are not among them.
	Orders []Order `json:"orders"`

	// Records are of the jobs that have failed, and of those that are done, sorted by Job.
	Records []JobRecord `json:"records"`

	// Unreadable says why nobody is shown to lead: a document is in a newer version of
	// the format than this build knows. Empty as a rule: everything could be read.
	Unreadable string `json:"unreadable,omitempty"`
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
	// requests to. Placement ignores it.
	Metadata map[string]string `json:"metadata"`

	// Capacity is how many jobs the node runs at most; 0 means no limit.
	Capacity int `json:"capacity"`

	// Draining is set while the node takes no jobs and hands over those it has; in a
	// [View] also if an operator has ordered that.
	Draining bool `json:"draining"`

	// Warming are the jobs that the node campaigns for or leads and that have to warm up, as
	// far as it is with them. A job that it leads and that is not among them is ready.
	Warming map[string]Warmth `json:"warming,omitempty"`

	// Jobs are those that the node can run, sorted by Name, each once; nil for a
	// node that takes no part in placement, and campaigns for whatever it has.
	Jobs []JobInfo `json:"jobs"`

	// Barred are the jobs that a node without Jobs would campaign for, if no order of
	// an operator were against that; sorted by Name, each once.
	Barred []JobInfo `json:"barred,omitempty"`
}

// takesJobs reports whether placement may give jobs to the node.
func (i *NodeInfo) takesJobs() bool { return i.Jobs != nil && !i.Draining }

// JobInfo is what placement has to know of a [Job].
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
	Node  string `json:"node"`  // ID
	Token int64  `json:"token"` // of its leadership, also while it waits; others may see a smaller one for up to half a TTL after it came

	guessed bool // its node has not written the token yet
}
