package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/b2552be4/distributed"
	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func watchCommand(c *conn) *cobra.Command {
	return &cobra.Command{
		Use: "watch", GroupID: "look", Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Short: "Show live, like top, who runs what and what moves",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			out, isFile := cmd.OutOrStdout().(*os.File)
			if !isFile || !term.IsTerminal(int(out.Fd())) {
				return errors.New("watch needs a terminal; nodes and jobs do not")
			}
			o, err := c.observe(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.Close()) }()
			return watch(cmd.Context(), c, o, out)
		},
	}
}

func watch(ctx context.Context, c *conn, o *distributed.Observer, out io.Writer) error {
	s := &screen{where: c.app + " on " + c.store, last: map[string]distributed.Leader{}, lost: map[string]time.Time{}}
	s.take(o, time.Now())
	s.moves = nil // what was there before is no news
	program := tea.NewProgram(s, tea.WithContext(ctx), tea.WithInput(c.in), tea.WithOutput(out))
	following, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range o.Views(following) {
			program.Send(picture{o, time.Now()})
			select {
			case <-time.After(frame): // changes that come close together are shown together
			case <-following.Done():
			}
		}
	}()
	_, err := program.Run()
	stop()
	<-ended
	if ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled) {
		err = nil // by a signal, which is one way to end it
	}
	return err
}

const frame = 100 * time.Millisecond

// picture says that there is another one.
type picture struct {
	o  *distributed.Observer
	at time.Time
}

// tick makes the ages go on.
type tick struct{ at time.Time }

func nextTick() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tick{t} })
}

// screen is what watch shows. It implements tea.Model; all its methods are called by
// one goroutine.
type screen struct {
	where         string
	width, height int

	o     *distributed.Observer
	now   time.Time
	age   time.Duration
	nodes []nodeLine
	jobs  []jobLine
	since map[string]time.Time
	last  map[string]distributed.Leader // of each job that somebody has led
	lost  map[string]time.Time          // since when nobody leads it
	moves []string                      // the last ones, newest first

	first  int // the job at the top
	query  string
	typing bool
}

// Init implements tea.Model.
func (s *screen) Init() tea.Cmd { return nextTick() }

// Update implements tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
	case picture:
		s.take(m.o, m.at)
	case tick:
		s.take(s.o, m.at)
		return s, nextTick()
	case tea.KeyPressMsg:
		if s.key(m) {
			return s, tea.Quit
		}
	}
	s.first = max(0, min(s.first, len(s.shown())-s.room()))
	return s, nil
}

// key takes in a key, and reports whether it ends the program.
func (s *screen) key(m tea.KeyPressMsg) (quit bool) {
	key := m.String()
	switch {
	case key == "ctrl+c":
		return true
	case key == "esc":
		s.typing, s.query = false, ""
	case s.typing && key == "enter":
		s.typing = false
	case s.typing && key == "backspace":
		_, size := utf8.DecodeLastRuneInString(s.query)
		s.query = s.query[:len(s.query)-size]
	case s.typing && m.Text != "":
		s.query += m.Text
	case s.typing:
	case key == "q":
		return true
	case key == "/":
		s.typing = true
	case key == "up", key == "k":
		s.first--
	case key == "down", key == "j":
		s.first++
	case key == "pgup":
		s.first -= s.room()
	case key == "pgdown", key == "space":
		s.first += s.room()
	case key == "home", key == "g":
		s.first = 0
	case key == "end", key == "G":
		s.first = len(s.jobs)
	}
	return false
}

// take takes in what o shows.
func (s *screen) take(o *distributed.Observer, now time.Time) {
	view := o.View()
	s.o, s.now, s.age = o, now, o.Age()
	s.nodes, s.jobs = nodesOf(view, o.Silence()), jobsOf(view)
	s.since = map[string]time.Time{}
	led := map[string]distributed.Leader{}
	for _, l := range o.Leaders() {
		led[l.Job], s.since[l.Job] = l, l.Since
		if was, ok := s.last[l.Job]; ok && was.Node == l.Node {
			continue
		}
		s.moved(l, view, now)
		s.last[l.Job] = l
	}
	for job := range s.last {
		if _, ok := led[job]; ok {
			delete(s.lost, job)
		} else if _, ok := s.lost[job]; !ok {
			s.lost[job] = now
		}
	}
}

func (s *screen) moved(l distributed.Leader, view *distributed.View, now time.Time) {
	from, gap := "nowhere", ""
	if was, ok := s.last[l.Job]; ok {
		from = was.Instance
		if _, ok := view.Buried[was.Node]; ok {
			from += ", which fell silent,"
		}
	}
	if since, ok := s.lost[l.Job]; ok {
		gap = ", nowhere for " + short(now.Sub(since))
	}
	s.moves = append([]string{fmt.Sprintf("%s  %s: %s -> %s%s", now.Format(time.TimeOnly), l.Job, from, l.Instance, gap)}, s.moves...)
	s.moves = s.moves[:min(len(s.moves), maxMoves)]
}

