// Package nodetest runs the library on any store in real processes, with a link
// between each of them and each server of the store, for tests that break something
// and judge from what the jobs wrote down whether any ran twice at once. The package
// faults has more oracles, and is for etcd alone.
package nodetest
