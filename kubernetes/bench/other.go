//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench kills processes, for which it needs Unix")
	os.Exit(1)
}
