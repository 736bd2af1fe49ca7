//go:build unix

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/b2552be4/distributed/internal/link"
	"github.com/b2552be4/distributed/postgres"
)

// server is a PostgreSQL server of a test, on loopback, in a directory of its own.
type server struct {
	t       testing.TB
	dir     string
	addr    string
	schema  string // of the documents
	options []string
	cmd     *exec.Cmd
	ended   chan struct{}
}

// poll is for feeds that must look.
const poll = 20 * time.Millisecond

// config is that of a store on the server.
func (s *server) config() postgres.Config { return s.at(s.addr) }

// at is config for another way to the server.
func (s *server) at(addr string) postgres.Config {
	return postgres.Config{URL: urlOf(addr), Schema: s.schema, Poll: poll}
}

// sql puts the schema in place of S.
func (s *server) sql(sql string) string { return strings.ReplaceAll(sql, "S.", s.schema+".") }

// programs is where the programs of PostgreSQL are.
var programs = sync.OnceValue(func() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is good
	if len(dirs) == 0 {
		return ""
	}
	return dirs[len(dirs)-1]
})

// account is whom a server runs as: it refuses to be root.
var account = sync.OnceValue(func() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
})

// command is a program that runs as the account.
func command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = attributes()
	cmd.SysProcAttr.Credential = account()
	return cmd
}

// spawn starts children on a thread that never ends: on Linux they die with the thread
// that started them.
var spawn = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go spawnAll(calls)
	return calls
})

func spawnAll(calls <-chan func()) {
	runtime.LockOSThread()
	for call := range calls {
		call()
	}
}

// start starts a program that goes on, with what it says in the file log.
func start(t testing.TB, cmd *exec.Cmd, log string) (ended chan struct{}) {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	require.NoError(t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	started := make(chan error)
	spawn() <- func() { started <- cmd.Start() }
	require.NoError(t, <-started)
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return ended
}

// run runs a program of PostgreSQL to its end.
func run(t testing.TB, program string, args ...string) {
	t.Helper()
	require.NotEmpty(t, programs(), "PostgreSQL is not installed: apt-get install postgresql-15 pgbouncer")
	out, err := command(filepath.Join(programs(), program), args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", program, out)
}

// makeDir makes a directory that the account may use. The caller removes it.
func makeDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postgres-test-") //nolint:usetesting // that of t lets in its owner only
	require.NoError(t, err)
	if who := account(); who != nil {
		require.NoError(t, os.Chown(dir, int(who.Uid), int(who.Gid)))
	}
	return dir
}

// blank is an empty database, made once.
var blank struct {
	sync.Mutex
	dir string
}

// makeDatabase returns the directory of a new one.
func makeDatabase(t testing.TB) string {
	t.Helper()
	blank.Lock()
	defer blank.Unlock()
	if blank.dir == "" {
		dir := makeDir(t)
		run(t, "initdb", "-D", dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N", "--wal-segsize=1")
		blank.dir = dir
	}
	dir := makeDir(t)
	out, err := command("/bin/cp", "-a", blank.dir+"/.", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// newServer starts a server for the test, which may do to it what it wants.
func newServer(t testing.TB, options ...string) *server {
	t.Helper()
	s := serve(t, makeDatabase(t), options)
	t.Cleanup(s.remove)
	return s
}

func (s *server) remove() {
	s.stop(syscall.SIGQUIT)
	_ = os.RemoveAll(s.dir)
}

func serve(t testing.TB, dir string, options []string) *server {
	t.Helper()
	addr, err := link.FreeAddr()
	require.NoError(t, err)
	s := &server{t: t, dir: dir, addr: addr, schema: "distributed", options: options}
	s.start()
	return s
}

// common is a server for all tests that do it no harm.
var common *server

var schemas atomic.Int64

// commonServer returns the common server, with a schema for the test.
func commonServer(t testing.TB) *server {
	s := *common
	s.t, s.schema = t, fmt.Sprint("test_", schemas.Add(1))
	return &s
}

// startCommon starts it, and returns what ends it.
func startCommon() (end func()) {
	common = serve(mainTest{}, makeDatabase(mainTest{}), nil)
	return func() {
		common.remove()
		_ = os.RemoveAll(blank.dir)
	}
}

// mainTest is TestMain in place of a test.
type mainTest struct{ testing.TB }

func (mainTest) Helper()                           {}
func (mainTest) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (mainTest) FailNow()                          { os.Exit(1) }

// standby makes a server that follows s through a network of its own, until it is promoted.
func (s *server) standby() (*server, *link.Link) {
	s.t.Helper()
	l := s.link()
	host, port, _ := net.SplitHostPort(l.Addr())
	dir := makeDir(s.t)
	run(s.t, "pg_basebackup", "-D", dir, "-h", host, "-p", port, "-U", "postgres", "-R", "-X", "stream", "-c", "fast")
	standby := serve(s.t, dir, s.options)
	s.t.Cleanup(standby.remove)
	return standby, l
}

func (s *server) promote() { s.t.Helper(); run(s.t, "pg_ctl", "promote", "-w", "-D", s.dir) }

func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	args := []string{"-D", s.dir, "-p", port}
	for _, option := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB", "max_connections=200", "max_wal_senders=4"}, s.options...) {
		args = append(args, "-c", option)
	}
	s.cmd = command(filepath.Join(programs(), "postgres"), args...)
	s.ended = start(s.t, s.cmd, filepath.Join(s.dir, "log"))
	s.awaitReady()
}

func (s *server) awaitReady() {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgx.Connect(context.Background(), s.url())
		if err == nil {
			require.NoError(s.t, conn.Close(context.Background()))
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			require.NoError(s.t, err, "%s", said)
		}
	}
}

// stop ends the server: with SIGINT in order, with SIGQUIT at once, with SIGKILL as a
// crash does, of which its processes learn by themselves.
func (s *server) stop(signal syscall.Signal) {
	s.t.Helper()
	_ = s.cmd.Process.Signal(signal)
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.t.Errorf("the server has not ended")
	}
	for len(s.processes()) > 0 {
		time.Sleep(5 * time.Millisecond)
	}
}

