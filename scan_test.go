package distributed

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is read the short way is as encoding/json would have read it, and what this
// build writes is read so.
func FuzzScan(f *testing.F) {
	k := keys{"app/"}
	for _, p := range []positions{nil, {{"a", 7}}, {{"a", 7}, {"b ünd <c>", 0}, {"d", 0}}, {{`"`, 1}, {`\n`, 2}}} {
		v := claimsValue{TTL: 10_000, Drift: 0.02, Seq: 3, Made: 103, Guard: 1 << 60}
		b, err := k.encode("app/claims/x/0", v.claim(p))
		require.NoError(f, err)
		f.Add(b[len(valueStart)+sumLength+len(valueMiddle):])
	}
	for _, rest := range []string{
		`"ttl":1,"drift":1,"seq":01,"made":0,"guard":0}`, `"ttl":1,"drift":.5,"seq":1,"made":0,"guard":0}`,
		`"ttl":1,"drift":1.,"seq":1,"made":0,"guard":0}`, `"ttl":1,"drift":0,"seq":-1,"made":0,"guard":99999999999999999999}`,
		`"ttl":1,"drift":0,"seq":1,"made":0,"guard":0,"jobs":"` + "\xff\t" + `","numbers":[1]}`,
		`"ttl":1,"drift":0,"seq":1,"made":0,"guard":0,"jobs":"a\"","numbers":[]}`, `"ttl":1,"drift":0,"seq":1,"made":0,"guard":0} `,
	} {
		f.Add([]byte(rest))
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		b := append([]byte(valueStart+"0123456789abcdef"+valueMiddle), rest...)
		var short, long claimsValue
		if short.scan(b) {
			require.NoError(t, json.Unmarshal(b, &long))
			require.Equal(t, long, short)
		}
	})
}

func TestClaimsAreReadTheShortWay(t *testing.T) {
	k := keys{"app/"}
	v := claimsValue{TTL: 10_000, Drift: 0.02, Seq: 3, Made: 103, Guard: 106}
	v.claim(positions{{"a", 7}, {"b", 8}, {"ä", 8}})
	b, err := k.encode("app/claims/x/0", &v)
	require.NoError(t, err)
	var read claimsValue
	require.True(t, read.scan(b))
	require.Equal(t, "a\nb\nä", read.Jobs)
	require.Equal(t, []int64{7, 8}, read.Numbers)
	if raceDetector {
		return // which allocates as well
	}
	all := func(f func() error) float64 {
		return testing.AllocsPerRun(100, func() {
			read = claimsValue{}
			require.NoError(t, f())
		})
	}
	require.Less(t, all(func() error { return k.decode("app/claims/x/0", b, &read) }), all(func() error { return json.Unmarshal(b, &read) }))
}
