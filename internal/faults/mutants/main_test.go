//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// A change that does not fit the source any more would break the table silently
// until somebody runs it.
func TestEachMutantFitsTheSource(t *testing.T) {
	for _, m := range mutants {
		require.NotEmpty(t, m.caughtBy, m.name)
		sources := map[string]string{}
		for _, c := range m.changes {
			if _, ok := sources[c.file]; !ok {
				data, err := os.ReadFile(filepath.Join(root, c.file))
				require.NoError(t, err)
				sources[c.file] = string(data)
			}
			changed, err := c.apply(sources[c.file])
			require.NoError(t, err, m.name)
			require.NotEqual(t, sources[c.file], changed)
			sources[c.file] = changed
		}
	}
}

func TestEachMutantIsInTheDocumentation(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs", "mutants.md"))
	require.NoError(t, err)
	for _, m := range mutants {
		require.Contains(t, string(doc), "| "+m.name+" |")
	}
}

func TestTheCopyHasTheSource(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, copyTree(root, dir))
	require.FileExists(t, filepath.Join(dir, "go.mod"))
	require.FileExists(t, filepath.Join(dir, "mirror.go"))
	require.NoDirExists(t, filepath.Join(dir, ".git"))
}

func TestAChangeMustFitOnce(t *testing.T) {
	c := change{"f.go", "a", "b"}
	changed, err := c.apply("xax")
	require.NoError(t, err)
	require.Equal(t, "xbx", changed)
	for _, source := range []string{"", "aa"} {
		_, err := c.apply(source)
		require.ErrorContains(t, err, "f.go")
	}
}
