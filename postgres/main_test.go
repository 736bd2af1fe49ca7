//go:build unix

package postgres_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/b2552be4/distributed/internal/process"
)

func TestMain(m *testing.M) {
	process.RunRole(map[string]process.Role{nodeRole: process.RoleOf(runNode)})
	// The tests mostly wait, so more of them run at a time than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	flag.Parse()
	end := startCommon()
	if err := os.Setenv("DATABASE_URL", common.url()); err != nil { // for the example
		panic(err)
	}
	known := []goleak.Option{goleak.IgnoreCurrent(), goleak.IgnoreTopFunction("github.com/b2552be4/distributed/internal/process.spawnAll")}
	code := m.Run()
	end()
	if err := goleak.Find(known...); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
