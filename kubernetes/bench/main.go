//go:build unix

// Command bench measures, on one API server and in one run, this library beside
// client-go's leaderelection: what three nodes cost at rest, and how a job moves from
// node to node. In the directory of the module kubernetes:
//
//	go run ./bench
//
// It builds and starts etcd and kube-apiserver, and takes some ten minutes, five of them
// the first time for that. Both have 15 s for a lease.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"k8s.io/klog/v2"

	"github.com/b2552be4/distributed/internal/contest"
	"github.com/b2552be4/distributed/kubernetes/internal/apiserver"
)

func main() {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	all := contenders()
	contest.RunRole(all, apiserver.Roles())
	if err := bench(all); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(all []contest.Contender) error {
	executable, err := apiserver.Build("testdata/server")
	if err != nil {
		return fmt.Errorf("build the API server: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cluster, err := apiserver.Start(executable, dir, 1)
	defer cluster.Kill()
	if err != nil {
		return err
	}
	server := cluster.Servers[0]
	table, err := contest.Contest{
		Server: server.Addr,
		Reach:  func(addr, _ string) string { return addr },
	}.Run(all)
	fmt.Println(table)
	if err != nil {
		return err
	}
	table, err = restTable(server.REST(server.Addr))
	fmt.Print(table)
	return err
}
