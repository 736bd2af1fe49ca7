package distributed

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHooksAreJoinedFieldByField(t *testing.T) {
	var calls []string
	noting := func(prefix string) (h Hooks) {
		v := reflect.ValueOf(&h).Elem()
		for i := range v.NumField() {
			name := prefix + v.Type().Field(i).Name
			v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func([]reflect.Value) []reflect.Value {
				calls = append(calls, name)
				return nil
			}))
		}
		return h
	}
	for joined, prefixes := range map[*Hooks][]string{
		new(noting("f ").and(noting("g "))): {"f ", "g "},
		new(noting("f ").and(Hooks{})):      {"f "},
		new(Hooks{}.and(noting("g "))):      {"g "},
		new(Hooks{}.and(Hooks{})):           nil,
	} {
		v := reflect.ValueOf(joined).Elem()
		for i := range v.NumField() {
			calls = nil
			var want []string
			for _, prefix := range prefixes {
				want = append(want, prefix+v.Type().Field(i).Name)
			}
			if f := v.Field(i); want == nil {
				require.True(t, f.IsNil(), "nobody pays for what nobody asked for")
			} else {
				args := make([]reflect.Value, f.Type().NumIn())
				for a := range args {
					args[a] = reflect.Zero(f.Type().In(a))
				}
				f.Call(args)
			}
			require.Equal(t, want, calls)
		}
	}
}
