//go:build unix

package demo

// action is a button: what it does to a node, and when that can be done.
type action struct {
	Name, Label, Hint string
	can               func(n *node) bool
	begin             func(f *fleet, n *node) // at once, with f.mu held
	do                func(f *fleet, n *node) // what takes time; nil for nothing
}

var actions = []action{
	{
		Name: "restart", Label: "Restart", Hint: "stop it cleanly (SIGTERM), and start it again",
		can:   func(n *node) bool { return n.state == up && !n.paused },
		begin: func(_ *fleet, n *node) { n.state = stopping },
		do:    (*fleet).restart,
	},
	{
		Name: "kill", Label: "Kill -9", Hint: "end its process at once; it starts again some seconds later",
		can:   func(n *node) bool { return n.state == up },
		begin: func(_ *fleet, n *node) { n.state = down },
		do:    (*fleet).kill,
	},
	{
		Name: "pause", Label: "Pause", Hint: "freeze its process (SIGSTOP)",
		can:   func(n *node) bool { return n.state == up && !n.paused },
		begin: (*fleet).pause,
	},
	{
		Name: "resume", Label: "Resume", Hint: "let its process go on (SIGCONT)",
		can:   func(n *node) bool { return n.state == up && n.paused },
		begin: func(_ *fleet, n *node) { n.paused = false; n.process.Resume() },
	},
	{
		Name: "cut", Label: "Cut", Hint: "let nothing through between it and etcd",
		can:   func(n *node) bool { return !n.cut },
		begin: (*fleet).cut,
	},
	{
		Name: "heal", Label: "Heal", Hint: "let everything through again between it and etcd",
		can:   func(n *node) bool { return n.cut },
		begin: func(_ *fleet, n *node) { n.cut = false; n.heal() },
	},
}

var said = map[string]string{
	"restart": "%s stops.",
	"kill":    "%s is killed.",
	"pause":   "%s is frozen.",
	"resume":  "%s wakes up.",
	"cut":     "%s is cut off from etcd.",
	"heal":    "%s reaches etcd again.",
}

// act begins an action, and returns what is closed when it is done.
func (f *fleet) act(name, verb string) (done <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		for _, a := range actions {
			if n.name == name && a.Name == verb {
				return f.begin(n, a)
			}
		}
	}
	return nil, errNoNode
}

func (f *fleet) begin(n *node, a action) (<-chan struct{}, error) {
	if !a.can(n) || f.ctx.Err() != nil {
		return nil, errNotNow
	}
	done := make(chan struct{})
	a.begin(f, n)
	f.actions.Go(func() {
		defer close(done)
		f.say(said[a.Name], n.name)
		if a.do != nil {
			a.do(f, n)
		}
	})
	return done, nil
}

func (f *fleet) restart(n *node) {
	f.end(n)
	f.mu.Lock()
	n.state = down
	f.mu.Unlock()
	f.say("%s has stopped.", n.name)
	f.revive(n, f.downtime)
}

func (f *fleet) kill(n *node) {
	n.process.Kill()
	f.revive(n, leaseTTL+f.downtime) // others take over before
}

func (f *fleet) pause(n *node) {
	n.paused, f.frozen = true, true
	n.process.Pause()
}

func (f *fleet) cut(n *node) {
	n.cut = true
	for _, l := range n.links {
		l.HoldUp()
		l.HoldDown()
	}
}
