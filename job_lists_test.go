package distributed

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// told is what others read of what a node announces.
func readBack(t require.TestingT, info NodeInfo) (NodeInfo, *announcement) {
	a, err := testKeys.announcement("x", info)
	require.NoError(t, err)
	for _, value := range a.lists {
		require.LessOrEqual(t, len(value), maxDocument)
	}
	require.LessOrEqual(t, len(a.info), maxDocument)
	return testKeys.readInfo("x", a.info, jobLists{}.read(testKeys, a.lists)), a
}

func TestWhatANodeTellsIsReadAsItWasWritten(t *testing.T) {
	text := rapid.StringMatching(`[a-zä/=<"]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(text, 0, 500, rapid.ID).Draw(t, "names")
		slices.Sort(names)
		jobs := make([]JobInfo, len(names))
		for i, name := range names {
			jobs[i] = JobInfo{
				Name: name, Weight: rapid.IntRange(1, 3).Draw(t, "weight"),
				Prefer: rapid.SliceOfN(text, 1, 2).Draw(t, "prefer"), Avoid: rapid.SliceOfN(text, 1, 2).Draw(t, "avoid"),
			}
		}
		info := NodeInfo{
			Version: "v1", Started: time.UnixMilli(1_700_000_000_123), Labels: map[string]string{"zone": "a"},
			Metadata: map[string]string{"address": "10.0.0.1:80"}, Capacity: 7, Draining: true, Jobs: jobs,
		}
		read, _ := readBack(t, info)
		require.Equal(t, info, read)
	})
	none, _ := readBack(t, NodeInfo{})
	require.Nil(t, none.Jobs, "a node that takes no part")
	barred, _ := readBack(t, NodeInfo{Barred: jobList(500, 10)})
	require.Nil(t, barred.Jobs)
	require.Equal(t, jobList(500, 10), barred.Barred)
	empty, _ := readBack(t, NodeInfo{Jobs: []JobInfo{}})
	require.NotNil(t, empty.Jobs, "no jobs, but it takes part")
}

func jobList(n, length int) []JobInfo {
	jobs := make([]JobInfo, n)
	for i := range jobs {
		name := fmt.Sprintf("%08d", i)
		jobs[i] = JobInfo{Name: name + strings.Repeat("x", length-len(name)), Weight: 1}
	}
	return jobs
}

func TestListsOfManyJobsWithLongNamesAreTold(t *testing.T) {
	for _, c := range []struct{ jobs, length int }{{100_000, maxJobName}, {100_000, 40}, {3, 8}} {
		info := NodeInfo{Started: time.UnixMilli(0), Jobs: jobList(c.jobs, c.length)}
		read, a := readBack(t, info)
		require.True(t, slices.EqualFunc(info.Jobs, read.Jobs, func(a, b JobInfo) bool { return a.Name == b.Name && a.Weight == b.Weight }), "%+v", c)
		require.Less(t, len(a.info), 512, "%+v", c)
	}
}

func TestAJobMoreChangesOnePieceOfTheListAndOneOfEachLevelAboveIt(t *testing.T) {
	_, before := readBack(t, NodeInfo{Jobs: jobList(10_000, 36)})
	jobs := slices.Insert(jobList(10_000, 36), 5000, JobInfo{Name: "00004999y", Weight: 1})
	_, after := readBack(t, NodeInfo{Jobs: jobs})
	fresh, size := 0, 0
	for key := range after.lists {
		if before.lists[key] == nil {
			fresh++
			size += len(key) + len(after.lists[key])
		}
	}
	require.LessOrEqual(t, fresh, 3)
	require.Less(t, size+50*(len("app/info/0123456789abcdef")+len(after.info)), 15_000, "what each node is told if 50 have a job more")
	require.Greater(t, len(after.lists), 10)
}

func TestAListWithAPieceThatIsMissingIsNone(t *testing.T) {
	a, err := testKeys.announcement("x", NodeInfo{Jobs: jobList(5_000, 20)})
	require.NoError(t, err)
	for key := range a.lists {
		lists := jobLists{}.read(testKeys, a.lists)
		require.Len(t, testKeys.readInfo("x", a.info, lists).Jobs, 5_000)
		delete(lists.pieces, key)
		clear(lists.whole)
		require.Nil(t, testKeys.readInfo("x", a.info, lists).Jobs, key)
	}
}

func TestPiecesOfListsAreDeletedOnceNobodyHasNamedThemForLong(t *testing.T) {
	m := newMirror(testKeys, "me", newTiming(time.Second), memory{})
	old, err := testKeys.announcement("x", NodeInfo{Jobs: jobList(5000, 20)})
	require.NoError(t, err)
	fresh, err := testKeys.announcement("x", NodeInfo{Jobs: jobList(5001, 20)})
	require.NoError(t, err)
	step := Step{Revision: 1, Whole: true, Documents: []Document{{testKeys.info("x"), old.info, 1}}}
	for _, lists := range []map[string][]byte{old.lists, fresh.lists} {
		for key, value := range lists {
			step.Documents = append(step.Documents, Document{key, value, 1})
		}
	}
	m.step(step, 1)
	require.Empty(t, m.unusedLists(1, maxGarbage), "nobody names the new ones, but only now")
	m.step(Step{Revision: 2, Documents: []Document{{testKeys.info("x"), fresh.info, 2}}}, 2)
	require.Empty(t, m.unusedLists(garbageAge, maxGarbage))
	found := m.unusedLists(2*garbageAge, maxGarbage)
	require.NotEmpty(t, found)
	for _, d := range found {
		require.Contains(t, old.lists, d.Key)
		require.NotContains(t, fresh.lists, d.Key)
		require.EqualValues(t, 1, d.Revision)
	}
}
