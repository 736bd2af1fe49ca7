//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench kills processes and measures them, for which it needs Unix")
	os.Exit(1)
}
