package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is what "go mod edit -json" says of a go.mod file, so far as it matters.
type module struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
	Replace []struct{ Old, New struct{ Path string } }
}

// readModules returns all modules below root, by directory.
func readModules(root string) (map[string]module, error) {
	modules := map[string]module{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.Name() != "go.mod":
			return nil
		}
		out, err := exec.Command("go", "mod", "edit", "-json", path).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var m module
		if err := json.Unmarshal(out, &m); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		modules[filepath.ToSlash(dir)] = m
		return err
	})
	if _, ok := modules["."]; err == nil && !ok {
		err = errors.New("there is no go.mod here")
	}
	return modules, err
}

// check returns what keeps users from installing the modules. A replacement counts
// only in the module that is being built: only that of the root, which every module
// has for development, changes nothing for them, as the version required is the
// one that is published with it.
func check(modules map[string]module, version string) error {
	var errs []error
	root := modules["."].Module.Path
	for dir, m := range modules {
		if want := strings.TrimSuffix(root+"/"+dir, "/."); m.Module.Path != want {
			errs = append(errs, fmt.Errorf("%s/go.mod: the module is %s, and not %s", dir, m.Module.Path, want))
		}
		for _, r := range m.Require {
			if ours(root, r.Path) && r.Version != version {
				errs = append(errs, fmt.Errorf("%s/go.mod requires %s %s, and VERSION says %s", dir, r.Path, r.Version, version))
			}
		}
		for _, r := range m.Replace {
			if !ours(root, r.Old.Path) {
				errs = append(errs, fmt.Errorf("%s/go.mod replaces %s, which nobody else does", dir, r.Old.Path))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func ours(root, path string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// writeVersion makes every module require the version.
func writeVersion(modules map[string]module, version string) error {
	root := modules["."].Module.Path
	for dir, m := range modules {
		for _, r := range m.Require {
			if !ours(root, r.Path) || r.Version == version {
				continue
			}
			out, err := exec.Command("go", "mod", "edit", "-require="+r.Path+"@"+version, filepath.Join(dir, "go.mod")).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s/go.mod: %w: %s", dir, err, out)
			}
		}
	}
	return nil
}
