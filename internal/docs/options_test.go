package docs

import (
	"go/types"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAllOptionsAreListed(t *testing.T) {
	root, err := newCompiler(t).importer.Import("github.com/b2552be4/distributed")
	require.NoError(t, err)
	var options []string
	for _, name := range root.Scope().Names() {
		if _, ok := root.Scope().Lookup(name).(*types.Func); ok && strings.HasPrefix(name, "With") {
			options = append(options, name)
		}
	}
	require.NotEmpty(t, options)
	var listed []string
	for _, p := range readPages(t) {
		if p.name != "docs/options.md" {
			continue
		}
		for _, row := range p.lines {
			if strings.HasPrefix(row, "|") {
				cell, _, _ := strings.Cut(row[1:], "|")
				listed = append(listed, regexp.MustCompile(`With\w+`).FindAllString(cell, -1)...)
			}
		}
	}
	slices.Sort(listed)
	require.Equal(t, options, listed)
}
