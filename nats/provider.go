package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/b2552be4/distributed"
)

// Config says where the stream is.
type Config struct {
	// Servers are the URLs of the servers, such as "nats://nats-1:4222"; give all of a
	// cluster. Required.
	Servers []string

	// Options are those of the NATS client: credentials, TLS, handlers. They come
	// after ours, so that they count: no end of attempts to connect anew, a
	// second for each, a ping a second, and no buffer for what cannot be sent.
	Options []nats.Option

	// Stream is the name of the stream, and the first part of its subjects: letters,
	// digits, "-" and "_", at most 64. A node makes it if there is none; who only
	// looks on waits for that. Default: "distributed".
	Stream string

	// Replicas is on how many servers the stream is, at least: 1, 3 or 5. One that is
	// made is on so many. With 1, all stops while that server is away. Default: 3.
	Replicas int
}

// NewLeaseProvider returns a provider of leases on a stream of NATS, with the options
// of all stores. It makes no call; what is wrong with config or opts is reported by
// Campaign and Execute before anything is written. It is safe for concurrent use,
// and has nothing to close: each lease makes a connection of its own, and closes it.
func NewLeaseProvider(config Config, opts ...distributed.LeaseOption) distributed.LeaseProvider {
	return distributed.NewLeaseProvider(config.open, opts...)
}

// history is how many messages of a document the stream keeps: what a feed may be
// behind before it has to list again. Who deletes a document counts on it, see bury.
const history = 8

var streamNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c *Config) validate() error {
	c.Stream, c.Replicas = cmp.Or(c.Stream, "distributed"), cmp.Or(c.Replicas, 3)
	switch {
	case len(c.Servers) == 0:
		return fmt.Errorf("%w: Config.Servers: give at least one", distributed.ErrInvalidConfig)
	case !streamNames.MatchString(c.Stream):
		return fmt.Errorf("%w: Config.Stream %q: must be 1 to 64 letters, digits, - and _", distributed.ErrInvalidConfig, c.Stream)
	case c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5:
		return fmt.Errorf("%w: Config.Replicas %d: must be 1, 3 or 5", distributed.ErrInvalidConfig, c.Replicas)
	}
	for i, o := range c.Options {
		if o == nil {
			return fmt.Errorf("%w: Config.Options[%d] is nil", distributed.ErrInvalidConfig, i)
		}
	}
	return nil
}

// open is a [distributed.OpenStore].
func (c Config) open(ctx context.Context, req distributed.LeaseRequest) (distributed.Store, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &store{Config: c}
	s.closed, s.close = context.WithCancel(context.Background())
	if err := s.connect(ctx, req); err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

func (s *store) connect(ctx context.Context, req distributed.LeaseRequest) (err error) {
	o := nats.GetDefaultOptions()
	for _, set := range append([]nats.Option{
		nats.Name(req.Instance), nats.Timeout(time.Second), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectBufSize(-1), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // that of the client writes to stderr
	}, s.Options...) {
		if err := set(&o); err != nil {
			return fmt.Errorf("%w: Config.Options: %w", distributed.ErrInvalidConfig, err)
		}
	}
	o.Servers = s.Servers
	if s.conn, err = o.Connect(); err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(answerTime)); err != nil {
		return err
	}
	return s.openStream(ctx, req.Instance == "")
}

// openStream looks whether the stream is as it must be. It makes it if there is none,
// and its first message, which stands for nothing: there is no revision 0. A
// second one that another node makes does no harm. Who only looks on makes nothing.
func (s *store) openStream(ctx context.Context, looks bool) (err error) {
	s.stream, err = s.js.Stream(ctx, s.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if looks {
			return fmt.Errorf("there is no stream %s yet: the first node makes it: %w", s.Stream, err)
		}
		s.stream, err = s.js.CreateStream(ctx, s.wanted())
	}
	if err != nil {
		return err
	}
	info := s.stream.CachedInfo()
	if wrong := s.unfit(info.Config); wrong != "" {
		return fmt.Errorf("%w: stream %s: %s", distributed.ErrRefused, s.Stream, wrong)
	}
	if info.State.LastSeq == 0 && !looks {
		_, err = s.js.Publish(ctx, s.Stream+".%", nil) // no document has that subject
	}
	return err
}

func (c *Config) wanted() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: c.Stream, Subjects: []string{c.Stream + ".>"}, Storage: jetstream.FileStorage, Replicas: c.Replicas,
		MaxMsgsPerSubject: history, AllowMsgTTL: true, DenyDelete: true, DenyPurge: true,
	}
}

// unfit returns what of a stream breaks what is promised, if anything does: what
// could go behind the back of a follower, or come back.
func (c *Config) unfit(is jetstream.StreamConfig) string {
	for _, rule := range []struct {
		broken bool
		says   string
	}{
		{len(is.Subjects) != 1 || is.Subjects[0] != c.Stream+".>" || is.SubjectTransform != nil, "its subjects must be " + c.Stream + ".>"},
		{is.Mirror != nil || len(is.Sources) > 0, "it must have no mirror and no sources"},
		{is.Storage != jetstream.FileStorage || is.PersistMode != jetstream.DefaultPersistMode, "its storage must be file, written before it is acknowledged"},
		{is.Retention != jetstream.LimitsPolicy || is.Discard != jetstream.DiscardOld || is.NoAck, "its retention must be limits, discard old, with acknowledgements"},
		{is.MaxMsgs > 0 || is.MaxBytes > 0 || is.MaxAge > 0, "it must have no limit of messages, bytes or age"},
		{is.MaxMsgsPerSubject != history, fmt.Sprintf("max_msgs_per_subject must be %d", history)},
		{is.AllowDirect, "allow_direct must not be set: a replica that is behind would answer"},
		{!is.AllowMsgTTL, "allow_msg_ttl must be set"},
		{!is.DenyDelete || !is.DenyPurge, "deny_delete and deny_purge must be set"},
		{is.Replicas < c.Replicas, fmt.Sprintf("it has %d replicas, and Config.Replicas asks for %d", is.Replicas, c.Replicas)},
	} {
		if rule.broken {
			return rule.says
		}
	}
	return ""
}
