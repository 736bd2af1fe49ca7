//go:build unix

package faults

import (
	"flag"
	"os"
	"testing"
)

// The short selection runs with all other tests. The long one takes about an
// hour:
//
//	go test ./internal/faults -long -timeout 2h -v
var (
	long = flag.Bool("long", false, "run everything, and what is random many times")
	seed = flag.Uint64("seed", 0, "the seed of a random mix to repeat; 0 for new ones")

	defects = flag.Bool("defects", false, "show what lies outside the guarantee, as it goes wrong")
)

func TestMain(m *testing.M) {
	RunRole()
	// The tests mostly wait, so more of them run at a time than there are cores.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
