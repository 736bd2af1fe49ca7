package docs

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var link = regexp.MustCompile(`\]\(([^)\s#]*)(?:#([^)\s]*))?\)`)

func TestAllLinksLeadSomewhere(t *testing.T) {
	for _, p := range readPages(t) {
		for i, line := range p.lines {
			for _, found := range link.FindAllStringSubmatch(line, -1) {
				to, heading := found[1], found[2]
				if strings.Contains(to, "://") {
					continue
				}
				name := p.name
				if to != "" {
					name = path.Join(path.Dir(p.name), to)
				}
				text, err := os.ReadFile(root + "/" + name)
				if info, failed := os.Stat(root + "/" + name); failed == nil && info.IsDir() {
					err = nil
				}
				require.NoError(t, err, "%s:%d", p.name, i+1)
				if heading != "" {
					require.Contains(t, anchors(string(text)), heading, "%s:%d", p.name, i+1)
				}
			}
		}
	}
}

// anchors are the headings of a page as GitHub names them in links.
func anchors(text string) (all []string) {
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
			all = append(all, strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
					return unicode.ToLower(r)
				}
				return -1
			}, strings.TrimSpace(title)))
		}
	}
	return all
}

func TestCodeFitsTheScreen(t *testing.T) {
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			for i, line := range strings.Split(b.code, "\n") {
				width := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
				require.LessOrEqual(t, width, 90, "%s:%d", p.name, b.line+i)
			}
		}
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	for _, p := range readPages(t) {
		if p.name == "README.md" {
			require.LessOrEqual(t, len(p.lines), 171) // the last is empty
		}
	}
}
