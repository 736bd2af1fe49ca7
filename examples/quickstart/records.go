package main

import (
	"os"
	"path/filepath"

	"github.com/b2552be4/distributed/verify"
)

// records is the directory in which the nodes record when their jobs run, as
// services do in production: each in a file of its own.
type records struct {
	dir  string
	keep bool
}

// openRecords makes the directory, a temporary one if it has no name.
func openRecords(name string) (records, error) {
	if name != "" {
		return records{dir: name, keep: true}, os.Mkdir(name, 0o755)
	}
	dir, err := os.MkdirTemp("", "distributed-quickstart-")
	return records{dir: dir}, err
}

func (r records) file(node string) string { return filepath.Join(r.dir, node+".jsonl") }

// check is all that it takes to judge what the nodes have recorded.
func (r records) check(ns nodes) (verify.Report, error) {
	var files []string
	for _, n := range ns {
		files = append(files, r.file(n.name))
	}
	records, err := verify.ReadFiles(files...)
	if err != nil {
		return verify.Report{}, err
	}
	runs, err := verify.Runs(records)
	if err != nil {
		return verify.Report{}, err
	}
	return verify.Check(runs, verify.Rules{}), nil
}

// hint says how to check them by hand.
func (r records) hint() string {
	if r.keep {
		return "Check the nodes' records yourself: go run ./cmd/verify " + r.file("*")
	}
	return "With -records DIR the nodes' records stay, for go run ./cmd/verify DIR/*.jsonl"
}

func (r records) close() {
	if !r.keep {
		_ = os.RemoveAll(r.dir)
	}
}
