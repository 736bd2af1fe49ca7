package distributed

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"
)

// The model runs the decisions of several nodes, which are those of etcdLease,
// against an etcd made of a map: heartbeats may be committed late or never,
// watches lag behind as they like, etcd takes leases away early, operators
// delete keys, nodes list anew at any time, and clocks run fast or slow within
// the drift allowed for. At no moment may two nodes hold a valid leadership of
// one job, and once the trouble is over every job must find a leader.
func TestModelNeverHasTwoLeaders(t *testing.T) {
	var stats modelStats
	for range 10 { // times -rapid.checks, of which 100 is the default
		rapid.Check(t, func(t *rapid.T) { runModel(t, &stats) })
	}
	t.Logf("%+v", stats)
	if stats.leaderships == 0 || stats.torn == 0 || stats.relists == 0 || stats.lateBeats == 0 || stats.wiped == 0 {
		t.Fatalf("the model did not reach what it is about: %+v", stats)
	}
}

type modelStats struct{ leaderships, torn, relists, lateBeats, wiped, settled int }

const modelTTL = 5 * time.Second

func runModel(t *rapid.T, stats *modelStats) {
	m := newModel(t, stats)
	t.Repeat(map[string]func(*rapid.T){
		"":        func(t *rapid.T) { m.check(t) },
		"live":    m.live, // weighted: the keys of this map are drawn evenly
		"live2":   m.live,
		"live3":   m.live,
		"cut":     m.cut,
		"cut2":    m.cut,
		"wait":    m.wait,
		"beat":    m.beat,
		"commit":  m.commitBeat,
		"deliver": m.deliver,
		"catchUp": m.deliverAll,
		"write":   m.write,
		"tick":    m.tick,
		"stand":   m.stand,
		"loss":    m.lossOf,
		"other": func(t *rapid.T) {
			rapid.SampledFrom([]func(*rapid.T){m.resign, m.relist, m.rejoin, m.bury}).Draw(t, "action")(t)
		},
	})
	m.settle(t)
}

// model is an etcd with its history, and the nodes.
type model struct {
	stats   *modelStats
	now     time.Duration
	rev     int64
	kvs     map[string]*mvccpb.KeyValue
	history [][]*clientv3.Event
	nodes   []*modelNode
	leases  int
	tokens  map[string]int64 // the greatest of each job
	led     map[*etcdElection]int64
}

var modelJobs = []string{"a", "b"}

// modelNode is a node with its present lease; the ones before are over, but
// their keys may still be in etcd.
type modelNode struct {
	*etcdLease
	memory  memory
	rate    float64
	applied int // of history
	deaf    bool
	mute    bool
	sent    []modelBeat
	beats   int64
}

type modelBeat struct {
	n int64
	l *etcdLease
}

func newModel(t *rapid.T, stats *modelStats) *model {
	m := &model{stats: stats, kvs: map[string]*mvccpb.KeyValue{}, tokens: map[string]int64{}, led: map[*etcdElection]int64{}}
	for range rapid.IntRange(2, 3).Draw(t, "nodes") {
		n := &modelNode{rate: 1 + defaultDrift*rapid.Float64Range(-1, 1).Draw(t, "rate")}
		m.nodes = append(m.nodes, n)
		m.join(n)
	}
	return m
}

// join gives the node a new lease, all at once.
func (m *model) join(n *modelNode) {
	m.leases++
	clock := &clock{boot: func() (time.Duration, bool) { return 0, false }}
	clock.start = time.Unix(0, 0)
	clock.tell = func() time.Time { return clock.start.Add(time.Duration(float64(m.now) * n.rate)) }
	l := newETCDLease(nil, nil, clientv3.LeaseID(m.leases), etcdKeys{prefix: "app/"}, timing{ttl: modelTTL, drift: defaultDrift}.granted(modelTTL),
		n.memory, LeaseRequest{Instance: "n", Logger: slog.New(slog.DiscardHandler)})
	l.clock = clock
	l.remember = func(known memory) { n.memory = known }
	n.etcdLease, n.beats, n.sent = l, 1, nil
	if m.created("app/epoch") == 0 {
		m.commit(clientv3.OpPut("app/epoch", ""))
	}
	l.update(func() { l.relist(m.rev, m.list()) })
	n.applied = len(m.history)
	l.beats[1] = l.clock.now()
	m.commit(clientv3.OpPut(l.keys.node(l.name), l.nodeValue(1, "")), clientv3.OpPut(l.keys.alive(l.name), encode(aliveValue{})))
	l.nodeRev, l.aliveRev, l.written.aliveMod = m.rev, m.rev, m.rev
	m.catchUp(n, len(m.history))
}

