package distributed

import "time"

// View is a picture of an app at one moment: its nodes, and who leads or waits
// for which job. It is not changed after it was made, and safe for concurrent
// use as long as nobody changes it.
type View struct {
	Nodes []NodeView // sorted by ID
	Jobs  []JobView  // that somebody leads or waits for, sorted by Name
}

// NodeView is a node in a [View].
type NodeView struct {
	ID       string // unique; a node that gets another lease is another one
	Instance string
	NodeInfo
}

// NodeInfo is what a node tells the others about itself.
type NodeInfo struct {
	// Version tells builds of the program apart while one replaces the other.
	Version string

	// Started is when the process started, by its own clock. Of two versions,
	// the one that was started first later is the newer one.
	Started time.Time

	// Labels say what the node is like, such as "zone": "eu-1".
	Labels map[string]string

	// Metadata is for whoever looks for the node, such as an address to route
	// requests to. Placement does not heed it.
	Metadata map[string]string

	// Capacity is how many jobs the node runs at most; 0 means no limit.
	Capacity int

	// Draining is set while the node takes no jobs and hands over those it has.
	Draining bool

	// Jobs are those that the node can run, sorted by Name; nil for a node that
	// takes no part in placement, and stands for what it likes.
	Jobs []JobInfo
}

// JobInfo is what placement heeds of a [Job].
type JobInfo struct {
	Name          string
	Weight        int
	Prefer, Avoid []string
}

// JobView is a job in a [View].
type JobView struct {
	Name  string
	Queue []CandidateView // in the order in which they lead; the first does, or will
}

// CandidateView is a node that leads a job or waits for it.
type CandidateView struct {
	Node  string // ID
	Token int64  // of its leadership
}
