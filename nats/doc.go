// Package nats keeps the documents of the library in a stream of NATS JetStream, in
// place of etcd. It is a module of its own, so that only who uses it has the client of
// NATS among the dependencies.
//
//	provider := nats.NewLeaseProvider(nats.Config{Servers: []string{"nats://nats-1:4222", "nats://nats-2:4222", "nats://nats-3:4222"}})
//	processor := distributed.NewLeadershipBasedJobProcessor("shop", node, provider, nil)
//
// # What it takes
//
// NATS 2.11 or newer. The guarantee holds as long as the servers undo nothing that they
// have confirmed. By default they may: NATS answers before a write is on disk. So
//
//   - the stream is on three servers (Config.Replicas), or five, and
//   - each server has, in its configuration, jetstream { sync_interval: always }.
//
// docs/stores.md in the repository says what goes wrong otherwise, which permissions
// a node needs, what it costs, and how a stream is made by hand.
//
// # How it works
//
// A document is a subject, below the name of the stream, and a message is a change: its
// sequence in the stream is the revision. A write names the sequence of the last message
// of its subject, and is refused if that is another. A deletion is a message
// without data, as one that is removed from the stream would be seen by nobody; the
// stream denies that. It keeps the last 8 messages of each subject.
//
// A follower reads the whole stream, and not only the subjects of its app: JetStream
// says nothing if a message is missing, so the only sign is a sequence that is
// skipped, and of a part of the stream nobody sees that. Then, and first of all, it
// lists: a new consumer sends the last message of each subject, and goes on from there.
// Services that do not belong together should therefore have a stream each (Config.Stream).
package nats
