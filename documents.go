package distributed

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// The documents of an app have names below one prefix:
//
//	epoch             a random value, written once for all
//	nodes/<id>        the life of a session: its heartbeat, and how it ended
//	claims/<id>/<k>   what a session claims, a few dozen jobs a document, k from 0
//	info/<id>         what a node tells the others about itself
//	lists/<hash>      a piece of a list of jobs, for all nodes that have the same
//	state/<job>       that a job has failed, or is done: written by its leaders
//	saved/<job>       what the job's leaders have saved
//	orders/…          what operators want: see orders.go
//
// Nobody but its session writes a document with
// an id, apart from tombstones (see stateBuried); ids are random and never used
// again. A value is a JSON object that begins with the version of the format and a
// checksum over the name of the document and all that follows:
//
//	{"v":1,"sum":"0f8a…","ttl":10000,…}
type keys struct {
	prefix string // ends in "/"
}

func (k keys) epoch() string           { return k.prefix + "epoch" }
func (k keys) node(id string) string   { return k.prefix + "nodes/" + id }
func (k keys) info(id string) string   { return k.prefix + "info/" + id }
func (k keys) list(hash string) string { return k.prefix + "lists/" + hash }
func (k keys) state(job string) string { return k.prefix + "state/" + job }
func (k keys) saved(job string) string { return k.prefix + "saved/" + job }
func (k keys) claims(id string, n int) string {
	return k.prefix + "claims/" + id + "/" + strconv.Itoa(n)
}

type documentKind int

const (
	otherDocument documentKind = iota // of no concern here
	epochDocument
	nodeDocument
	claimsDocument
	infoDocument
	listDocument
	stateDocument
	orderDocument
)

// parse takes a key apart. id is the hash of a list, the name of a job, or that of an
// order. What has been saved is of no concern: who needs it reads it.
func (k keys) parse(key string) (kind documentKind, id string, n int) {
	name, ok := strings.CutPrefix(key, k.prefix)
	if !ok {
		return otherDocument, "", 0
	}
	dir, rest, _ := strings.Cut(name, "/")
	switch {
	case name == "epoch":
		return epochDocument, "", 0
	case rest == "":
		return otherDocument, "", 0
	case dir == "claims":
		id, number, _ := strings.Cut(rest, "/")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n >= maxClaimDocuments || id == "" || strconv.Itoa(n) != number {
			return otherDocument, "", 0
		}
		return claimsDocument, id, n
	case dir == "orders":
		return orderDocument, rest, 0
	case dir == "state":
		return stateDocument, rest, 0
	case strings.Contains(rest, "/"):
		return otherDocument, "", 0
	case dir == "nodes":
		return nodeDocument, rest, 0
	case dir == "info":
		return infoDocument, rest, 0
	case dir == "lists":
		return listDocument, rest, 0
	}
	return otherDocument, "", 0
}

const (
	formatVersion = 1

	maxDocument       = 64 << 10 // bytes
	maxSaved          = 64 << 10 // bytes that a job saves, which take a third more in JSON
	maxSavedDocument  = 96 << 10
	maxClaimDocuments = 1 << 16 // of a session; that is more than two million jobs

	minTTL   = 200 * time.Millisecond
	maxTTL   = 300 * time.Second
	maxDrift = 0.1
)

// newID returns the id of a session: 80 random bits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }
