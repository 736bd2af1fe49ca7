//go:build unix

// Package demo is what the demos share: nodes that are processes, buttons that
// restart, kill, freeze and cut them off, the status page that shows what comes of
// it, and the verdict on what the jobs recorded meanwhile.
//
// The parent process runs etcd, unless it is given one, serves the page, and
// starts copies of itself as nodes. Between each node and etcd stands a
// [link.Link], so that a node can be cut off. Node n runs all apps of the demo,
// each with the same jobs.
package demo
