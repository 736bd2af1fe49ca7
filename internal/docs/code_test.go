package docs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/b2552be4/distributed/statuspage" // so that a change to it, or to what it uses, makes go test run this again
	"github.com/stretchr/testify/require"
)

func TestAllCodeCompiles(t *testing.T) {
	c := newCompiler(t)
	blocks := 0
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			blocks++
			t.Run(fmt.Sprintf("%s:%d", p.name, b.line), func(t *testing.T) {
				for _, err := range c.check(p, b) {
					t.Error(err)
				}
			})
		}
	}
	require.NotZero(t, blocks)
}

func TestCodeThatDoesNotCompileIsNoticed(t *testing.T) {
	c := newCompiler(t)
	for name, test := range map[string]struct{ text, want string }{
		"statements":   {"```go\nctx := context.Background()\n```", ""},
		"declarations": {"```go\nfunc work(ctx context.Context) error { return ctx.Err() }\n```", ""},
		"a file":       {"```go\npackage main\n\nfunc main() {}\n```", ""},
		"given":        {"<!-- go\nvar n int\n-->\n```go\nn++\n```", ""},
		"given anew":   {"<!-- go\nvar n int\n-->\n```go\nvar n string\n\nfunc f() string { return n }\n```", ""},
		"no such name": {"text\n```go\nprintln(1)\ndistributed.Nothing()\n```", "x.md:4: undefined: distributed.Nothing"},
		"no syntax":    {"```go\nfor {\n```", "x.md:"},
		"not imported": {"```go\npackage main\n\nfunc main() { os.Exit(1) }\n```", "x.md:4: undefined: os"},
		"not given":    {"```go\nn++\n```\n<!-- go\nvar m int\n-->", "x.md:2: undefined: n"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPage("x.md", test.text)
			require.Len(t, p.blocks, 1)
			errs := c.check(p, p.blocks[0])
			if test.want == "" {
				require.Empty(t, errs)
				return
			}
			require.NotEmpty(t, errs)
			require.Contains(t, errs[0].Error(), test.want)
		})
	}
}

// compiler checks the types of code against packages that have been built.
type compiler struct {
	importer types.Importer
	paths    map[string]string // of the packages that need no import, by name
}

// aliases are the usual names of packages that are called by their version.
var aliases = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1":              "metav1",
	"k8s.io/client-go/kubernetes/typed/coordination/v1": "coordinationv1",
}

func newCompiler(t *testing.T) *compiler {
	list := exec.Command("go", "list", "-tags", "packages", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	list.Dir = "packages"
	list.Stderr = os.Stderr
	out, err := list.Output()
	require.NoError(t, err)
	built := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		built[path] = file
	}
	c := &compiler{paths: map[string]string{}}
	c.importer = importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(built[path])
	})
	packages, err := parser.ParseFile(token.NewFileSet(), "packages/packages.go", nil, parser.ImportsOnly)
	require.NoError(t, err)
	for _, spec := range packages.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		imported, err := c.importer.Import(path)
		require.NoError(t, err)
		name := imported.Name()
		if alias := aliases[path]; alias != "" {
			name = alias
		}
		c.paths[name] = path
	}
	return c
}

// check returns what is wrong with a block of a page.
func (c *compiler) check(p page, b block) []error {
	fset := token.NewFileSet()
	code := fmt.Sprintf("//line %s:%d\n%s", p.name, b.line, b.code) // where errors are said to be
	if strings.HasPrefix(b.code, "package ") {
		file, err := parser.ParseFile(fset, "", code, 0)
		if err != nil {
			return []error{err}
		}
		return c.types(fset, file)
	}
	part, err := c.parse(fset, code)
	if err != nil { // no declarations, then
		part, err = c.parse(fset, "func _() (err error) {\n"+code+"\nreturn nil\n}")
	}
	if err != nil {
		return []error{err}
	}
	given, err := c.parse(fset, p.given)
	if err != nil {
		return []error{err}
	}
	replaceIn(given, part)
	return slices.DeleteFunc(c.types(fset, part, given), isUnused)
}

// parse makes a file of declarations, which imports what they use.
func (c *compiler) parse(fset *token.FileSet, code string) (*ast.File, error) {
	const clause = "package part\n"
	file, err := parser.ParseFile(token.NewFileSet(), "", clause+code, 0)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for n := range ast.Preorder(file) {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
	}
	imports := ""
	for name, path := range c.paths {
		if used[name] {
			imports += fmt.Sprintf("import %s %q\n", name, path)
		}
	}
	return parser.ParseFile(fset, "", clause+imports+code, 0)
}

// replaceIn takes out of what is given what a block declares itself.
func replaceIn(given, block *ast.File) {
	declared := map[string]bool{}
	for _, name := range names(block.Decls) {
		declared[name.Name] = true
	}
	for _, name := range names(given.Decls) {
		if declared[name.Name] {
			name.Name = "_"
		}
	}
}

// names returns the identifiers that are declared at the top, imports apart.
func names(decls []ast.Decl) (all []*ast.Ident) {
	for _, decl := range decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				all = append(all, d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					all = append(all, s.Name)
				case *ast.ValueSpec:
					all = append(all, s.Names...)
				}
			}
		}
	}
	return all
}

func (c *compiler) types(fset *token.FileSet, files ...*ast.File) (errs []error) {
	config := types.Config{Importer: c.importer, Error: func(err error) { errs = append(errs, err) }}
	_, _ = config.Check("part", fset, files, nil) // told to Error
	return errs
}

// isUnused is so of what a part of a program declares for the rest of it.
func isUnused(err error) bool {
	typed, ok := errors.AsType[types.Error](err)
	return ok && typed.Soft
}
