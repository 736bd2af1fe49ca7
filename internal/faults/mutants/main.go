//go:build unix

// Command mutants breaks the library on purpose, one rule at a
// time, and checks that the tests notice. It changes a copy of the source in a
// temporary directory, so no mutant can reach a user.
//
//	go run ./internal/faults/mutants
//	go run ./internal/faults/mutants -only "unclean loss"
//	go run ./internal/faults/mutants -test Simulation
//
// It prints a line for each mutant and test, and exits with 1 if a mutant has
// survived. docs/mutants.md explains them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "run only mutants whose name contains this `text`")
	test := flag.String("test", "", "run only tests whose name contains this `text`")
	root := flag.String("root", ".", "the `directory` of the module")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *root, *only, *test); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root, only, test string) (err error) {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := copyTree(root, dir); err != nil {
		return err
	}
	var survivors []string
	tried := 0
	for _, m := range mutants {
		if !strings.Contains(m.name, only) {
			continue
		}
		for _, d := range m.caughtBy {
			if !strings.Contains(d.run, test) {
				continue
			}
			tried++
			began := time.Now()
			caught, err := m.try(ctx, dir, d)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			verdict := map[bool]string{true: "caught by", false: "passes"}[caught]
			if caught == m.holds {
				verdict = "WRONGLY " + verdict
				survivors = append(survivors, fmt.Sprintf("%s (%s)", m.name, d.run))
			}
			fmt.Printf("%-52s %s %s %s (%v)\n", m.name, verdict, d.pkg, d.run, time.Since(began).Round(time.Second))
		}
	}
	if tried == 0 {
		return fmt.Errorf("no mutant is called %q and caught by a test called %q", only, test)
	}
	if len(survivors) > 0 {
		return fmt.Errorf("not as it must be: %s", strings.Join(survivors, "; "))
	}
	return nil
}

// try applies the mutant, runs the detector, and takes the mutant back. A tree
// that does not build is an error, not a catch.
func (m mutant) try(ctx context.Context, dir string, d detector) (caught bool, err error) {
	for _, c := range m.changes {
		path := filepath.Join(dir, c.file)
		data, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		changed, err := c.apply(string(data))
		if err != nil {
			return false, err
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, os.WriteFile(path, data, 0o600)) }()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	binary := filepath.Join(dir, "mutant.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, d.pkg)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return false, fmt.Errorf("does not build: %w\n%s", err, out)
	}
	args := append([]string{"-test.run", d.run, "-test.timeout", "5m", "-test.failfast"}, d.args...)
	for range max(d.tries, 1) {
		test := exec.CommandContext(ctx, binary, args...)
		test.Dir = filepath.Join(dir, d.pkg)
		out, err := test.CombinedOutput()
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case strings.Contains(string(out), "no tests to run"):
			return false, fmt.Errorf("there is no test %s", d.run)
		case err != nil:
			return true, nil
		}
	}
	return false, nil
}

func (c change) apply(source string) (string, error) {
	if n := strings.Count(source, c.old); n != 1 {
		return "", fmt.Errorf("%s has %d times, not once: %s", c.file, n, c.old)
	}
	return strings.Replace(source, c.old, c.replacement, 1), nil
}

// copyTree copies what a build needs.
func copyTree(from, to string) error {
	kinds := []string{".go", ".mod", ".sum", ".html", ".css", ".js", ".svg"}
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case e.IsDir() && e.Name() == ".git":
			return filepath.SkipDir
		case e.IsDir():
			return os.MkdirAll(target, 0o700)
		case !slices.Contains(kinds, filepath.Ext(path)) && !strings.Contains(path, "testdata"):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o600)
	})
}
