package statuspage

import (
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// addRecords adds to the jobs of a picture what the app has on record of them, and
// which nodes lack them.
func (pic *picture) addRecords(view *distributed.View, now time.Time) {
	next := 0
	for i := range pic.Jobs {
		j := &pic.Jobs[i]
		for next < len(view.Records) && view.Records[next].Job < j.Name {
			next++
		}
		if next < len(view.Records) && view.Records[next].Job == j.Name {
			j.addRecord(view.Records[next], now)
		}
	}
	next = 0
	for _, partial := range view.Partial() {
		for next < len(pic.Jobs) && pic.Jobs[next].Name < partial.Job {
			next++
		}
		if next < len(pic.Jobs) && pic.Jobs[next].Name == partial.Job {
			pic.Jobs[next].Lacks = strings.Join(partial.Lacks, ", ")
		}
	}
}

// addRecord says of a job that pauses that it has failed, though a node leads it.
func (j *job) addRecord(r distributed.JobRecord, now time.Time) {
	idle := j.State == distributed.JobWaiting
	switch {
	case r.Done && idle:
		j.State, j.Since = distributed.JobDone, stampOf(r.At)
	case r.Failures > 0 && (idle || (j.State == distributed.JobRunning && now.Before(r.Next()))):
		j.State, j.Since = distributed.JobFailed, stampOf(r.At)
	}
	j.Failures, j.Error, j.Next = r.Failures, r.Error, 0
	if r.Failures > 0 {
		j.Next = stampOf(r.Next())
	}
}

// addWarmth adds to the jobs of a picture whether they are warm where they run, and who
// warms up to take over.
func (pic *picture) addWarmth(view *distributed.View) {
	for i := range view.Nodes {
		n := &view.Nodes[i]
		for name, warmth := range n.Warming {
			at, ok := slices.BinarySearchFunc(pic.Jobs, name, func(j job, name string) int { return strings.Compare(j.Name, name) })
			if !ok {
				continue
			}
			switch j := &pic.Jobs[at]; {
			case warmth == distributed.Warming:
				j.Warming = j.Warming || j.Node == n.ID
			case warmth == distributed.Preparing && j.Prepares == "":
				j.Prepares = n.Instance
			case warmth == distributed.Preparing:
				j.Prepares += ", " + n.Instance
			}
		}
	}
}
