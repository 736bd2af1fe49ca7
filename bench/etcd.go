//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/b2552be4/distributed/internal/etcdtest"
)

// startETCD starts an etcd of one member, with its own defaults, as a process.
func startETCD(ctx context.Context) (*child, string, error) {
	c, err := startChild(ctx, "etcd", nil)
	if err != nil {
		return nil, "", err
	}
	endpoint, err := c.line()
	if err != nil {
		c.stop()
		return nil, "", err
	}
	return c, endpoint, nil
}

// serveETCD is the life of that process.
func serveETCD(ctx context.Context, _ []byte) error {
	cluster, err := etcdtest.Start(ctx, etcdtest.Config{})
	if err != nil {
		return err
	}
	fmt.Println(cluster.Endpoints()[0])
	<-ctx.Done()
	return cluster.Close()
}

func newClient(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
}

// metrics is what the members of an etcd say of themselves.
type metrics []map[string]float64

// The metrics of etcd that we read.
const (
	eventsMetric    = "etcd_debugging_mvcc_events_total" // sent to watchers
	commitsMetric   = "etcd_server_proposals_committed_total"
	walMetric       = "etcd_disk_wal_write_bytes_total"
	databaseMetric  = "etcd_mvcc_db_total_size_in_use_in_bytes"
	keysMetric      = "etcd_debugging_mvcc_keys_total"
	watchersMetric  = "etcd_debugging_mvcc_watcher_total"
	slowMetric      = "etcd_debugging_mvcc_slow_watcher_total" // watchers that still have to catch up
	requestsMetric  = "grpc_server_msg_received_total"         // unary calls, and messages on streams
	sentMetric      = "etcd_network_client_grpc_sent_bytes_total"
	processorMetric = "process_cpu_seconds_total"
)

func readMetrics(ctx context.Context, endpoints []string) (metrics, error) {
	all := make(metrics, len(endpoints))
	for i, endpoint := range endpoints {
		member, err := readMember(ctx, endpoint)
		if err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", endpoint, err)
		}
		all[i] = member
	}
	return all, nil
}

// readMember adds up what differs in labels only.
func readMember(ctx context.Context, endpoint string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(endpoint, "/")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	member := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		value, err := strconv.ParseFloat(lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:], 64)
		if err == nil && name != "#" {
			member[name] += value
		}
	}
	if _, ok := member[commitsMetric]; !ok && lines.Err() == nil {
		return nil, errors.New("this is not etcd")
	}
	return member, lines.Err()
}

// total is for what each member counts for itself, first for what all agree on.
func (m metrics) total(name string) (sum float64) {
	for _, member := range m {
		sum += member[name]
	}
	return sum
}

func (m metrics) first(name string) float64 { return m[0][name] }
