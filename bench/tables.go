//go:build unix

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// column is one of a table's: a result of the measurement what.
type column struct {
	title, what, unit string
	show              func(float64) string
}

// table has a row for each measurement of the kind that its first column shows,
// labelled with the parts of its name.
type table struct {
	title   string
	labels  []string
	columns []column
}

var tables = []table{
	{"Handover of one job", []string{"by"}, []column{
		{"p50", "Handover", "ns/op", showTime}, {"p99", "Handover", "p99-ns", showTime},
	}},
	{"Start on one node", []string{"nodes", "jobs", "by"}, startColumns("Start", "all run")},
	{"A further node joins the queues", []string{"nodes", "jobs", "by"}, startColumns("Join", "campaigns for all")},
	{"All nodes start at once", []string{"nodes", "jobs", "by"}, []column{
		{"all campaign for all", "Crowd", "ns/op", showTime}, {"leases lost", "Crowd", "leases-lost", show}, {"keys", "Crowd", "keys", show},
		{"keys and values", "Crowd", "B", showBytes}, {"commits", "Crowd", "commits", show}, {"sent a candidate", "Crowd", "sent-B/job", showBytes},
		{"CPU a candidate: etcd", "Crowd", "etcd-cpu-ns/job", showTime}, {"all nodes", "Crowd", "nodes-cpu-ns/job", showTime},
		{"sent at rest/s", "Crowd", "rest-sent-B/s", showBytes},
	}},
	{"Balancing: nodes start", scaleLabels, scaleColumns("ScaleStart")},
	{"Balancing: all lose their connections", scaleLabels, []column{
		{"all watch again", "ScaleWatch", "ns/op", showTime}, {"sent", "ScaleReconnect", "sent-B", showBytes}, {"starts of Work", "ScaleReconnect", "starts", show},
		{"CPU of nodes", "ScaleReconnect", "nodes-cpu-ns", showTime}, {"of etcd", "ScaleReconnect", "etcd-cpu-ns", showTime},
		{"leases lost", "ScaleReconnect", "leases-lost", show},
	}},
	{"Balancing: another joins", scaleLabels, scaleColumns("ScaleJoin")},
	{"Balancing: one stops", scaleLabels, scaleColumns("ScaleStop")},
	{"Balancing: one is killed", scaleLabels, scaleColumns("ScaleKill")},
	{"Balancing: all are restarted, one after the other", scaleLabels, scaleColumns("ScaleRestart")},
	{"Balancing: a job is added on all nodes", scaleLabels, changeColumns("ScaleAddJob")},
	{"Balancing: a job is removed on all nodes", scaleLabels, changeColumns("ScaleRemoveJob")},
	{"Balancing: at rest", scaleLabels, []column{
		{"% of a core a node", "ScaleRest", "%-of-a-core/node", show}, {"heap a job and node", "ScaleRest", "heap-B/job/node", showBytes},
		{"where it neither leads nor waits", "ScaleAside", "heap-B/job", showBytes}, {"goroutines", "ScaleRest", "goroutines", show},
	}},
	{"Drain of the node that runs all jobs", []string{"nodes", "jobs", "by"}, []column{
		{"all run again", "Drain", "ns/op", showTime}, {"after the last Work", "Drain", "after-ns", showTime}, {"commits", "Drain", "commits", show}, {"gap of a job p50", "Drain", "p50-ns", showTime}, {"p99", "Drain", "p99-ns", showTime},
		{"max", "Drain", "max-ns", showTime}, {"commits a job", "Drain", "commits/job", show}, {"log a job", "Drain", "wal-B/job", showBytes},
		{"sent a job", "Drain", "sent-B/job", showBytes}, {"CPU a job: etcd", "Drain", "etcd-cpu-ns/job", showTime},
		{"all nodes", "Drain", "nodes-cpu-ns/job", showTime},
	}},
	{"Restart of three nodes, one after the other", []string{"nodes", "jobs", "by"}, []column{
		{"some do not run for", "Restart", "ns/op", showTime}, {"job-seconds lost", "Restart", "lost-job-s", show}, {"moves a job", "Restart", "moves/job", show},
	}},
	{"At rest", []string{"nodes", "jobs", "by"}, []column{
		{"commits/s", "Idle", "commits/s", show}, {"heartbeats/s", "Idle", "heartbeats/s", show}, {"requests/s", "Idle", "requests/s", show},
		{"log/s", "Idle", "wal-B/s", showBytes}, {"sent/s", "Idle", "sent-B/s", showBytes},
		{"watches", "Idle", "watchers", show}, {"keys", "Idle", "keys", show}, {"database", "Idle", "db-B", showBytes},
		{"goroutines", "Idle", "goroutines", show}, {"heap", "Idle", "heap-B", showBytes}, {"stacks", "Idle", "stack-B", showBytes},
	}},
	{"What a job takes on each node", []string{"nodes", "jobs", "by"}, []column{
		{"goroutines", "PerJob", "goroutines", show}, {"heap", "PerJob", "heap-B", showBytes}, {"stacks", "PerJob", "stack-B", showBytes},
		{"waiting: goroutines", "PerWaitingJob", "goroutines", show}, {"heap", "PerWaitingJob", "heap-B", showBytes},
		{"stacks", "PerWaitingJob", "stack-B", showBytes},
	}},
	{fmt.Sprintf("Crash (kill -9) of one of %d nodes", crashNodes), []string{"jobs", "ttl", "by"}, []column{
		{"gap of a job p50", "Crash", "ns/op", showTime}, {"max", "Crash", "max-ns", showTime}, {"max / TTL", "Crash", "max/TTL", show},
	}},
	{"Calls", []string{"of"}, []column{{"time", "Call", "ns/op", showTime}, {"allocations", "Call", "allocs/op", show}}},
}