// commit applies operations as one revision.
func (m *model) commit(ops ...clientv3.Op) {
	m.rev++
	var events []*clientv3.Event
	for _, op := range ops {
		key := string(op.KeyBytes())
		kv := m.kvs[key]
		switch {
		case op.IsPut() && kv == nil:
			kv = &mvccpb.KeyValue{Key: []byte(key), CreateRevision: m.rev}
			fallthrough
		case op.IsPut():
			kv = &mvccpb.KeyValue{Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: m.rev, Value: op.ValueBytes()}
			m.kvs[key] = kv
			events = append(events, &clientv3.Event{Type: mvccpb.PUT, Kv: kv})
		case kv != nil:
			delete(m.kvs, key)
			events = append(events, &clientv3.Event{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: kv.Key, ModRevision: m.rev}})
		}
	}
	if len(events) == 0 {
		m.rev--
		return
	}
	m.history = append(m.history, events)
}

func (m *model) list() (listed []keyEvent) {
	for _, key := range slices.Sorted(maps.Keys(m.kvs)) {
		kv := m.kvs[key]
		listed = append(listed, keyEvent{key: key, value: kv.Value, create: kv.CreateRevision, mod: kv.ModRevision})
	}
	return listed
}

func (m *model) created(key string) int64 {
	if kv := m.kvs[key]; kv != nil {
		return kv.CreateRevision
	}
	return 0
}

func (m *model) node(t *rapid.T) *modelNode { return rapid.SampledFrom(m.nodes).Draw(t, "node") }

func (m *model) wait(t *rapid.T) {
	m.now += time.Duration(rapid.SampledFrom([]int{10, 100, 300, 1000}).Draw(t, "ms")) * time.Millisecond
}

// beat sends a heartbeat; commitBeat commits one that was sent, any time later.
func (m *model) beat(t *rapid.T) { m.node(t).send() }

func (n *modelNode) send() {
	n.beats++
	n.etcdLease.beats[n.beats] = n.clock.now()
	n.sent = append(n.sent, modelBeat{n.beats, n.etcdLease})
}

func (m *model) commitBeat(t *rapid.T) {
	n := m.node(t)
	if len(n.sent) == 0 {
		t.Skip()
	}
	i := rapid.IntRange(0, len(n.sent)-1).Draw(t, "which")
	b := n.sent[i]
	n.sent = slices.Delete(n.sent, i, i+1)
	m.heartbeat(b)
}

func (m *model) heartbeat(b modelBeat) {
	if m.created(b.l.keys.node(b.l.name)) == b.l.nodeRev && m.created(b.l.keys.alive(b.l.name)) == b.l.aliveRev {
		m.commit(clientv3.OpPut(b.l.keys.node(b.l.name), b.l.nodeValue(b.n, "")))
		if b.l.clock.now() >= time.Duration(b.l.validUntil.Load()) {
			m.stats.lateBeats++
		}
	}
}

// deliver lets a node's watch catch up by some revisions.
func (m *model) deliver(t *rapid.T) {
	n := m.node(t)
	m.catchUp(n, n.applied+rapid.IntRange(1, 5).Draw(t, "revisions"))
}

func (m *model) deliverAll(t *rapid.T) { m.catchUp(m.node(t), len(m.history)) }

// live lets a second pass as it does when all is well, but for the nodes that
// are cut off: so runs get to where there is something to lose.
func (m *model) live(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "seconds") {
		m.now += time.Second
		for _, n := range m.nodes {
			m.resume(n)
			if !n.mute {
				n.send()
				m.heartbeat(n.sent[len(n.sent)-1])
				m.flush(n.etcdLease)
			}
			if !n.deaf {
				m.catchUp(n, len(m.history))
			}
			m.tickNode(n)
			m.check(t)
		}
	}
}

