package faults

import (
	"flag"
	"os"
	"testing"
)

var (
	long    = flag.Bool("long", false, "run everything, and what is random many times")
	defects = flag.Bool("defects", false, "run the faults that the library is known not to stand instead of those of single nodes")
	seed    = flag.Uint64("seed", 0, "the seed of a random mix to repeat; 0 for new ones")
)

func TestMain(m *testing.M) {
	RunRole()
	flag.Parse()
	os.Exit(m.Run())
}
