package play

import (
	"os"
	"path/filepath"

	"github.com/b2552be4/distributed/verify"
)

// Records is the directory in which the nodes record when their jobs run, as
// services do in production: each in a file of its own.
type Records struct {
	Dir  string
	Keep bool
}

// OpenRecords makes the directory, a temporary one if it has no name.
func OpenRecords(name string) (Records, error) {
	if name != "" {
		return Records{Dir: name, Keep: true}, os.Mkdir(name, 0o755)
	}
	dir, err := os.MkdirTemp("", "distributed-records-")
	return Records{Dir: dir}, err
}

// File returns the path of a node's file.
func (r Records) File(node string) string { return filepath.Join(r.Dir, node+".jsonl") }

// Check is all that it takes to judge what the nodes have recorded.
func (r Records) Check(rules verify.Rules, nodes ...string) (verify.Report, error) {
	var files []string
	for _, n := range nodes {
		files = append(files, r.File(n))
	}
	records, err := verify.ReadFiles(files...)
	if err != nil {
		return verify.Report{}, err
	}
	runs, err := verify.Runs(records)
	if err != nil {
		return verify.Report{}, err
	}
	return verify.Check(runs, rules), nil
}

// Hint says how to check them by hand.
func (r Records) Hint() string {
	if r.Keep {
		files, err := filepath.Abs(r.File("*"))
		if err != nil {
			files = r.File("*")
		}
		return "Check the nodes' records yourself: go -C cmd/distributed run . verify " + files
	}
	return "With -records DIR the nodes' records stay, for the verb verify of cmd/distributed"
}

// Close removes them, unless they are to be kept.
func (r Records) Close() {
	if !r.Keep {
		_ = os.RemoveAll(r.Dir)
	}
}
