package main

import (
	"archive/zip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const goMod = "module example.com/app\n"

// tree makes a repository of these files, and returns its modules.
func tree(t *testing.T, files map[string]string) map[string]module {
	t.Chdir(t.TempDir())
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o666))
	}
	modules, err := readModules(".")
	require.NoError(t, err)
	return modules
}

func TestWhatUsersCannotInstallIsFound(t *testing.T) {
	for _, c := range []struct {
		goMod string
		want  string // empty if it is good
	}{
		{"module example.com/app/sub\nrequire example.com/app v1.2.3\nreplace example.com/app => ..\n", ""},
		{"module example.com/app/sub\nrequire example.com/other v1.0.0\n", ""},
		{"module example.com/app/sub\nrequire example.com/app v1.2.2\n", "sub/go.mod requires example.com/app v1.2.2, and VERSION says v1.2.3"},
		{"module example.com/app/sub\nrequire example.com/app/more v1.2.2\n", "sub/go.mod requires example.com/app/more v1.2.2, and VERSION says v1.2.3"},
		{"module example.com/app/sub\nrequire example.com/app v0.0.0-00010101000000-000000000000\nreplace example.com/app => ..\n", "sub/go.mod requires example.com/app v0.0.0-00010101000000-000000000000, and VERSION says v1.2.3"},
		{"module example.com/app/sub\nrequire example.com/other v1.0.0\nreplace example.com/other => ../other\n", "sub/go.mod replaces example.com/other, which nobody else does"},
		{"module example.com/sub\n", "sub/go.mod: the module is example.com/sub, and not example.com/app/sub"},
	} {
		modules := tree(t, map[string]string{"go.mod": goMod, "sub/go.mod": c.goMod})
		err := check(modules, "v1.2.3")
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, c.want)
		if strings.Contains(c.want, "VERSION") {
			require.NoError(t, writeVersion(modules, "v1.2.3"))
			modules, err = readModules(".")
			require.NoError(t, err)
			require.NoError(t, check(modules, "v1.2.3"))
		}
	}
}

func TestAModuleIsPublishedWithoutThoseBelowIt(t *testing.T) {
	modules := tree(t, map[string]string{
		"go.mod": goMod, "LICENSE": "free", "a.go": "package app", "b/b.go": "package b", "not/in/git.go": "",
		"sub/go.mod": "module example.com/app/sub\n", "sub/s.go": "package sub",
		"sub/testdata/server/go.mod": "module server\n", "sub/testdata/server/main.go": "package main", "sub/testdata/t.txt": "text",
	})
	for _, args := range [][]string{{"init", "-q"}, {"add", "go.mod", "LICENSE", "a.go", "b", "sub"}} {
		require.NoError(t, exec.Command("git", args...).Run())
	}
	require.NoError(t, publish(modules, ".", "v1.2.3", "proxy"))
	require.NoError(t, publish(modules, "sub", "v1.2.3", "proxy"))
	require.Equal(t, map[string]string{
		"example.com/app@v1.2.3/go.mod": goMod, "example.com/app@v1.2.3/LICENSE": "free",
		"example.com/app@v1.2.3/a.go": "package app", "example.com/app@v1.2.3/b/b.go": "package b",
	}, unpack(t, "proxy/example.com/app/@v/v1.2.3.zip"))
	require.Equal(t, map[string]string{
		"example.com/app/sub@v1.2.3/go.mod": "module example.com/app/sub\n", "example.com/app/sub@v1.2.3/LICENSE": "free",
		"example.com/app/sub@v1.2.3/s.go": "package sub", "example.com/app/sub@v1.2.3/testdata/t.txt": "text",
	}, unpack(t, "proxy/example.com/app/sub/@v/v1.2.3.zip"))
}

func unpack(t *testing.T, path string) map[string]string {
	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	files := map[string]string{}
	for _, f := range r.File {
		in, err := f.Open()
		require.NoError(t, err)
		content, err := io.ReadAll(in)
		require.NoError(t, err)
		files[f.Name] = string(content)
	}
	return files
}
