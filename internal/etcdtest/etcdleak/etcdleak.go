// Package etcdleak tells goleak what members of an embedded etcd leave behind.
// It is not part of etcdtest, so that programs which run etcd do not import
// goleak.
package etcdleak

import "go.uber.org/goleak"

// Options makes goleak overlook the connections between the members of a
// cluster of several, up to 5 s after its Close: etcd's listener renews the
// deadline of a read that net/http wants to abort, so the handler waits until
// that deadline, and its client with it (rafthttp.ConnReadTimeout). A cluster
// of one member leaves nothing behind, and needs no options.
func Options() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
		goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	}
}
