package simetcd

import (
	_ "unsafe" // for go:linkname

	_ "go.etcd.io/etcd/client/v3" // has valCtxCh
)

// valCtxCh is the Done channel of the contexts under which the etcd client keeps
// its watches: one for all, made as the program starts, and never closed. A
// goroutine that waits for a channel from outside is not durably blocked, so
// time would stand still in every bubble that has a watch. A nil channel says
// the same, and nobody waits for it. Should simulations hang after an upgrade of
// etcd, look here first: the variable may have another name.
//
//go:linkname valCtxCh go.etcd.io/etcd/client/v3.valCtxCh
var valCtxCh chan struct{}

func init() { valCtxCh = nil }
