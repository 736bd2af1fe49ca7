package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// store keeps numbers in etcd that only the latest leader may change. A key next
// to them, the guard, holds the token of the latest leader that has claimed them.
//
// The guard must have no lease, as it must outlive every leader, and must not be
// among the keys of the library.
type store struct {
	client        *clientv3.Client
	prefix, guard string
}

var errStale = errors.New("rejected, as a later leader has claimed the store")

func newStore(client *clientv3.Client, prefix string) *store {
	return &store{client: client, prefix: prefix + "value/", guard: prefix + "guard"}
}

// claim makes the holder of token the only one whose writes are accepted. A leader
// calls it once, before it reads anything: what it reads after that nobody else
// will change, while before it an earlier leader's write could still arrive.
func (s *store) claim(ctx context.Context, token int64) error {
	for {
		got, err := s.client.Get(ctx, s.guard)
		if err != nil {
			return err
		}
		held, revision := int64(0), int64(0) // a key that is not there has revision 0
		for _, kv := range got.Kvs {
			if held, err = strconv.ParseInt(string(kv.Value), 10, 64); err != nil {
				return fmt.Errorf("guard: %w", err)
			}
			revision = kv.ModRevision
		}
		if held > token {
			return errStale
		}
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(s.guard), "=", revision)).
			Then(clientv3.OpPut(s.guard, strconv.FormatInt(token, 10))).
			Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		// Somebody else has claimed in between: look again who is the later one.
	}
}

// write is one transaction: etcd compares the token and puts the value, and
// nothing comes in between. To compare first and to put then would be the mistake
// that this example is about. Any number of keys may be put by one transaction.
func (s *store) write(ctx context.Context, token int64, key string, value int) error {
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value(s.guard), "=", strconv.FormatInt(token, 10))).
		Then(clientv3.OpPut(s.prefix+key, strconv.Itoa(value))).
		Commit()
	if err == nil && !resp.Succeeded {
		return errStale
	}
	return err
}

// read returns 0 for a key that is not there.
func (s *store) read(ctx context.Context, key string) (int, error) {
	got, err := s.client.Get(ctx, s.prefix+key)
	if err != nil || len(got.Kvs) == 0 {
		return 0, err
	}
	return strconv.Atoi(string(got.Kvs[0].Value))
}
