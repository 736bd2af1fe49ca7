package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// publish puts a module into a directory in the layout of a module proxy, as
// https://go.dev/ref/mod#goproxy-protocol has it: what git has of it, without the
// modules below it, and with the license of the root.
func publish(modules map[string]module, dir, version, proxy string) error {
	files, err := filesOf(dir)
	if err != nil {
		return err
	}
	name := modules[dir].Module.Path
	to := filepath.Join(proxy, filepath.FromSlash(name), "@v")
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	archive, err := pack(files, name+"@"+version+"/")
	if err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC().Truncate(time.Second)})
	return cmp.Or(err,
		os.WriteFile(filepath.Join(to, "list"), []byte(version+"\n"), 0o666),
		os.WriteFile(filepath.Join(to, version+".info"), info, 0o666),
		os.WriteFile(filepath.Join(to, version+".mod"), goMod, 0o666),
		os.WriteFile(filepath.Join(to, version+".zip"), archive, 0o666),
	)
}

// filesOf returns the files of a module, by their name in it. Modules below it are
// left out also where nobody else looks, as in a testdata directory.
func filesOf(dir string) (map[string]string, error) {
	out, err := exec.Command("git", "ls-files", "-z", "--", dir).Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	isModule := map[string]bool{dir: true}
	for _, name := range names {
		if path.Base(name) == "go.mod" {
			isModule[path.Dir(name)] = true
		}
	}
	files := map[string]string{"LICENSE": "LICENSE"}
	for _, name := range names {
		if moduleOf(isModule, name) != dir {
			continue
		}
		inModule, err := filepath.Rel(dir, name)
		if err != nil {
			return nil, err
		}
		files[filepath.ToSlash(inModule)] = name
	}
	return files, nil
}

// moduleOf returns the directory of the module that a file belongs to.
func moduleOf(isModule map[string]bool, file string) string {
	dir := path.Dir(file)
	for !isModule[dir] {
		dir = path.Dir(dir)
	}
	return dir
}

func pack(files map[string]string, prefix string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content, err := os.ReadFile(files[name])
		if err != nil {
			return nil, err
		}
		w, err := z.Create(prefix + name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

// environment is that in which users install. What others have published comes
// from the module cache, or else from the ordinary proxy; what is ours goes into a
// cache of its own, as nobody may see it again once its version has been tagged.
func environment(temp, proxy, root string) []string {
	env := append(os.Environ(),
		"GOWORK=off", "GOFLAGS=-mod=mod -modcacherw -trimpath", "GOMODCACHE="+filepath.Join(temp, "cache"))
	if proxy == "" {
		return env
	}
	return append(env,
		"GOPROXY=file://"+filepath.ToSlash(proxy)+",file://"+filepath.ToSlash(filepath.Join(goEnv("GOMODCACHE"), "cache", "download"))+","+goEnv("GOPROXY"),
		"GONOSUMDB="+strings.TrimPrefix(goEnv("GONOSUMDB")+","+root, ","))
}

func goEnv(name string) string {
	out, _ := exec.Command("go", "env", name).Output() // without it, nothing else works either
	return strings.TrimSpace(string(out))
}

// install requires the module in an empty one, and runs a program with it; or, if
// there is none, the command that the module is.
func install(in, path, version, program string, env []string) error {
	if err := os.MkdirAll(in, 0o777); err != nil {
		return err
	}
	command := path
	if program != "" {
		command = "."
		if err := os.WriteFile(filepath.Join(in, "main.go"), []byte(program), 0o666); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"mod", "init", "example.com/user"},
		{"get", path + "@" + version},
		{"run", command, "help"},
		{"mod", "verify"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Env = in, env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}
