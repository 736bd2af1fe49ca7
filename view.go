package distributed

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// View is a picture of an app at one moment: its nodes, and who leads or waits for
// which job. A View does not change after it was made. It is safe for concurrent use as
// long as the caller does not change it either.
type View struct {
	Self  string     `json:"self"`  // ID of the node whose view this is; empty if that is none
	Nodes []NodeView `json:"nodes"` // sorted by ID
	Jobs  []JobView  `json:"jobs"`  // that somebody leads or waits for, sorted by Name

	// Buried has the nodes that others have given up, as their instance names by ID:
	// nothing was heard of them for a TTL, because they crashed, were frozen or are cut
	// off. They stay here for at least 10 minutes. A node that has gone and is not here
	// left by itself: it stopped, or knew that it had lost its lease.
	Buried map[string]string `json:"buried,omitempty"`

	// Orders are the orders of operators that hold, sorted by Kind, Job and Instance.
	Orders []Order `json:"orders"`

	// Records say which jobs have failed or are done, sorted by Job.
	Records []JobRecord `json:"records"`

	// Unreadable is empty if everything could be read. Otherwise a document is in a
	// newer version of the format than this program knows; this says which, and nobody
	// is shown to lead.
	Unreadable string `json:"unreadable,omitempty"`
}

// NodeView is a node in a [View].
type NodeView struct {
	ID       string `json:"id"` // unique; a node that gets another lease is another one
	Instance string `json:"instance"`
	NodeInfo
}

// NodeInfo is what a node publishes about itself.
type NodeInfo struct {
	// Version tells builds of the program apart during a rollout; see [WithVersion].
	Version string `json:"version"`

	// Started is when the process started, by its own clock. Of two versions, the newer
	// one is that whose first node was started later.
	Started time.Time `json:"started,omitzero"`

	// Labels say what the node is like, such as "zone": "eu-1".
	Labels map[string]string `json:"labels"`

	// Metadata is for those who look for the node, such as an address to route requests
	// to; see [WithMetadata]. Balancing ignores it.
	Metadata map[string]string `json:"metadata"`

	// Capacity is how many jobs the node runs at most; 0 means no limit.
	Capacity int `json:"capacity"`

	// Draining is true while the node takes no jobs and hands over those that it has;
	// in a [View] also if an operator has ordered that.
	Draining bool `json:"draining"`

	// Warming has the jobs with [Job].Prepare or SaysReady that the node campaigns for
	// or leads, and how far it is with them: as many as 24 KiB can tell of, first those
	// that are to move to it now and then those that it leads. A job that it leads and
	// that is not here is ready.
	Warming map[string]Warmth `json:"warming,omitempty"`

	// Jobs are the jobs that the node can run, sorted by Name, each once. They are nil
	// for a node without [WithLoadBalancing], which campaigns for all of its jobs.
	Jobs []JobInfo `json:"jobs"`

	// Barred are the jobs that a node without Jobs does not campaign for because of an
	// order, sorted by Name, each once.
	Barred []JobInfo `json:"barred,omitempty"`
}

// takesJobs reports whether placement may give jobs to the node.
func (i *NodeInfo) takesJobs() bool { return i.Jobs != nil && !i.Draining }

// JobInfo is what balancing has to know of a [Job].
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

	// maxTexts is how many bytes all labels have, or all metadata. None takes more than
	// two bytes for one in JSON, so they leave room in a document.
	maxTexts = 16 << 10
)

func validateTexts(option string, m map[string]string, entries, limit int) error {
	if len(m) > entries {
		return fmt.Errorf("%w: %s: %d entries, at most %d are allowed", ErrInvalidConfig, option, len(m), entries)
	}
	total := 0
	for key, value := range m {
		if total += len(key) + len(value); total > maxTexts {
			return fmt.Errorf("%w: %s: more than %d bytes in all", ErrInvalidConfig, option, maxTexts)
		}
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
	Queue []CandidateView `json:"queue"` // in the order in which they come to lead; never empty
	Led   bool            `json:"led"`   // the first one leads now; if false, it will when a node that has gone must have stopped
}

// CandidateView is a node that leads a job or waits for it.
type CandidateView struct {
	Node  string `json:"node"`  // ID
	Token int64  `json:"token"` // of its leadership, known already while it waits; for up to half a TTL others may see a smaller one

	guessed bool // its node has not written the token yet
}