// resume does what the loops of a node do after a loss: get a new lease, and
// stand again for what they do not stand for.
func (m *model) resume(n *modelNode) {
	if n.lost != nil && !n.deaf && !n.mute {
		m.depart(n.etcdLease)
		m.join(n)
	}
	for _, job := range modelJobs {
		if e := m.election(n, job); !e.standing && n.lost == nil {
			n.update(func() { e.stand(func(error) {}) })
		}
	}
}

// lossOf tears something away, for the most part from a node that is cut off.
func (m *model) lossOf(t *rapid.T) {
	rapid.SampledFrom([]func(*rapid.T){m.revoke, m.revoke, m.deleteKey, m.deleteAll}).Draw(t, "loss")(t)
}

// cut heals everybody, and makes one node deaf: its watch stands still; or mute:
// what it sends is lost; or both.
func (m *model) cut(t *rapid.T) {
	for _, n := range m.nodes {
		n.deaf, n.mute = false, false
	}
	n := m.node(t)
	mode := rapid.IntRange(0, 4).Draw(t, "mode") // 0 heals it
	n.deaf, n.mute = mode >= 2, mode == 1 || mode == 4
}

func (m *model) catchUp(n *modelNode, to int) {
	for ; n.applied < min(to, len(m.history)); n.applied++ {
		events := m.history[n.applied]
		n.update(func() { n.apply(events) })
		m.check(nil)
	}
}

func (m *model) relist(t *rapid.T) {
	n := m.node(t)
	m.stats.relists++
	n.update(func() { n.etcdLease.relist(m.rev, m.list()) })
	n.applied = len(m.history)
}

func (m *model) election(n *modelNode, job string) *etcdElection {
	return n.Election(job).(*etcdElection)
}

func (m *model) stand(t *rapid.T) {
	e := m.election(m.node(t), rapid.SampledFrom(modelJobs).Draw(t, "job"))
	if e.standing || e.lease.lost != nil {
		t.Skip()
	}
	e.lease.update(func() { e.stand(context.CancelCauseFunc(func(error) {})) })
}

func (m *model) resign(t *rapid.T) {
	e := m.election(m.node(t), rapid.SampledFrom(modelJobs).Draw(t, "job"))
	e.lease.update(func() { e.withdraw() })
}

// write commits a node's next batch; it is confirmed at once, though the node
// learns from its watch later.
func (m *model) write(t *rapid.T) { m.flush(m.node(t).etcdLease) }

func (m *model) flush(l *etcdLease) {
	var batch []*write
	l.update(func() { batch = l.written.take() })
	if len(batch) == 0 {
		return
	}
	if kv := m.kvs[l.keys.alive(l.name)]; kv == nil || kv.ModRevision != l.written.aliveMod {
		l.update(func() { l.written.settle(batch, 0, errTornAway) })
		return
	}
	l.written.seq++
	ops, keys := l.written.ops(batch)
	m.commit(ops...)
	l.written.committed(batch, m.rev, keys)
	l.update(func() { l.written.settle(batch, m.rev, nil) })
}

func (m *model) tick(t *rapid.T) { m.tickNode(m.node(t)) }

// tickNode does what keepTime does, and what a campaign does that is woken
// because its key was taken away.
func (m *model) tickNode(n *modelNode) {
	n.update(func() { n.etcdLease.tick() })
	for _, job := range modelJobs {
		if e := m.election(n, job); e.torn && !e.leading.Load() {
			n.update(func() { e.withdraw() })
		}
	}
}

// revoke takes a lease away, with everything attached to it, whether or not its
// owner is alive and well.
func (m *model) revoke(t *rapid.T) { m.revokeLease(m.node(t).name) }

func (m *model) revokeLease(lease string) {
	var ops []clientv3.Op
	for key := range m.kvs {
		if strings.HasSuffix(key, "/"+lease) && !strings.HasPrefix(key, "app/node/") {
			ops = append(ops, clientv3.OpDelete(key))
		}
	}
	m.stats.torn += len(ops)
	m.commit(ops...)
}

