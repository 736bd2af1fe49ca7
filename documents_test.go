package distributed

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testKeys = keys{prefix: "ns/app/"}

func TestDocumentsAreReadAsTheyWereWritten(t *testing.T) {
	for key, v := range map[string]value{
		testKeys.epoch():         &epochValue{Value: "abc"},
		testKeys.node("x"):       &nodeValue{Instance: `a"<b>ü`, TTL: 10000, Drift: 20_000, Beat: 7, Documents: 2, Made: 12},
		testKeys.claims("x", 12): (&claimsValue{TTL: 200, Drift: 100_000, Seq: 3, Made: 4, Guard: 9}).claim(positions{{"a", 0}, {"b/c", 17}, {"d", 17}}),
		testKeys.info("x"):       &infoValue{Version: "v1", Labels: map[string]string{"zone": "a"}, Capacity: 3, Listed: true, Lists: []string{"h"}},
		testKeys.list("h"):       &listValue{Jobs: []jobValue{{Name: "a", Weight: 2}}},
	} {
		b, err := testKeys.encode(key, v)
		require.NoError(t, err)
		require.True(t, json.Valid(b), "%s", b)
		fresh := map[string]value{
			"epoch": &epochValue{}, "nodes": &nodeValue{}, "claims": &claimsValue{}, "info": &infoValue{}, "lists": &listValue{},
		}[strings.Split(strings.TrimPrefix(key, testKeys.prefix), "/")[0]]
		require.NoError(t, testKeys.decode(key, b, fresh))
		require.Equal(t, v, fresh)

		require.ErrorIs(t, testKeys.decode(key+"x", b, fresh), errUnreadable, "under another name")
		for i := range b {
			changed := append([]byte(nil), b...)
			changed[i] ^= 1
			require.Error(t, testKeys.decode(key, changed, fresh), "%s", changed)
		}
	}
}

func TestUnknownFieldsAreIgnoredAndUnknownVersionsAreNot(t *testing.T) {
	key := testKeys.node("x")
	body := `"ttl":1000,"drift":0,"beat":1,"colour":"red"}`
	var v nodeValue
	require.NoError(t, testKeys.decode(key, []byte(valueStart+testKeys.sum(key, []byte(body))+valueMiddle+body), &v))
	require.Equal(t, int64(1000), v.TTL)

	err := testKeys.decode(key, []byte(`{"v":2,"anything":[]}`), &v)
	require.ErrorContains(t, err, "ns/app/nodes/x has format version 2, this build knows 1")
	for _, garbage := range []string{"", "x", "{}", `{"v":0}`, `{"v":1}`, `{"v":-2}`, `{"v":"2"}`, `[2]`} {
		require.ErrorIs(t, testKeys.decode(key, []byte(garbage), &v), errUnreadable, garbage)
	}
}

func TestValuesThatMakeNoSenseAreUnreadable(t *testing.T) {
	for _, v := range []value{
		&nodeValue{TTL: 0}, &nodeValue{TTL: maxTTL.Milliseconds() + 1}, &nodeValue{TTL: 1, Drift: 100_001},
		&nodeValue{TTL: 1, Beat: -1}, &nodeValue{TTL: 1, Documents: -1},
		&claimsValue{TTL: 1}, &claimsValue{TTL: 1, Seq: 1, Guard: -1}, &claimsValue{TTL: 1, Seq: 1, Jobs: names{"a"}}, &claimsValue{TTL: 1, Seq: 1, Numbers: []int64{1}},
		&claimsValue{TTL: 1, Seq: 1, Jobs: names{"a"}, Numbers: []int64{-1}}, &claimsValue{TTL: 1, Seq: 1, Jobs: names{"a"}, Numbers: []int64{1, 1}},
		&claimsValue{TTL: 1, Seq: 1, Jobs: names{"b", "a"}, Numbers: []int64{1}}, &claimsValue{TTL: 1, Seq: 1, Jobs: names{"a", "a"}, Numbers: []int64{1, 2}},
		&claimsValue{TTL: 1, Seq: 1, Jobs: names{"a", ""}, Numbers: []int64{1}}, &claimsValue{TTL: 1, Seq: 1, Jobs: names{"", "a"}, Numbers: []int64{1}},
		&epochValue{}, &infoValue{Capacity: -1},
	} {
		b, err := testKeys.encode("k", v)
		require.NoError(t, err)
		require.ErrorIs(t, testKeys.decode("k", b, v), errUnreadable, "%s", b)
	}
}

