package distributed_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/statuspage"
	"github.com/b2552be4/distributed/verify"
)

// zeros are zero values of all exported types, but for interfaces.
var zeros = map[string]any{
	"BalancingOption":             new(distributed.BalancingOption),
	"CandidateView":               new(distributed.CandidateView),
	"Concurrency":                 new(distributed.Concurrency),
	"ConflictError":               new(distributed.ConflictError),
	"Document":                    new(distributed.Document),
	"Explanation":                 new(distributed.Explanation),
	"Hooks":                       new(distributed.Hooks),
	"Job":                         new(distributed.Job),
	"JobInfo":                     new(distributed.JobInfo),
	"JobRecord":                   new(distributed.JobRecord),
	"JobState":                    new(distributed.JobState),
	"JobStatus":                   new(distributed.JobStatus),
	"JobView":                     new(distributed.JobView),
	"Leader":                      new(distributed.Leader),
	"Leadership":                  new(distributed.Leadership),
	"LeadershipBasedJobProcessor": new(distributed.LeadershipBasedJobProcessor),
	"LeaseEvents":                 new(distributed.LeaseEvents),
	"LeaseOption":                 new(distributed.LeaseOption),
	"LeaseRequest":                new(distributed.LeaseRequest),
	"Load":                        new(distributed.Load),
	"MemoryHub":                   new(distributed.MemoryHub),
	"Move":                        new(distributed.Move),
	"NodeInfo":                    new(distributed.NodeInfo),
	"NodeView":                    new(distributed.NodeView),
	"Note":                        new(distributed.Note),
	"Observer":                    new(distributed.Observer),
	"OpenStore":                   new(distributed.OpenStore),
	"Operator":                    new(distributed.Operator),
	"Order":                       new(distributed.Order),
	"OrderKind":                   new(distributed.OrderKind),
	"PanicError":                  new(distributed.PanicError),
	"PartialJob":                  new(distributed.PartialJob),
	"Plan":                        new(distributed.Plan),
	"Status":                      new(distributed.Status),
	"Step":                        new(distributed.Step),
	"StuckAction":                 new(distributed.StuckAction),
	"View":                        new(distributed.View),
	"Warmth":                      new(distributed.Warmth),
	"Write":                       new(distributed.Write),
	"WriteResult":                 new(distributed.WriteResult),
	"statuspage.Option":           new(statuspage.Option),
	"statuspage.Page":             new(statuspage.Page),
	"verify.Active":               new(verify.Active),
	"verify.Event":                new(verify.Event),
	"verify.Gap":                  new(verify.Gap),
	"verify.Kind":                 new(verify.Kind),
	"verify.Record":               new(verify.Record),
	"verify.Report":               new(verify.Report),
	"verify.Rules":                new(verify.Rules),
	"verify.Run":                  new(verify.Run),
	"verify.Violation":            new(verify.Violation),
	"verify.Writer":               new(verify.Writer),
}

// A zero value of what has to be made by a function works, or says who makes it.
func TestNoMethodOfAZeroValuePanics(t *testing.T) {
	require.Equal(t, exportedTypes(t), slices.Sorted(maps.Keys(zeros)))
	for name, zero := range zeros {
		value := reflect.ValueOf(zero)
		for i := range value.NumMethod() {
			method := value.Type().Method(i)
			t.Run(name+"."+method.Name, func(t *testing.T) {
				call := value.Method(i).Call
				if value.Method(i).Type().IsVariadic() {
					call = value.Method(i).CallSlice
				}
				for _, result := range call(argumentsOf(t, value.Method(i).Type())) {
					requireSound(t, result)
				}
			})
		}
	}
}

func argumentsOf(t *testing.T, method reflect.Type) (args []reflect.Value) {
	for typ := range method.Ins() {
		arg := reflect.Zero(typ)
		for _, v := range []any{
			"x", []byte("{}"), distributed.Job{Name: "x", Work: untilDone}, io.Discard,
			httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), t.Context(),
		} {
			if reflect.TypeOf(v).AssignableTo(typ) && arg.IsZero() {
				arg = reflect.ValueOf(v)
			}
		}
		args = append(args, arg)
	}
	return args
}

func requireSound(t *testing.T, result reflect.Value) {
	switch v := result.Interface().(type) {
	case error:
		refused := errors.Is(v, distributed.ErrInvalidConfig) || errors.Is(v, distributed.ErrNotLeading)
		require.True(t, refused || strings.Contains(v.Error(), "was not made by"), "%v", v)
	case context.Context:
		require.ErrorIs(t, context.Cause(v), distributed.ErrInvalidConfig)
	case nil:
		require.NotEqual(t, reflect.TypeFor[context.Context](), result.Type())
	}
	if result.Kind() == reflect.Func && result.Type().CanSeq() {
		for range result.Seq() {
			require.Fail(t, "it has nothing to tell")
		}
	}
}

func exportedTypes(t *testing.T) (names []string) {
	files := token.NewFileSet()
	for prefix, dir := range map[string]string{"": ".", "statuspage.": "statuspage", "verify.": "verify"} {
		sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, source := range sources {
			if strings.HasSuffix(source, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(files, source, nil, 0)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				spec, isType := n.(*ast.TypeSpec)
				if !isType || !spec.Name.IsExported() {
					return true
				}
				if _, isInterface := spec.Type.(*ast.InterfaceType); !isInterface {
					names = append(names, prefix+spec.Name.Name)
				}
				return true
			})
		}
	}
	slices.Sort(names)
	return names
}
