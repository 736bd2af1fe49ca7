//go:build unix

package postgres_test

const nodeRole = "node"

type nodeConfig struct{}

func runNode(nodeConfig) error { return nil }