// processes returns those of the server, also when it was killed.
func (s *server) processes() (ids []int) {
	cwds, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is good
	for _, cwd := range cwds {
		if at, err := os.Readlink(cwd); err == nil && at == s.dir {
			id, _ := strconv.Atoi(filepath.Base(filepath.Dir(cwd)))
			ids = append(ids, id)
		}
	}
	return ids
}

// signal sends a signal to all processes of the server.
func (s *server) signal(signal syscall.Signal) {
	for _, id := range s.processes() {
		_ = syscall.Kill(id, signal)
	}
}

func (s *server) url() string { return urlOf(s.addr) }

func urlOf(addr string) string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", addr)
}

// connect returns a connection of the test's own, that needs nothing else.
func (s *server) connect() *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), s.url())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// scan asks for one value. It is for any goroutine.
func (s *server) scan(to any, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // it has answered
	return conn.QueryRow(ctx, s.sql(sql), args...).Scan(to)
}

func (s *server) exec(sql string, args ...any) {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), s.url())
	require.NoError(s.t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), s.sql(sql), args...)
	require.NoError(s.t, err)
}

// link returns a network to the server, which ends with the test.
func (s *server) link() *link.Link {
	s.t.Helper()
	return linkTo(s.t, s.addr)
}

func linkTo(t testing.TB, addr string) *link.Link {
	t.Helper()
	l, err := link.New(addr)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

// bouncer starts pgbouncer in front of the server, and returns where it listens, and what
// sends it a signal.
func (s *server) bouncer(mode string) (addr string, signal func(syscall.Signal)) {
	s.t.Helper()
	program, err := exec.LookPath("pgbouncer")
	require.NoError(s.t, err, "pgbouncer is not installed: apt-get install pgbouncer")
	addr, err = link.FreeAddr()
	require.NoError(s.t, err)
	host, port, _ := net.SplitHostPort(s.addr)
	_, own, _ := net.SplitHostPort(addr)
	dir := makeDir(s.t)
	var config bytes.Buffer
	fmt.Fprintf(&config, "[databases]\npostgres = host=%s port=%s user=postgres\n", host, port)
	fmt.Fprintf(&config, "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\nauth_type = any\npool_mode = %s\ndefault_pool_size = 3\nlogfile = %s/log\n", own, mode, dir)
	require.NoError(s.t, os.WriteFile(filepath.Join(dir, "ini"), config.Bytes(), 0o644))
	cmd := command(program, filepath.Join(dir, "ini"))
	ended := start(s.t, cmd, filepath.Join(dir, "out"))
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := pgx.Connect(context.Background(), urlOf(addr)+"&default_query_exec_mode=simple_protocol")
		if err == nil {
			require.NoError(s.t, conn.Close(context.Background()))
			return addr, func(signal syscall.Signal) { _ = cmd.Process.Signal(signal) }
		}
		require.Less(s.t, time.Now(), deadline, "%v", err)
	}
}
