package distributed

import (
	"encoding/json"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdKeys is the layout of an app's keys in etcd, all below prefix:
//
//	epoch                   one an app, made by its first node, for good; empty
//	node/<lease>            one a node, not attached to its lease: nodeValue
//	alive/<lease>           one a node, attached to its lease: aliveValue
//	info/<lease>            one a node that announces itself, attached to its lease: infoValue
//	jobs/<lease>            the same: its jobs, see encodeJobs
//	<job>/leader/<lease>    one a candidate, attached to its lease: candidateValue
//
// where <lease> is the lease's id in hex. The candidates' layout is that of
// etcd's own elections. No candidate can be taken for one of the others: the
// last part but one of its key is "leader".
type etcdKeys struct{ prefix string }

type keyKind int

const (
	otherKey keyKind = iota // nothing of ours
	epochKey
	nodeKey
	aliveKey
	infoKey
	jobsKey
	candidateKey
)

func leaseName(id clientv3.LeaseID) string { return fmt.Sprintf("%x", int64(id)) }

func (k etcdKeys) epoch() string                      { return k.prefix + "epoch" }
func (k etcdKeys) node(lease string) string           { return k.prefix + "node/" + lease }
func (k etcdKeys) alive(lease string) string          { return k.prefix + "alive/" + lease }
func (k etcdKeys) info(lease string) string           { return k.prefix + "info/" + lease }
func (k etcdKeys) jobs(lease string) string           { return k.prefix + "jobs/" + lease }
func (k etcdKeys) candidate(job, lease string) string { return k.prefix + job + "/leader/" + lease }

// parse is the inverse of the functions above.
func (k etcdKeys) parse(key string) (kind keyKind, job, lease string) {
	rest, ok := strings.CutPrefix(key, k.prefix)
	if ok && rest == "epoch" {
		return epochKey, "", ""
	}
	i := strings.LastIndexByte(rest, '/')
	if !ok || i < 0 || i == len(rest)-1 {
		return otherKey, "", ""
	}
	owner, lease := rest[:i], rest[i+1:]
	if job, ok := strings.CutSuffix(owner, "/leader"); ok && job != "" {
		return candidateKey, job, lease
	}
	switch owner {
	case "node":
		return nodeKey, "", lease
	case "alive":
		return aliveKey, "", lease
	case "info":
		return infoKey, "", lease
	case "jobs":
		return jobsKey, "", lease
	}
	return otherKey, "", ""
}

// nodeValue is what a node tells the others. It is written with each heartbeat.
type nodeValue struct {
	Instance string  `json:"instance"`
	Beat     int64   `json:"beat"`            // counts the heartbeats
	TTL      int64   `json:"ttl"`             // of the lease as granted, in seconds
	Drift    float64 `json:"drift"`           // the ρ that this node allows for
	State    string  `json:"state,omitempty"` // "" or stateDrained
}

// stateDrained says that no Work runs on the node any more and none will.
const stateDrained = "drained"

// aliveValue is written with each change of the node's candidate keys, in the
// same transaction. So at every revision either Keys is the number of the
// node's candidate keys, or somebody else has deleted one.
type aliveValue struct {
	Seq  int64 `json:"seq"` // counts the transactions
	Keys int   `json:"keys"`
}

type candidateValue struct {
	Instance string `json:"instance"`
}

// encode cannot fail: the values above hold nothing that JSON cannot express.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("distributed: encode %T: %v", v, err))
	}
	return string(b)
}
