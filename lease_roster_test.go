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
	lists := map[string][]JobInfo{}
	for key, value := range a.lists {
		require.LessOrEqual(t, len(value), maxDocument)
		lists[key] = testKeys.readPiece(key, value)
	}
	require.LessOrEqual(t, len(a.info), maxDocument)
	return testKeys.readInfo("x", a.info, lists, map[string][]JobInfo{}), a
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
	for _, c := range []struct{ jobs, length int }{{10_000, maxJobName}, {100_000, 40}, {3, 8}} {
		info := NodeInfo{Started: time.UnixMilli(0), Jobs: jobList(c.jobs, c.length)}
		read, _ := readBack(t, info)
		require.Equal(t, info.Jobs, read.Jobs, "%+v", c)
	}
	_, err := testKeys.announcement("x", NodeInfo{Jobs: jobList(100_000, maxJobName)})
	require.ErrorIs(t, err, ErrInvalidConfig)
	require.ErrorContains(t, err, "the list of 100000 jobs")
}

func TestAJobMoreChangesOnePieceOfTheList(t *testing.T) {
	_, before := readBack(t, NodeInfo{Jobs: jobList(10_000, 36)})
	jobs := slices.Insert(jobList(10_000, 36), 5000, JobInfo{Name: "00004999y", Weight: 1})
	_, after := readBack(t, NodeInfo{Jobs: jobs})
	fresh := 0
	for key := range after.lists {
		if before.lists[key] == nil {
			fresh++
		}
	}
	require.LessOrEqual(t, fresh, 2)
	require.Greater(t, len(after.lists), 10)
}

func TestAListWithAPieceThatIsMissingIsNone(t *testing.T) {
	a, err := testKeys.announcement("x", NodeInfo{Jobs: jobList(2000, 20)})
	require.NoError(t, err)
	lists := map[string][]JobInfo{}
	for key, value := range a.lists {
		lists[key] = testKeys.readPiece(key, value)
	}
	for key := range a.lists {
		delete(lists, key)
		break
	}
	require.Nil(t, testKeys.readInfo("x", a.info, lists, map[string][]JobInfo{}).Jobs)
}