// deleteKey is an operator's del of one key. Not of a node key: once that is
// gone, nothing tells a node that starts later of what ran there.
func (m *model) deleteKey(t *rapid.T) {
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(m.kvs)), func(k string) bool { return strings.HasPrefix(k, "app/node/") })
	if len(keys) == 0 {
		t.Skip()
	}
	m.stats.torn++
	m.commit(clientv3.OpDelete(rapid.SampledFrom(keys).Draw(t, "key")))
}

// deleteAll is an operator's del --prefix of the app.
func (m *model) deleteAll(*rapid.T) {
	var ops []clientv3.Op
	for key := range m.kvs {
		ops = append(ops, clientv3.OpDelete(key))
	}
	m.stats.wiped++
	m.commit(ops...)
}

// rejoin replaces a lease that was lost. Its owner may or may not get to clean
// up before; what it does not, expires.
func (m *model) rejoin(t *rapid.T) {
	n := m.node(t)
	if n.lost == nil {
		t.Skip()
	}
	if rapid.Bool().Draw(t, "depart") {
		m.depart(n.etcdLease)
	}
	m.join(n)
}

func (m *model) depart(l *etcdLease) {
	m.commit(clientv3.OpPut(l.keys.node(l.name), l.nodeValue(0, stateDrained)), clientv3.OpDelete(l.keys.alive(l.name)))
	m.revokeLease(l.name)
	m.commit(clientv3.OpDelete(l.keys.node(l.name)))
}

// bury lets a node delete the node keys that it takes for dead.
func (m *model) bury(t *rapid.T) { m.buryBy(m.node(t)) }

func (m *model) buryBy(n *modelNode) {
	for _, dead := range n.mirror.dead(n.clock.now()) {
		kv := m.kvs[n.keys.node(dead.lease)]
		if kv != nil && kv.ModRevision == dead.rev && m.kvs[n.keys.alive(dead.lease)] == nil {
			m.commit(clientv3.OpDelete(n.keys.node(dead.lease)))
		}
	}
}

// check is what it is all about.
func (m *model) check(t *rapid.T) {
	for _, job := range modelJobs {
		var valid []string
		for _, n := range m.nodes {
			e := m.election(n, job)
			if !e.Valid() {
				continue
			}
			valid = append(valid, n.name)
			if m.led[e] != e.rev {
				if e.rev <= m.tokens[job] {
					panic(fmt.Sprintf("job %s: lease %s leads with token %d after %d", job, n.name, e.rev, m.tokens[job]))
				}
				m.led[e], m.tokens[job] = e.rev, e.rev
				m.stats.leaderships++
			}
		}
		if len(valid) > 1 {
			panic(fmt.Sprintf("job %s: valid leaderships under leases %v at once", job, valid))
		}
	}
}

// settle ends the trouble: leases whose owner is gone expire, watches catch up,
// heartbeats come back, and lost leases are replaced. After a few TTLs every job
// has one leader.
func (m *model) settle(t *rapid.T) {
	for range 60 {
		m.now += modelTTL / 10
		live := map[string]bool{}
		for _, n := range m.nodes {
			live[n.name] = n.lost == nil
		}
		for lease := range m.leases {
			if name := leaseName(clientv3.LeaseID(lease + 1)); !live[name] {
				m.revokeLease(name)
			}
		}
		for _, n := range m.nodes {
			n.deaf, n.mute = false, false
			m.resume(n)
			n.sent = nil
			n.send()
			m.heartbeat(n.sent[0])
			m.tickNode(n)
			m.flush(n.etcdLease)
			m.catchUp(n, len(m.history))
			m.flush(n.etcdLease)
			m.catchUp(n, len(m.history))
			m.buryBy(n)
			m.check(t)
		}
	}
	for _, job := range modelJobs {
		if !slices.ContainsFunc(m.nodes, func(n *modelNode) bool { return m.election(n, job).Valid() }) {
			t.Fatalf("job %s has no leader long after the trouble is over", job)
		}
	}
	delete(m.kvs, "app/epoch") // there unless somebody has deleted just that
	if got := len(m.kvs); got != len(m.nodes)*(2+len(modelJobs)) {
		t.Fatalf("%d keys are left in etcd for %d nodes: %v", got, len(m.nodes), slices.Sorted(maps.Keys(m.kvs)))
	}
	m.stats.settled++
}
