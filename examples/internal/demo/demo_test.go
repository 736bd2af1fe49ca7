//go:build unix

package demo

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed"
)

func TestPageIsAtAFreePortIfTheHandyOneIsTaken(t *testing.T) {
	if taken, err := net.Listen("tcp", handyAddress); err == nil { // or else somebody has it already
		defer taken.Close()
	}
	l, err := new(config).open()
	require.NoError(t, err)
	require.NotEqual(t, handyAddress, l.Addr().String())
	require.NoError(t, l.Close())

	_, err = (&config{listen: "127.0.0.1:-1"}).open()
	require.Error(t, err, "who wants an address gets that or none")
}

func TestTallyCountsLoadsAndMoves(t *testing.T) {
	s := &show{leaders: map[string]string{}, changed: func() {}}
	led := func(name, node string) distributed.JobView {
		return distributed.JobView{Name: name, Led: node != "", Queue: []distributed.CandidateView{{Node: node}}}
	}
	view := func(jobs ...distributed.JobView) *distributed.View {
		return &distributed.View{Jobs: jobs, Nodes: []distributed.NodeView{{ID: "2", Instance: "node-10"}, {ID: "1", Instance: "node-9"}}}
	}
	s.take(view(led("x", "1"), led("y", "1"), led("z", "")))
	require.Equal(t, "node-9 2, node-10 0", s.current().String())
	require.Equal(t, Tally{Running: 2, Loads: []load{{"node-9", 2}, {"node-10", 0}}, Most: 2}, s.current())

	s.take(view(led("x", "2"), led("y", ""), led("z", "2")))
	require.Equal(t, 1, s.current().Moves, "z has moved from nowhere")
	s.take(view(led("x", "2"), led("y", "2"), led("z", "elsewhere")))
	require.Equal(t, 2, s.current().Moves, "y has moved, although it was nowhere in between")
	require.Equal(t, 2, s.current().Apart())

	s.freeze()
	s.take(view())
	require.Equal(t, 2, s.current().Running, "what comes when all stop does not count")
}

func TestCardsShowWhatCanBeDone(t *testing.T) {
	for name, c := range map[string]struct {
		node    node
		state   string
		buttons []string // that can be pressed
	}{
		"well":    {node{state: up}, "up", []string{"restart", "kill", "pause", "cut"}},
		"frozen":  {node{state: up, paused: true}, "frozen", []string{"kill", "resume", "cut"}},
		"cut off": {node{state: up, cut: true}, "cut off", []string{"restart", "kill", "pause", "heal"}},
		"ending":  {node{state: stopping}, "stopping", []string{"cut"}},
		"gone":    {node{state: down, cut: true}, "down", []string{"heal"}},
	} {
		t.Run(name, func(t *testing.T) {
			card := cardOf(&c.node)
			require.Equal(t, c.state, card.State)
			var can []string
			for _, b := range card.Buttons {
				if !b.Off {
					can = append(can, b.Name)
				}
			}
			require.Len(t, card.Buttons, 4)
			require.Equal(t, c.buttons, can)
		})
	}
}
