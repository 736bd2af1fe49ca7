package distributed_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/verify"
)

// What programs may want to hand on, each with all that it can hold.
func shown() map[string]any {
	at := time.Date(2026, time.March, 1, 12, 30, 0, 0, time.UTC)
	return map[string]any{
		`{"instance":"a","executing":true,"leased":true,"node":"7","draining":true,"jobs":[` +
			`{"name":"x","state":"stuck","since":"2026-03-01T12:30:00Z","token":9,"cause":"distributed: term ended"},` +
			`{"name":"y","state":"waiting","since":"2026-03-01T12:30:00Z","token":0}]}`: distributed.Status{
			Instance: "a", Executing: true, Leased: true, Node: "7", Draining: true, Jobs: []distributed.JobStatus{
				{Name: "x", State: distributed.JobStuck, Since: at, Token: 9, Cause: errors.New("distributed: term ended")},
				{Name: "y", State: distributed.JobWaiting, Since: at},
			},
		},
		`{"job":"x","token":9,"node":"7","instance":"a","metadata":{"address":"10.0.0.1:80"},"warming":false,"since":"2026-03-01T12:30:00Z"}`: distributed.Leader{
			Job: "x", Token: 9, Node: "7", Instance: "a", Metadata: map[string]string{"address": "10.0.0.1:80"}, Since: at,
		},
		`{"job":"x","token":9,"node":"7","instance":"a","metadata":null,"warming":false}`: distributed.Leader{Job: "x", Token: 9, Node: "7", Instance: "a"},
		`{"self":"7","nodes":[{"id":"7","instance":"a","version":"v1","started":"2026-03-01T12:30:00Z","labels":{"zone":"1"},"metadata":{"k":"v"},` +
			`"capacity":3,"draining":true,"jobs":[{"name":"x","weight":2,"prefer":["zone=1"],"avoid":["zone=2"]}]},` +
			`{"id":"8","instance":"b","version":"","labels":null,"metadata":null,"capacity":0,"draining":false,"jobs":null}],` +
			`"jobs":[{"name":"x","queue":[{"node":"7","token":9},{"node":"8","token":10}],"led":true}],"orders":null,"records":[{"job":"x","token":9,"instance":"a","at":"2026-03-01T12:30:00Z","done":false,"failures":2,"error":"broken","pause":2000000000}]}`: distributed.View{
			Self: "7",
			Nodes: []distributed.NodeView{
				{ID: "7", Instance: "a", NodeInfo: distributed.NodeInfo{
					Version: "v1", Started: at, Labels: map[string]string{"zone": "1"}, Metadata: map[string]string{"k": "v"}, Capacity: 3, Draining: true,
					Jobs: []distributed.JobInfo{{Name: "x", Weight: 2, Prefer: []string{"zone=1"}, Avoid: []string{"zone=2"}}},
				}},
				{ID: "8", Instance: "b"},
			},
			Jobs:    []distributed.JobView{{Name: "x", Queue: []distributed.CandidateView{{Node: "7", Token: 9}, {Node: "8", Token: 10}}, Led: true}},
			Records: []distributed.JobRecord{{Job: "x", Token: 9, Instance: "a", At: at, Failures: 2, Error: "broken", Pause: 2 * time.Second}},
		},
		`{"loads":[{"node":"7","instance":"a","jobs":1,"weight":2,"planned":3,"expected":4,"draining":true}],` +
			`"moves":[{"job":"x","from":"a","to":"b","reason":"a drains","ready":true}],"homeless":["z"]}`: distributed.Plan{
			Loads:    []distributed.Load{{Node: "7", Instance: "a", Jobs: 1, Weight: 2, Planned: 3, Expected: 4, Draining: true}},
			Moves:    []distributed.Move{{Job: "x", From: "a", To: "b", Reason: "a drains", Ready: true}},
			Homeless: []string{"z"},
		},
		`{"job":"x","runs":"a","belongs":"b","standby":"c","reason":"a drains"}`: distributed.Explanation{
			Job: "x", Runs: "a", Belongs: "b", Standby: "c", Reason: "a drains",
		},
		`{"runs":2,"jobs":1,"violations":[{"kind":"overlap","job":"x",` +
			`"first":{"job":"x","node":"a","process":"p","token":1,"start":1,"end":5,"ended":true,"told":true,"stop":4,"ticks":[2,4]},` +
			`"second":{"job":"","node":"","process":"","token":0,"start":0,"end":0,"ended":false,"told":false,"stop":0,"ticks":null},` +
			`"at":3,"length":2}],"gaps":[]}`: verify.Report{
			Runs: 2, Jobs: 1, Gaps: []verify.Gap{},
			Violations: []verify.Violation{{
				Kind: verify.Overlap, Job: "x", At: 3, Length: 2,
				First: verify.Run{Job: "x", Node: "a", Process: "p", Token: 1, Start: 1, End: 5, Ended: true, Told: true, Stop: 4, Ticks: []time.Duration{2, 4}},
			}},
		},
	}
}

func TestWhatIsShownGoesToJSONAndBack(t *testing.T) {
	for want, value := range shown() {
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		require.Equal(t, want, string(encoded))
		back := reflect.New(reflect.TypeOf(value))
		require.NoError(t, json.Unmarshal(encoded, back.Interface()))
		require.Equal(t, value, back.Elem().Interface())
	}
	require.Error(t, json.Unmarshal([]byte(`{"since":7}`), new(distributed.JobStatus)))
}

// A field that is added has to get a name: that of Go, in lower camel case.
func TestEveryFieldThatIsShownHasItsNameInJSON(t *testing.T) {
	names := map[string]string{"ID": "id", "Cause": "-"}
	var check func(reflect.Type)
	check = func(typ reflect.Type) {
		switch {
		case typ.Kind() == reflect.Slice:
			check(typ.Elem())
			return
		case typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]():
			return
		}
		for field := range typ.Fields() {
			if !field.IsExported() {
				continue
			}
			check(field.Type)
			want, ok := names[field.Name]
			if !ok {
				want = strings.ToLower(field.Name[:1]) + field.Name[1:]
			}
			if field.Anonymous {
				want = "" // its fields are those of the whole
			}
			got, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			require.Equal(t, want, got, "%v.%s", typ, field.Name)
		}
	}
	check(reflect.TypeFor[verify.Gap]())
	for _, value := range shown() {
		check(reflect.TypeOf(value))
	}
}

func TestAnEmptyAppHasEmptyListsInJSON(t *testing.T) {
	o, err := distributed.Observe(t.Context(), "app", distributed.NewMemoryLeaseProvider(nil))
	require.NoError(t, err)
	defer o.Close()
	encoded, err := json.Marshal(o.View())
	require.NoError(t, err)
	require.JSONEq(t, `{"self":"","nodes":[],"jobs":[],"records":[],"orders":[]}`, string(encoded))
	encoded, err = json.Marshal(o.View().Plan())
	require.NoError(t, err)
	require.JSONEq(t, `{"loads":[],"moves":[],"homeless":[]}`, string(encoded))
}