const (
	maxMoves  = 5
	maxNodes  = 10 // shown
	fixedRows = 6  // title, blank, two headings, blank, keys
)

// shown returns the jobs that match the query.
func (s *screen) shown() []jobLine {
	query := strings.ToLower(s.query)
	return filter(s.jobs, func(j jobLine) bool {
		return strings.Contains(strings.ToLower(j.Job+"\x00"+j.Node+"\x00"+j.State), query)
	})
}

// room is how many jobs fit.
func (s *screen) room() int {
	moves := 0
	if len(s.moves) > 0 {
		moves = 1 + len(s.moves)
	}
	return max(1, s.height-fixedRows-min(len(s.nodes), maxNodes)-moves)
}

var (
	bold = lipgloss.NewStyle().Bold(true)
	head = lipgloss.NewStyle().Reverse(true)
	warn = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Yellow)
	dim  = lipgloss.NewStyle().Faint(true)
)

// View implements tea.Model.
func (s *screen) View() tea.View {
	v := tea.NewView(strings.Join(s.rows(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "distributed: " + plain(s.where)
	return v
}

func (s *screen) rows() []string {
	shown := s.shown()
	rows := []string{s.title(), ""}
	rows = append(rows, s.nodeRows()...)
	rows = append(rows, "")
	rows = append(rows, s.jobRows(shown)...)
	if len(s.moves) > 0 {
		rows = append(rows, bold.Render("Moves"))
		for _, m := range s.moves {
			rows = append(rows, "  "+plain(m))
		}
	}
	rows = append(rows, s.footer(len(shown)))
	for i := range rows {
		rows[i] = ansi.Truncate(rows[i], s.width, "")
	}
	return rows[:min(len(rows), max(s.height, 0))]
}

func (s *screen) title() string {
	led := 0
	for _, j := range s.jobs {
		if j.State == "led" {
			led++
		}
	}
	title := bold.Render(plain(s.where)) + fmt.Sprintf("   %d nodes   %d of %d jobs led   %s", len(s.nodes), led, len(s.jobs), s.now.Format(time.TimeOnly))
	if s.age > staleAfter {
		title += "   " + warn.Render("the store was heard of "+short(s.age)+" ago")
	}
	return title
}

const staleAfter = 5 * time.Second

func (s *screen) nodeRows() []string {
	rows := []string{s.heading(fmt.Sprintf("%-20s %-8s %6s %6s %10s %8s  %s", "INSTANCE", "STATE", "LEADS", "WAITS", "HEARD", "UP", "VERSION"))}
	for i, n := range s.nodes {
		if i == maxNodes-1 && len(s.nodes) > maxNodes {
			return append(rows, dim.Render(fmt.Sprintf("and %d more", len(s.nodes)-i)))
		}
		up := "-"
		if n.Started.Unix() > 0 {
			up = short(s.now.Sub(n.Started))
		}
		rows = append(rows, fmt.Sprintf("%s %-8s %6d %6d %10s %8s  %s", cell(n.Instance, 20), n.State, n.Leads, n.Waits, short(n.Silence)+" ago", up, dash(plain(n.Version))))
	}
	return rows
}

func (s *screen) jobRows(shown []jobLine) []string {
	rows := []string{s.heading(fmt.Sprintf("%-32s %-8s %-20s %8s %12s  %s", "JOB", "STATE", "NODE", "SINCE", "TOKEN", "WAITING OR WHY"))}
	room := s.room()
	for i := s.first; i < s.first+room; i++ {
		if i >= len(shown) {
			rows = append(rows, "")
			continue
		}
		j := shown[i]
		since := "-"
		if at := s.since[j.Job]; !at.IsZero() {
			since = short(s.now.Sub(at))
		}
		row := fmt.Sprintf("%s %-8s %s %8s %12d  %s", cell(j.Job, 32), j.State, cell(dash(j.Node), 20), since, j.Token, plain(cmp.Or(j.Why, strings.Join(j.Waiting, ","), "-")))
		if j.State != "led" {
			row = warn.Render(row)
		}
		rows = append(rows, row)
	}
	return rows
}

// cell is s in so many columns.
func cell(s string, width int) string {
	s = ansi.Truncate(plain(s), width, "…")
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

func (s *screen) heading(text string) string {
	return head.Render(text + strings.Repeat(" ", max(0, s.width-len(text))))
}

func (s *screen) footer(shown int) string {
	last := min(shown, s.first+s.room())
	place := fmt.Sprintf("%d-%d of %d", min(s.first+1, last), last, shown)
	if s.typing || s.query != "" {
		cursor := ""
		if s.typing {
			cursor = "_"
		}
		return place + "   /" + plain(s.query) + cursor + dim.Render("   enter: keep   esc: all")
	}
	return place + dim.Render("   arrows, pgup, pgdn: scroll   /: filter   q: quit")
}
