package distributed_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestEveryMessageThatIsLoggedIsDocumentedAndTheOtherWayRound(t *testing.T) {
	require.Equal(t, loggedInSource(t), documentedLogs(t))
}

// loggedInSource returns the log statements of the package, each as its level,
// message and attributes. An attribute in brackets is not in all statements with
// that message.
func loggedInSource(t *testing.T) map[string]string {
	type statements struct {
		attributes []string
		count      map[string]int
		all        int
	}
	found := map[string]*statements{}
	files := token.NewFileSet()
	inspect := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method.Sel.Name) || len(call.Args) == 0 {
			return true
		}
		at := files.Position(call.Pos())
		key := method.Sel.Name + ": " + literal(t, at, call.Args[0])
		if found[key] == nil {
			found[key] = &statements{count: map[string]int{}}
		}
		s := found[key]
		s.all++
		var names []string
		for i := 1; i < len(call.Args); i += 2 {
			name := literal(t, at, call.Args[i])
			names = append(names, name)
			if s.count[name]++; s.count[name] == 1 {
				s.attributes = append(s.attributes, name)
			}
		}
		require.Equal(t, slices.Contains(names, "job"), slices.Contains(names, "token"), "%s: a job has a token", at)
		return true
	}
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range sources {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(files, name, nil, 0)
			require.NoError(t, err)
			ast.Inspect(file, inspect)
		}
	}
	all := map[string]string{}
	for key, s := range found {
		for i, name := range s.attributes {
			if s.count[name] < s.all {
				s.attributes[i] = "(" + name + ")"
			}
		}
		all[key] = strings.Join(s.attributes, ", ")
	}
	require.NotEmpty(t, all)
	return all
}

func literal(t *testing.T, at token.Position, e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	require.True(t, ok, "%s: messages and names of attributes are constant", at)
	s, err := strconv.Unquote(lit.Value)
	require.NoError(t, err)
	return s
}

func documentedLogs(t *testing.T) map[string]string {
	b, err := os.ReadFile("docs/logs.md")
	require.NoError(t, err)
	all := map[string]string{}
	level := ""
	row := regexp.MustCompile("^\\| `([^`]+)` \\|([^|]*)\\|[^|]+\\|[^|]*\\|$")
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			level = heading
		}
		if strings.HasPrefix(line, "| `") {
			m := row.FindStringSubmatch(line)
			require.NotNil(t, m, "four columns: %s", line)
			all[fmt.Sprint(level, ": ", m[1])] = strings.TrimSpace(m[2])
		}
	}
	return all
}

func TestNothingIsLoggedAtInfoWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		w := works{"x": untilDone, "y": untilDone}
		s.execute("a", w, log.logger(), distributed.WithLoadBalancing())
		s.execute("b", w, log.logger(), distributed.WithLoadBalancing())
		time.Sleep(time.Minute)
		before := log.size()
		time.Sleep(24 * time.Hour)
		require.Equal(t, before, log.size())

		s.hub.Refuse("", errAway)
		time.Sleep(time.Minute)
		before = log.size()
		time.Sleep(24 * time.Hour)
		require.Equal(t, before, log.size(), "nor while the store stays away")
	})
}

func TestAWorkThatStoppedLateIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		s.execute("a", works{"late": stopsAfter(90 * time.Second), "prompt": stopsAfter(time.Second - 1)}, log.logger())
		token := s.last("late").token
		s.hub.Expire("a")
		time.Sleep(time.Hour)
		lines := log.with(t, "work has stopped")
		require.Len(t, lines, 1)
		require.Equal(t, "late", lines[0]["job"])
		require.EqualValues(t, token, lines[0]["token"])
		require.EqualValues(t, 90*time.Second, lines[0]["late"])
		require.Contains(t, lines[0]["cause"], "leadership lost")
	})
}

func TestAHandoverIsLoggedWithItsGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService(t), new(journal)
		a := s.execute("a", works{"x": untilDone}, log.logger())
		s.execute("b", works{"x": untilDone}, log.logger())
		tell := s.hub.HoldReplies("b")
		a.stop(errShutdown)
		time.Sleep(time.Second)
		tell()
		won := log.with(t, "leadership won")
		require.Len(t, won, 2)
		require.NotContains(t, won[0], "gap")
		require.EqualValues(t, 0, won[1]["gap"], "since it was seen")
		require.Equal(t, "shutting down", log.with(t, "leadership resigned")[0]["cause"])
	})
}
