package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/b2552be4/distributed"
)

// defect is a way to get a store wrong. Each function that is set replaces a
// method; what it wants of the method that works it finds in the embedded store.
type defect struct {
	name  string
	fails []string // the cases; the first is the one that is about it
	may   []string // cases that it fails or not, as goroutines happen to run
	says  string   // what that one reports, in part

	put    func(context.Context, *brokenStore, string, []byte, int64) (int64, error)
	del    func(context.Context, *brokenStore, string, int64) error
	follow func(context.Context, *brokenStore, string, func(distributed.Step)) error
	putAll func(context.Context, *brokenStore, []distributed.Write) []distributed.WriteResult
	close  func(*brokenStore) error
}

// changing is a follow that tells f of each step instead of tell.
func changing(f func(s *brokenStore, step distributed.Step, tell func(distributed.Step))) func(context.Context, *brokenStore, string, func(distributed.Step)) error {
	return func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
		return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) { f(s, step, tell) })
	}
}

// refusing is a put that changes what refusals say.
func refusing(f func(s *brokenStore, c *distributed.ConflictError)) func(context.Context, *brokenStore, string, []byte, int64) (int64, error) {
	return func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
		at, err := s.BatchStore.Put(ctx, key, value, rev)
		if conflict, ok := errors.AsType[*distributed.ConflictError](err); ok {
			f(s, conflict)
		}
		return at, err
	}
}

// allCases returns their names.
func allCases() (names []string) {
	for _, c := range cases {
		names = append(names, c.name)
	}
	return names
}

// untilSent is the context of a write that obeys ctx no more once it is sent.
func untilSent(ctx context.Context) context.Context {
	if ctx.Err() != nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// shut closes the store, for a defect that has to know of that.
func (s *brokenStore) shut() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.BatchStore.Close()
}

func (s *brokenStore) isShut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

var liberties = []defect{
	{
		name: "refuses without saying what is there",
		put: refusing(func(_ *brokenStore, c *distributed.ConflictError) {
			c.Known, c.There = false, distributed.Document{}
		}),
	},
	{
		name: "says that it is alive",
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			tell(step)
			tell(distributed.Step{Revision: step.Revision})
		}),
	},
	{
		name: "tells several changes as one step",
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			return merging(ctx, s, prefix, tell, func(first, last int64) int64 { return last })
		},
	},
	{
		name: "lists again and again",
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			for {
				inner, cancel := context.WithCancel(ctx)
				err := s.BatchStore.Follow(inner, prefix, func(step distributed.Step) {
					if inner.Err() != nil {
						return
					}
					tell(step)
					if step.Revision%5 == 0 && !step.Whole {
						cancel()
					}
				})
				again := inner.Err() != nil && ctx.Err() == nil
				cancel()
				if !again {
					return err
				}
			}
		},
	},
}

// merging tells the changes in pairs, of a revision that of returns.
func merging(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step), of func(first, last int64) int64) error {
	steps := make(chan distributed.Step, 10_000)
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		failed <- s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) { steps <- step })
	}()
	defer cancel()
	for {
		select {
		case step := <-steps:
			time.Sleep(1) // others may come meanwhile
			for len(steps) > 0 && !step.Whole {
				step = merged(step, <-steps, of)
			}
			tell(step)
		case err := <-failed:
			return err
		}
	}
}

func merged(a, b distributed.Step, of func(first, last int64) int64) distributed.Step {
	documents := slices.DeleteFunc(slices.Clone(a.Documents), func(d distributed.Document) bool {
		return slices.ContainsFunc(b.Documents, func(o distributed.Document) bool { return o.Key == d.Key })
	})
	return distributed.Step{Revision: of(a.Revision, b.Revision), Whole: b.Whole, Documents: append(documents, b.Documents...)}
}

