//go:build !unix

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "mutants runs tests that kill and freeze processes, for which it needs Unix")
	os.Exit(1)
}
