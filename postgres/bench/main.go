//go:build unix

// Command bench measures, on one PostgreSQL server and in one run, how a job moves
// from node to node with this library, with River's leader and with a loop on an
// advisory lock:
//
//	go run . -url postgres://postgres@127.0.0.1:5432/postgres
//
// It needs a role that may create schemas and end others' connections, and takes some
// minutes. Each contender has three nodes, in processes and with a network of their own.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/b2552be4/distributed/internal/contest"
)

func main() {
	contest.RunRole(contenders, nil)
	address := flag.String("url", os.Getenv("DATABASE_URL"), "the `URL` of the server, without TLS")
	flag.Parse()
	if err := bench(*address); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(address string) error {
	at, err := url.Parse(address)
	if err != nil {
		return err
	}
	if err := prepareRiver(context.Background(), address); err != nil {
		return err
	}
	table, err := contest.Contest{
		Server: at.Host,
		Reach: func(addr, node string) string {
			u := *at
			u.Host = addr
			u.RawQuery = url.Values{"sslmode": {"disable"}, "application_name": {node}}.Encode()
			return u.String()
		},
		End: func(node string) error { return terminate(address, node) },
	}.Run(contenders)
	fmt.Print(table)
	return err
}

// terminate ends a node's connections on the server.
func terminate(address, node string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", node)
	_ = conn.Close(ctx) // it is not needed any more
	return err
}