var defects = []defect{
	{
		name:  "ignores guard 0",
		fails: []string{"Create", "LateCopy", "Refusal", "OneWins", "Sizes"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if rev == 0 {
				rev = s.there(key).Revision
			}
			return s.BatchStore.Put(ctx, key, value, rev)
		},
	},
	{
		name:  "ignores the guard unless it is 0",
		fails: []string{"Replace", "GoneForGood", "LateCopy", "OneWins", "WriteContext", "LostReply"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if rev != 0 {
				rev = s.there(key).Revision
			}
			return s.BatchStore.Put(ctx, key, value, rev)
		},
	},
	{
		name:  "deletes at whatever revision",
		fails: []string{"Delete", "GoneForGood", "LateCopy", "WriteContext"},
		may:   []string{"Pictures"},
		del: func(ctx context.Context, s *brokenStore, key string, _ int64) error {
			return s.BatchStore.Delete(ctx, key, s.there(key).Revision)
		},
	},
	{
		name:  "an update of what is gone makes it anew",
		fails: []string{"GoneForGood", "Replace", "LateCopy"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if s.there(key).Revision == 0 {
				rev = 0
			}
			return s.BatchStore.Put(ctx, key, value, rev)
		},
	},
	{
		name:  "the revision of a deletion matches",
		fails: []string{"GoneForGood"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			s.mu.Lock()
			if rev != 0 && s.deletions[key] == rev && s.there(key).Revision == 0 {
				rev = 0
			}
			s.mu.Unlock()
			return s.BatchStore.Put(ctx, key, value, rev)
		},
		del: func(ctx context.Context, s *brokenStore, key string, rev int64) error {
			err := s.BatchStore.Delete(ctx, key, rev)
			s.mu.Lock()
			defer s.mu.Unlock()
			if _, now := s.hub.Documents(key); err == nil {
				s.deletions[key] = now
			}
			return err
		},
	},
	{
		name:  "confirms a copy as it did the first",
		fails: []string{"LateCopy"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			id := fmt.Sprintf("%q %q %d", key, value, rev)
			s.mu.Lock()
			before := s.confirmed[id]
			s.mu.Unlock()
			if before != 0 {
				return before, nil
			}
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err == nil {
				s.confirmed[id] = at
			}
			return at, err
		},
	},
	{
		name:  "a copy of a creation is carried out",
		fails: []string{"LateCopy"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			s.mu.Lock()
			first := string(s.given[key]) == string(value) && rev == 0
			if s.given[key] == nil {
				s.given[key] = value
			}
			s.mu.Unlock()
			if first {
				rev = s.there(key).Revision
			}
			return s.BatchStore.Put(ctx, key, value, rev)
		},
	},
	{
		name:  "a refusal shows what was there before",
		fails: []string{"Replace", "LateCopy", "Refusal", "Sizes"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			before := s.there(key)
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			s.mu.Lock()
			defer s.mu.Unlock()
			if conflict, ok := errors.AsType[*distributed.ConflictError](err); ok && s.given[key] != nil {
				conflict.There.Value = s.given[key]
			}
			if err == nil {
				s.given[key] = before.Value
			}
			return at, err
		},
	},
	{
		name:  "a refusal shows a value that was read later",
		fails: []string{"Refusal"},
		put: refusing(func(s *brokenStore, c *distributed.ConflictError) {
			if c.There.Revision != 0 {
				time.Sleep(1)
				c.There.Value = s.there(c.Key).Value
			}
		}),
	},
	{
		name:  "revisions of a store of its own",
		fails: []string{"RevisionsRise", "Pages", "Pictures"},
		may:   []string{"OneWins"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if rev > 1_000_000 {
				rev -= 1_000_000
			}
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			if err == nil && s.number == 3 {
				at += 1_000_000
			}
			return at, err
		},
		del: func(ctx context.Context, s *brokenStore, key string, rev int64) error {
			if rev > 1_000_000 {
				rev -= 1_000_000
			}
			return s.BatchStore.Delete(ctx, key, rev)
		},
	},
	{
		name:  "compares first and writes then",
		fails: []string{"OneWins"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if s.there(key).Revision == rev {
				time.Sleep(1)
				rev = s.there(key).Revision
			}
			return s.BatchStore.Put(ctx, key, value, rev)
		},
	},
	{
		name:  "lists nothing if there is nothing",
		fails: []string{"Listing", "Replace", "Delete", "GoneForGood", "Pictures", "TwoFollowers", "Prefixes", "OneAtATime", "FollowContext", "Sizes", "Keys", "OwnMemory", "LostReply", "LateWrite", "Batch", "LargeBatch", "CompactedUnderWay"},
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			if len(step.Documents) > 0 {
				tell(step)
			}
		}),
	},
	{
		name:  "goes on where it was with another follower",
		fails: []string{"Prefixes", "FollowContext", "Keys"},
		may:   allCases(), // whether a case follows where another was told something is a matter of time
		says:  "it is no listing, but the first",
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			s.mu.Lock()
			told := s.told[prefix]
			s.mu.Unlock()
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				if step.Whole && told != 0 {
					step.Whole = false
					step.Documents = slices.DeleteFunc(step.Documents, func(d distributed.Document) bool { return d.Revision <= told })
				}
				tell(step)
				if !step.Whole {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.told[prefix] = step.Revision
				}
			})
		},
	},
	{
		name:  "lists all but the last",
		fails: []string{"Listing", "Pages", "Prefixes", "Keys", "Batch"},
		may:   []string{"Pictures", "CompactedUnderWay"},
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			if step.Whole && len(step.Documents) > 1 {
				step.Documents = step.Documents[:len(step.Documents)-1]
			}
			tell(step)
		}),
	},
	{
		name:  "lists what is gone",
		fails: []string{"Listing", "Pages", "Pictures", "TwoFollowers", "Prefixes", "FollowContext", "Sizes", "Keys", "OwnMemory", "CompactedUnderWay", "Batch", "LargeBatch", "Close"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				if step.Whole {
					step.Documents = append(step.Documents, distributed.Document{Key: prefix + "gone", Revision: step.Revision})
				}
				tell(step)
			})
		},
	},
	{
		name:  "lists in pages of different revisions",
		fails: []string{"Pages"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				if n := len(step.Documents); step.Whole && n > 1000 {
					time.Sleep(1)
					now, _ := s.hub.Documents(prefix)
					step.Documents = append(slices.Clone(step.Documents[:1000]), now[1000:]...)
				}
				tell(step)
			})
		},
	},
	{
		name:  "skips a change now and then",
		fails: []string{"Pictures", "TwoFollowers", "Prefixes", "Keys", "Batch", "LargeBatch"},
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			if step.Whole || step.Revision%17 != 0 {
				tell(step)
			}
		}),
	},
	{
		name:  "tells that it is alive instead of changes",
		fails: []string{"Pictures", "Listing", "GoneForGood", "TwoFollowers", "Prefixes", "OneAtATime", "FollowContext", "Sizes", "Keys", "OwnMemory", "LostReply", "CompactedUnderWay", "Batch", "LargeBatch", "Close"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			listed := int64(0)
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				if !step.Whole {
					tell(distributed.Step{Revision: listed})
					return
				}
				tell(step)
				listed = step.Revision
			})
		},
	},
	{
		name:  "tells an old version once more",
		fails: []string{"Pictures", "TwoFollowers", "Prefixes", "Keys", "Batch", "LargeBatch"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			var before distributed.Step
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				tell(step)
				if step.Revision%17 == 0 && !before.Whole && before.Revision != 0 {
					tell(before)
				}
				before = step
			})
		},
	},
	{
		name:  "tells several changes as one step of the first's revision",
		fails: []string{"TwoFollowers", "Listing", "Pictures", "Prefixes", "Keys", "Batch", "LargeBatch", "CompactedUnderWay"},
		may:   []string{"Sizes"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			return merging(ctx, s, prefix, tell, func(first, last int64) int64 { return first })
		},
	},
	{
		name:  "tells of no deletion",
		fails: []string{"Listing", "Pictures", "TwoFollowers", "Prefixes", "Keys", "Batch"},
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			step.Documents = slices.DeleteFunc(step.Documents, func(d distributed.Document) bool { return d.Value == nil })
			tell(step)
		}),
	},
	{
		name:  "tells of changes to one follower of a store",
		fails: []string{"TwoFollowers", "Prefixes", "OneAtATime", "FollowContext"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			s.mu.Lock()
			second := slices.ContainsFunc(s.following, func(other context.Context) bool { return other.Err() == nil })
			s.following = append(s.following, ctx)
			s.mu.Unlock()
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				if !second || step.Whole {
					tell(step)
				}
			})
		},
	},
	{
		name:  "takes a prefix for one of paths",
		fails: []string{"Prefixes"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				step.Documents = slices.DeleteFunc(slices.Clone(step.Documents), func(d distributed.Document) bool {
					return d.Key != prefix && !strings.HasPrefix(d.Key, strings.TrimSuffix(prefix, "/")+"/")
				})
				tell(step)
			})
		},
	},
	{
		name:  "takes prefixes without regard to case",
		fails: []string{"Prefixes"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			root, _, _ := strings.Cut(prefix, "/")
			return s.BatchStore.Follow(ctx, root, func(step distributed.Step) {
				step.Documents = slices.DeleteFunc(slices.Clone(step.Documents), func(d distributed.Document) bool {
					return !strings.HasPrefix(strings.ToLower(d.Key), strings.ToLower(prefix))
				})
				tell(step)
			})
		},
	},
	{
		name:  "does not wait for a follower that is busy",
		fails: []string{"OneAtATime"},
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			told := make(chan struct{})
			go func() {
				defer close(told)
				tell(step)
			}()
			select {
			case <-told:
			case <-time.After(time.Millisecond):
			}
		}),
	},
	{
		name:  "tells on when Follow has returned",
		fails: []string{"OneAtATime"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			failed := make(chan error, 1)
			go func() { failed <- s.BatchStore.Follow(context.WithoutCancel(ctx), prefix, tell) }()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-failed:
				return err
			}
		},
	},
	{
		name:  "Follow returns nil when its context is done",
		fails: []string{"FollowContext"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			err := s.BatchStore.Follow(ctx, prefix, tell)
			if ctx.Err() != nil {
				return nil
			}
			return err
		},
	},
	{
		name:  "Follow returns when it has told what there is",
		fails: []string{"FollowContext", "GoneForGood", "Listing", "Pictures", "TwoFollowers", "Prefixes", "OneAtATime", "Sizes", "Keys", "OwnMemory", "LostReply", "CompactedUnderWay", "Batch", "LargeBatch", "Close"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			_, now := s.hub.Documents(prefix)
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			_ = s.BatchStore.Follow(inner, prefix, func(step distributed.Step) {
				tell(step)
				if step.Revision >= now {
					cancel()
				}
			})
			return nil
		},
	},
	{
		name:  "Follow fails when nothing has changed for a while",
		fails: []string{"FollowContext", "OneAtATime", "Close"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			const while = 10 * time.Millisecond
			inner, cancel := context.WithCancel(ctx)
			defer cancel()
			idle := time.AfterFunc(while, cancel)
			defer idle.Stop()
			return s.BatchStore.Follow(inner, prefix, func(step distributed.Step) {
				tell(step)
				idle.Reset(while)
			})
		},
	},
	{
		name:  "Follow obeys its context only when something changes",
		fails: []string{"FollowContext", "OneAtATime"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			err := s.BatchStore.Follow(inner, prefix, func(step distributed.Step) {
				if len(step.Documents) > 0 && ctx.Err() != nil {
					cancel()
					return
				}
				tell(step)
			})
			return err
		},
	},
	{
		name:  "cuts long values",
		fails: []string{"Sizes", "LargeBatch"},
		follow: changing(func(_ *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			step.Documents = slices.Clone(step.Documents)
			for i := range step.Documents {
				d := &step.Documents[i]
				d.Value = d.Value[:min(len(d.Value), maxValue-1)]
			}
			tell(step)
		}),
	},
	{
		name:  "cuts values that are too large",
		fails: []string{"TooLarge"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			return s.BatchStore.Put(ctx, key, value[:min(len(value), 1<<20)], rev)
		},
	},
	{
		name:  "keys without regard to space around them",
		fails: []string{"Keys"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			return s.BatchStore.Put(ctx, strings.TrimSpace(key), value, rev)
		},
		del: func(ctx context.Context, s *brokenStore, key string, rev int64) error {
			return s.BatchStore.Delete(ctx, strings.TrimSpace(key), rev)
		},
	},
	{
		name:  "keeps the caller's value",
		fails: []string{"OwnMemory"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err == nil {
				s.given[fmt.Sprint(key, at)] = value
			}
			return at, err
		},
		follow: changing(func(s *brokenStore, step distributed.Step, tell func(distributed.Step)) {
			s.mu.Lock()
			step.Documents = slices.Clone(step.Documents)
			for i, d := range step.Documents {
				if own := s.given[fmt.Sprint(d.Key, d.Revision)]; own != nil && step.Whole {
					step.Documents[i].Value = bytes.Clone(own)
				}
			}
			s.mu.Unlock()
			tell(step)
		}),
	},
	{
		name:  "writes ignore their context once they are sent",
		fails: []string{"WriteContext", "LostReply", "LateWrite", "LateValue"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			return s.BatchStore.Put(untilSent(ctx), key, value, rev)
		},
		del: func(ctx context.Context, s *brokenStore, key string, rev int64) error {
			return s.BatchStore.Delete(untilSent(ctx), key, rev)
		},
	},
	{
		name:  "tries again, and is refused by its own write",
		fails: []string{"LostReply"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			if d := s.there(key); ctx.Err() != nil && bytes.Equal(d.Value, value) {
				err = &distributed.ConflictError{Key: key, Known: true, There: d}
			}
			return at, err
		},
	},
	{
		name:  "compares when it is asked and writes when it can",
		fails: []string{"LateWrite"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			given := bytes.Clone(value)
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			s.mu.Lock()
			late := s.late
			if ctx.Err() != nil {
				s.late = append(s.late, func() { _, _ = s.BatchStore.Put(context.Background(), key, given, s.there(key).Revision) })
			}
			if err == nil {
				s.late = nil
			}
			s.mu.Unlock()
			for _, f := range late {
				if err == nil {
					f()
				}
			}
			return at, err
		},
	},
	{
		name:  "sends the caller's value when it can",
		fails: []string{"LateValue"},
		says:  "a write of \"given\" that was given up has written \"XXXXX\"",
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			given := bytes.Clone(value)
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			if ctx.Err() != nil {
				s.mu.Lock()
				s.late = append(s.late, func() {
					if d := s.there(key); bytes.Equal(d.Value, given) && !bytes.Equal(value, given) {
						_, _ = s.BatchStore.Put(context.Background(), key, value, d.Revision)
					}
				})
				s.mu.Unlock()
			}
			if err == nil {
				s.mu.Lock()
				late := s.late
				s.late = nil
				s.mu.Unlock()
				for _, f := range late {
					f()
				}
			}
			return at, err
		},
	},
	{
		name:  "Follow fails when history is forgotten",
		fails: []string{"CompactedUnderWay"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			s.mu.Lock()
			s.compacts = append(s.compacts, cancel)
			s.mu.Unlock()
			return s.BatchStore.Follow(ctx, prefix, tell)
		},
	},
	{
		name:  "goes on when history is forgotten",
		fails: []string{"CompactedUnderWay"},
		may:   allCases(), // a follower in memory that is behind is also told all anew
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			first := true
			return s.BatchStore.Follow(ctx, prefix, func(step distributed.Step) {
				if step.Whole && !first {
					step.Whole = false
				}
				first = false
				tell(step)
			})
		},
	},
	{
		name:  "PutAll writes all or nothing",
		fails: []string{"Batch", "BatchRefusals"},
		putAll: func(ctx context.Context, s *brokenStore, writes []distributed.Write) []distributed.WriteResult {
			for _, w := range writes {
				if d := s.there(w.Key); d.Revision != w.Revision {
					results := make([]distributed.WriteResult, len(writes))
					for i := range results {
						results[i].Err = &distributed.ConflictError{Key: writes[i].Key}
					}
					return results
				}
			}
			return s.BatchStore.PutAll(ctx, writes)
		},
	},
	{
		name:  "PutAll returns results in another order",
		fails: []string{"Batch", "BatchRefusals", "LargeBatch"},
		putAll: func(ctx context.Context, s *brokenStore, writes []distributed.Write) []distributed.WriteResult {
			results := s.BatchStore.PutAll(ctx, writes)
			slices.Reverse(results)
			return results
		},
	},
	{
		name:  "PutAll ignores guards",
		fails: []string{"Batch", "BatchRefusals"},
		putAll: func(ctx context.Context, s *brokenStore, writes []distributed.Write) []distributed.WriteResult {
			writes = slices.Clone(writes)
			for i, w := range writes {
				writes[i].Revision = s.there(w.Key).Revision
			}
			return s.BatchStore.PutAll(ctx, writes)
		},
	},
	{
		name:  "PutAll shows one refusal for all",
		fails: []string{"BatchRefusals"},
		putAll: func(ctx context.Context, s *brokenStore, writes []distributed.Write) []distributed.WriteResult {
			results := s.BatchStore.PutAll(ctx, writes)
			var first *distributed.ConflictError
			for i := range results {
				if conflict, ok := errors.AsType[*distributed.ConflictError](results[i].Err); ok {
					if first == nil {
						first = conflict
					}
					results[i].Err = &distributed.ConflictError{Key: conflict.Key, Known: true, There: first.There}
				}
			}
			return results
		},
	},
	{
		name:  "PutAll drops what is too much",
		fails: []string{"LargeBatch"},
		putAll: func(ctx context.Context, s *brokenStore, writes []distributed.Write) []distributed.WriteResult {
			n := min(len(writes), 128)
			results := s.BatchStore.PutAll(ctx, writes[:n])
			for range writes[n:] {
				results = append(results, distributed.WriteResult{Revision: results[0].Revision})
			}
			return results
		},
	},
	{
		name:  "PutAll ignores its context once it is sent",
		fails: []string{"BatchContext"},
		putAll: func(ctx context.Context, s *brokenStore, writes []distributed.Write) []distributed.WriteResult {
			return s.BatchStore.PutAll(untilSent(ctx), writes)
		},
	},
	{
		name:  "Close does nothing",
		fails: []string{"Close"},
		close: func(*brokenStore) error { return nil },
	},
	{
		name:  "Close leaves followers",
		fails: []string{"Close"},
		follow: func(ctx context.Context, s *brokenStore, prefix string, tell func(distributed.Step)) error {
			return s.hub.Open(s.name).Follow(ctx, prefix, tell)
		},
	},
	{
		name:  "Close leaves writes under way",
		fails: []string{"Close"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if s.isShut() {
				return 0, distributed.ErrClosed
			}
			return s.hub.Open(s.name).Put(ctx, key, value, rev)
		},
		close: (*brokenStore).shut,
	},
	{
		name:  "Close refuses writes under way",
		fails: []string{"Close"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			at, err := s.BatchStore.Put(ctx, key, value, rev)
			if errors.Is(err, distributed.ErrClosed) {
				err = &distributed.ConflictError{Key: key}
			}
			return at, err
		},
	},
	{
		name:  "writes after Close",
		fails: []string{"Close"},
		put: func(ctx context.Context, s *brokenStore, key string, value []byte, rev int64) (int64, error) {
			if s.isShut() {
				return s.hub.Open(s.name).Put(ctx, key, value, rev)
			}
			return s.BatchStore.Put(ctx, key, value, rev)
		},
		close: (*brokenStore).shut,
	},
	{
		name:  "a second Close fails",
		fails: []string{"CloseTwice"},
		close: func(s *brokenStore) error {
			if s.isShut() {
				return errors.New("closed twice")
			}
			return s.shut()
		},
	},
}