func TestJobNamesOfAnyKindAreClaimed(t *testing.T) {
	var p positions
	for _, name := range []string{
		"a", "a/b/c", "über", `"quoted"`, `back\slash`, "<&>", "\u2028line", "日本語", "a b", strings.Repeat("x", 512), strings.Repeat(`"`, 512), "{},:", "e\u0301",
	} {
		p = append(p, position{name, int64(len(p)) * 1000})
	}
	sortPositions(p)
	v := claimsValue{TTL: 200, Seq: 1}
	b, err := testKeys.encode("k", v.claim(p))
	require.NoError(t, err)
	var got claimsValue
	require.NoError(t, testKeys.decode("k", b, &got))
	require.Equal(t, p, got.claims())
}

func TestKeysAreTakenApart(t *testing.T) {
	type parsed struct {
		kind documentKind
		id   string
		n    int
	}
	for key, want := range map[string]parsed{
		testKeys.epoch():                          {epochDocument, "", 0},
		testKeys.node("x"):                        {nodeDocument, "x", 0},
		testKeys.claims("x", 0):                   {claimsDocument, "x", 0},
		testKeys.claims("x", maxClaimDocuments-1): {claimsDocument, "x", maxClaimDocuments - 1},
		testKeys.info("x"):                        {infoDocument, "x", 0},
		testKeys.list("x"):                        {listDocument, "x", 0},
		"ns/app/claims/x/65536":                   {},
		"ns/app/claims/x/-1":                      {},
		"ns/app/claims/x/01":                      {},
		"ns/app/claims/x/0/1":                     {},
		"ns/app/claims/x":                         {},
		"ns/app/claims//1":                        {},
		"ns/app/nodes/":                           {},
		"ns/app/nodes":                            {},
		"ns/app/nodes/a/b":                        {},
		"ns/app/epoch/x":                          {},
		"ns/app/orders/pause/a":                   {orderDocument, "pause/a", 0},
		"ns/app/state/a/b":                        {stateDocument, "a/b", 0},
		"ns/app/saved/a":                          {},
		"ns/other/nodes/x":                        {},
		"":                                        {},
	} {
		kind, id, n := testKeys.parse(key)
		require.Equal(t, want, parsed{kind, id, n}, key)
	}
}

func TestHeartbeatsAreShort(t *testing.T) {
	b, err := testKeys.encode(testKeys.node(newID()), &nodeValue{
		Instance: strings.Repeat("x", 256), TTL: maxTTL.Milliseconds(), Drift: 100_000, Beat: math.MaxInt64,
		Documents: maxClaimDocuments, Made: math.MinInt64,
	})
	require.NoError(t, err)
	require.Less(t, len(b), 512)
}

func TestDocumentsAreNotTooLong(t *testing.T) {
	_, err := testKeys.encode(testKeys.list("x"), &listValue{Jobs: []jobValue{{Name: strings.Repeat("x", maxDocument-30)}}})
	require.ErrorContains(t, err, "at most 65536 are allowed")
	b, err := testKeys.encode(testKeys.list("x"), &listValue{Jobs: []jobValue{{Name: strings.Repeat("x", maxDocument-100)}}})
	require.NoError(t, err)
	require.LessOrEqual(t, len(b), maxDocument)
}

func FuzzDecode(f *testing.F) {
	for i, v := range []value{
		&epochValue{Value: "abc"}, &nodeValue{TTL: 1, Beat: 1}, &claimsValue{TTL: 1, Seq: 1, Jobs: names{"a", `b"`}, Numbers: []int64{0, 2}},
	} {
		b, err := testKeys.encode("k", v)
		require.NoError(f, err)
		f.Add(b, i)
		f.Add(b[len(valueStart)+sumLength+len(valueMiddle):], i) // with a checksum, see below
	}
	f.Add([]byte(`{"v":2}`), 1)
	f.Add([]byte(`"ttl":1,"seq":1,"jobs":"a\nb","numbers":[ 0 , 1]}`), 2)
	f.Fuzz(func(t *testing.T, b []byte, kind int) {
		fresh := func() value { return []value{&epochValue{}, &nodeValue{}, &claimsValue{}}[((kind%3)+3)%3] }
		v := fresh()
		_ = testKeys.decode("k", b, v)
		if len(b) > maxDocument/2 {
			return
		}
		sealed := fmt.Appendf(nil, "%s%s%s%s", valueStart, testKeys.sum("k", b), valueMiddle, b)
		if testKeys.decode("k", sealed, v) != nil {
			return
		}
		again, err := testKeys.encode("k", v)
		require.NoError(t, err)
		w := fresh()
		require.NoError(t, testKeys.decode("k", again, w), "%s", again)
		require.Equal(t, v, w)
	})
}
