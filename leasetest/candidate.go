package leasetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
)

// candidate is one campaign of a node, and the leadership that it wins.
type candidate struct {
	*node
	name     string
	election distributed.Election
	ended    <-chan struct{} // closed when the campaign is decided
	token    int64           // set before ended is closed
	err      error           // likewise
	gap      time.Duration   // likewise, as Gap returned it
	gapKnown bool            // likewise
	lost     chan struct{}   // closed when lost is called first
	onLost   func()          // called when lost is called first, may be nil
	cancel   func()          // cancels the campaign's context
	ctx      context.Context // the campaign's

	// guarded by run.mu
	decisions int // how often decided was called
	losses    int // how often lost was called
	cause     error
	left      bool // the node has given up what it may have won
}

// stand starts to campaign.
func (n *node) stand(election string) *candidate {
	return n.prepare(election).campaign()
}

func (n *node) prepare(election string) *candidate {
	c := &candidate{
		node: n, name: election, election: n.lease.Election(election), lost: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	n.candidates = append(n.candidates, c)
	return c
}

func (c *candidate) campaign() *candidate {
	ended := make(chan struct{})
	c.ended = ended
	c.returns(func() {
		c.election.Campaign(c.ctx, func(token int64, err error) {
			if c.decide() {
				c.decided(token, err)
				close(ended)
			}
		}, c.lose)
	}, "Campaign of %v has not returned", c)
	return c
}

func (c *candidate) decided(token int64, err error) {
	c.token, c.err = token, err
	if err == nil {
		c.gap, c.gapKnown = c.election.Gap()
		c.lead()
	}
}

func (c *candidate) String() string {
	return fmt.Sprintf("%s of %s in %q", c.instance, c.app, c.name)
}

func (c *candidate) returned() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *candidate) requireWaiting() {
	if c.returned() {
		c.require(false, "the campaign of %v was decided (token %d, error %v) although it was somebody else's turn", c, c.token, c.err)
	}
}

func (c *candidate) awaitLead() {
	c.await(c.ended, "%v does not lead", c)
	c.require(c.err == nil, "the campaign of %v failed: %v", c, c.err)
}

// awaitError waits until the campaign fails with target.
func (c *candidate) awaitError(target error) {
	c.await(c.ended, "the campaign of %v has not ended with %q", c, target)
	c.require(c.err != nil, "the campaign of %v was won with token %d, and did not end with %q", c, c.token, target)
	c.require(errors.Is(c.err, target), "the campaign of %v ended with %q, and not %q", c, c.err, target)
}

// awaitLost waits until the leadership is lost, and looks at how.
func (c *candidate) awaitLost() {
	c.await(c.lost, "lost has not been called on %v", c)
	_, cause := c.loss()
	c.require(errors.Is(cause, distributed.ErrLeadershipLost), "lost was called on %v with %q, which does not wrap ErrLeadershipLost", c, cause)
	c.requireInvalid("after it was lost")
}

// requireLeading checks that c has what it won.
func (c *candidate) requireLeading(when string) {
	losses, cause := c.loss()
	c.require(losses == 0, "lost was called on %v %s: %v", c, when, cause)
	c.require(c.election.Valid(), "Valid of %v is false %s", c, when)
}

func (c *candidate) requireInvalid(when string) {
	c.require(!c.election.Valid(), "Valid of %v is true %s", c, when)
}

// resign ends the leadership, which must not have been lost.
func (c *candidate) resign() {
	c.requireLeading("before it resigned")
	err := c.resignWith(context.Background())
	c.require(err == nil, "Resign of %v failed: %v", c, err)
}

func (c *candidate) resignWith(ctx context.Context) (err error) {
	c.leave()
	c.returns(func() { err = c.election.Resign(ctx) }, "Resign of %v has not returned", c)
	c.requireInvalid("after Resign")
	return err
}
