package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the top of the repository.
const root = "../.."

// page is a document, with its name from the root.
type page struct {
	name   string
	lines  []string
	given  string // the comments that say what its code takes for granted
	blocks []block
}

// block is a block of Go, and the line of the page on which it begins.
type block struct {
	line int
	code string
}

func readPages(t *testing.T) []page {
	files, err := filepath.Glob(root + "/docs/*.md")
	require.NoError(t, err)
	var pages []page
	for _, file := range append(files, root+"/README.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		name, err := filepath.Rel(root, file)
		require.NoError(t, err)
		pages = append(pages, newPage(filepath.ToSlash(name), string(text)))
	}
	return pages
}

func newPage(name, text string) page {
	p := page{name: name, lines: strings.Split(text, "\n")}
	for i := 0; i < len(p.lines); i++ {
		switch p.lines[i] {
		case "```go":
			code, next := until(p.lines, i+1, "```")
			p.blocks = append(p.blocks, block{line: i + 2, code: code})
			i = next
		case "<!-- go":
			given, next := until(p.lines, i+1, "-->")
			p.given += given
			i = next
		}
	}
	return p
}

// until returns the lines before the one that ends them, and where that is.
func until(lines []string, from int, end string) (text string, next int) {
	for next = from; next < len(lines) && lines[next] != end; next++ {
		text += lines[next] + "\n"
	}
	return text, next
}
