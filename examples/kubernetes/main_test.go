package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/b2552be4/distributed/internal/etcdtest"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// TestMain makes this program the example itself when it is called as that.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "jobs" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestItFinishesBeforeItEndsAndAnswersMeanwhile(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	p := start(t, "-etcd", cluster.Endpoints()[0], "-listen", "127.0.0.1:0", "-node", "pod-1")
	url := p.await(`^pod-1 serves (http://.+/status/)$`)[1]
	p.await(`^(invoices|reports): runs here, with token \d+$`)
	p.await(`^(invoices|reports): runs here, with token \d+$`)
	require.Equal(t, http.StatusOK, status(t, url+"readyz"))

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	p.await(`^told to stop`)
	require.Equal(t, http.StatusServiceUnavailable, status(t, url+"readyz"), "it leaves, and answers")
	p.await(`^(invoices|reports): has stopped: .+`)
	p.await(`^(invoices|reports): has stopped: .+`)
	p.await(`^all jobs are handed over: the server stops$`)
	require.NoError(t, p.Wait())
}

func TestItEndsAtOnceWhenItCannotServe(t *testing.T) {
	cluster := etcdtest.New(t, etcdtest.Config{UnsafeNoFsync: true})
	err := run(t.Context(), config{etcd: cluster.Endpoints()[0], listen: "not an address", node: "pod-1"}, io.Discard)
	require.ErrorContains(t, err, "not an address")
}

func TestTheTimesOfTheManifestsFollowFromTheProgram(t *testing.T) {
	stopping := int((workTime + releaseTime + serveTime).Seconds())
	require.Greater(t, workTime, item)

	var deployment struct {
		Kind string
		Spec struct {
			Template struct {
				Spec struct {
					TerminationGracePeriodSeconds int
					Containers                    []struct {
						Args           []string
						Ports          []struct{ ContainerPort int }
						ReadinessProbe struct{ HTTPGet struct{ Path string } }
						Lifecycle      struct {
							PreStop struct{ Sleep struct{ Seconds int } }
						}
					}
				}
			}
		}
	}
	documents := strings.Split(read(t, "deployment.yaml"), "\n---\n")
	require.Len(t, documents, 3)
	for _, document := range documents {
		var header struct{ APIVersion, Kind string }
		require.NoError(t, yaml.Unmarshal([]byte(document), &header))
		require.NotEmpty(t, header.APIVersion)
		require.NotEmpty(t, header.Kind)
	}
	require.NoError(t, yaml.Unmarshal([]byte(documents[0]), &deployment))
	require.Equal(t, "Deployment", deployment.Kind)
	pod := deployment.Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	container := pod.Containers[0]
	require.Equal(t, 5, container.Lifecycle.PreStop.Sleep.Seconds)
	require.Equal(t, container.Lifecycle.PreStop.Sleep.Seconds+stopping, pod.TerminationGracePeriodSeconds)
	require.Equal(t, "/status/readyz", container.ReadinessProbe.HTTPGet.Path)
	require.Equal(t, []string{"-listen=:8080"}, container.Args)
	require.Equal(t, 8080, container.Ports[0].ContainerPort)

	unit := map[string]string{}
	for _, line := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(read(t, "jobs.service"), -1) {
		unit[line[1]] = line[2]
	}
	seconds, err := time.ParseDuration(unit["TimeoutStopSec"] + "s")
	require.NoError(t, err)
	require.Equal(t, stopping, int(seconds.Seconds()))
	require.Equal(t, "SIGTERM", unit["KillSignal"])
}

// process is the example, as a process of its own.
type process struct {
	*exec.Cmd
	t     *testing.T
	lines *bufio.Scanner
}

func start(t *testing.T, args ...string) *process {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel) // kills it if it still runs
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "jobs"
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &process{cmd, t, bufio.NewScanner(out)}
}

// await reads what the process prints up to a line that matches.
func (p *process) await(pattern string) []string {
	p.t.Helper()
	for p.lines.Scan() {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(p.lines.Text()); found != nil {
			return found
		}
	}
	require.Fail(p.t, "never printed", pattern)
	return nil
}

func status(t *testing.T, url string) int {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	return response.StatusCode
}

func read(t *testing.T, name string) string {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}
