// Package kubernetes keeps the documents of the library in Leases of Kubernetes, in
// place of etcd: for services that run there and have no etcd of their own. It is a
// module of its own, so that only who uses it has client-go among the dependencies.
//
//	config, err := rest.InClusterConfig()
//	...
//	provider := kubernetes.NewLeaseProvider(kubernetes.Config{REST: config, Namespace: "distributed"})
//	processor := distributed.NewLeadershipBasedJobProcessor("shop", pod, provider, nil)
//
// client-go has a leader election of its own, which says that it does not guarantee one
// leader. Here the guarantee of the package distributed holds.
//
// # What it takes
//
// Kubernetes, and the rights in rbac.yaml: all on Leases, in one namespace. etcd below
// it keeps what the guarantee needs. The TTL is 15 s by default.
//
// docs/stores.md in the repository says what it costs, what a restarted API server
// means, and what to do when the etcd of the cluster is put back to a backup.
//
// # How it works
//
// A document is a Lease, with the key and the value in annotations. Its resource
// version is the revision; each change is a patch that names it, or a deletion that does.
// A follower lists all Leases of the namespace, and watches what changes. If an API server
// has forgotten what came behind a version, as each does when it is restarted, the
// follower lists again.
package kubernetes
