//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "rolling-restart kills and freezes processes, for which it needs Unix")
	os.Exit(1)
}