func startColumns(what, done string) []column {
	return []column{
		{done, what, "ns/op", showTime}, {"commits a job", what, "commits/job", show}, {"log a job", what, "wal-B/job", showBytes},
		{"sent a job", what, "sent-B/job", showBytes}, {"CPU a job: etcd", what, "etcd-cpu-ns/job", showTime},
		{"all nodes", what, "nodes-cpu-ns/job", showTime},
	}
}

// printTables prints the medians of all rounds.
func printTables(w io.Writer, b *book) {
	for _, t := range tables {
		rows := t.rows(b)
		if len(rows) == 0 {
			continue
		}
		titles := append([]string{}, t.labels...)
		for _, c := range t.columns {
			titles = append(titles, c.title)
		}
		fmt.Fprintf(w, "\n### %s\n\n| %s |\n|%s\n", t.title, strings.Join(titles, " | "), strings.Repeat("---:|", len(titles)))
		for _, row := range rows {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		}
	}
}

func (t table) rows(b *book) (rows [][]string) {
	for _, name := range b.names {
		parts := parseName(name)
		if parts["what"] != t.columns[0].what {
			continue
		}
		var row []string
		for _, label := range t.labels {
			row = append(row, parts[label])
		}
		_, of, _ := strings.Cut(name, "/")
		for _, c := range t.columns {
			cell := ""
			if v, ok := b.median(c.what+"/"+of, c.unit); ok {
				cell = c.show(v)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return rows
}

// parseName splits the name of a measurement: "Idle/jobs=29/by=ours" into what,
// jobs and by.
func parseName(name string) map[string]string {
	what, rest, _ := strings.Cut(name, "/")
	parts := map[string]string{"what": what}
	for part := range strings.SplitSeq(rest, "/") {
		key, value, _ := strings.Cut(part, "=")
		parts[key] = value
	}
	return parts
}

// number is 0 for what is none.
func number(s string) float64 {
	v, _ := strconv.ParseFloat(s, 64)
	return v
}

func show(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// showTime keeps three digits.
func showTime(ns float64) string {
	unit := time.Duration(1)
	for unit*1000 <= time.Duration(ns) {
		unit *= 10
	}
	if ns < 1000 {
		return show(ns) + " ns"
	}
	return time.Duration(ns).Round(unit).String()
}

func showBytes(v float64) string {
	switch {
	case v >= 1<<20:
		return show(v/(1<<20)) + " MiB"
	case v >= 1<<10:
		return show(v/(1<<10)) + " KiB"
	}
	return show(v) + " B"
}

var scaleLabels = []string{"jobs", "nodes", "apart"}

func changeColumns(what string) []column {
	return []column{
		{"done after", what, "ns/op", showTime}, {"documents", what, "documents", show}, {"told to all nodes", what, "told-B", showBytes},
	}
}

func scaleColumns(what string) []column {
	return []column{
		{"until even", what, "ns/op", showTime}, {"since the last node", what, "after-last-ns", showTime}, {"not even", what, "uneven", show},
		{"starts of Work", what, "starts", show}, {"longest gap", what, "max-gap-ns", showTime},
		{"events", what, "events", show}, {"sent", what, "sent-B", showBytes}, {"commits", what, "commits", show},
		{"CPU of nodes", what, "nodes-cpu-ns", showTime}, {"of etcd", what, "etcd-cpu-ns", showTime}, {"leases lost", what, "leases-lost", show},
	}
}
