// Command release checks that what is to be released can be used: it publishes the
// modules that are for users, as they are in the work tree, to a module proxy in a
// temporary directory, installs each from there into an empty module, and builds a
// program with it. The file VERSION holds the version, for all modules.
//
//	go run ./internal/release             check
//	go run ./internal/release -write      write the version into all go.mod files
//	go run ./internal/release -published  install what has been published
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// users are the directories of the modules that are for users, the root first, as
// the others require it, with a program for each that is no command. The other
// modules are for tests and examples: nobody requires them.
var users = []struct{ dir, program string }{
	{".", `package main

import (
	"context"
	"fmt"

	"github.com/b2552be4/distributed"
	_ "github.com/b2552be4/distributed/leasetest"
	"github.com/b2552be4/distributed/statuspage"
	_ "github.com/b2552be4/distributed/verify"
)

func main() {
	provider := distributed.NewMemoryLeaseProvider(nil)
	observer, err := distributed.Observe(context.Background(), "app", provider)
	fmt.Println(statuspage.New(observer) != nil, err)
}
`},
	{"adapters", `package main

import (
	"context"
	"fmt"

	"github.com/b2552be4/distributed"
	_ "github.com/b2552be4/distributed/adapters/leadercron"
	"github.com/b2552be4/distributed/adapters/leadergocron"
	_ "github.com/b2552be4/distributed/adapters/leadermanager"
)

func main() {
	var elector leadergocron.Elector
	fmt.Println(distributed.Job{Name: "tasks", Work: elector.Work}.Name, elector.IsLeader(context.Background()))
}
`},
	{"cmd/distributed", ""}, // the command itself
	{"kubernetes", `package main

import (
	"fmt"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/kubernetes"
	"k8s.io/client-go/rest"
)

func main() {
	provider := kubernetes.NewLeaseProvider(kubernetes.Config{REST: &rest.Config{}, Namespace: "default"})
	fmt.Println(distributed.NewConcurrency("app", "node", provider) != nil)
}
`},
	{"nats", `package main

import (
	"fmt"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/nats"
)

func main() {
	provider := nats.NewLeaseProvider(nats.Config{Servers: []string{"nats://127.0.0.1:4222"}})
	fmt.Println(distributed.NewConcurrency("app", "node", provider) != nil)
}
`},
	{"otelmetrics", `package main

import (
	"fmt"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/otelmetrics"
	"go.opentelemetry.io/otel"
)

func main() {
	hooks, err := otelmetrics.New(otel.GetMeterProvider())
	fmt.Println(distributed.WithHooks(hooks) != nil, err)
}
`},
	{"postgres", `package main

import (
	"context"
	"fmt"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/postgres"
)

func main() {
	observer, err := distributed.Observe(context.Background(), "app", postgres.NewLeaseProvider(postgres.Config{}))
	fmt.Println(observer == nil, err)
}
`},
	{"prometheusmetrics", `package main

import (
	"fmt"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/prometheusmetrics"
	"github.com/prometheus/client_golang/prometheus"
)

func main() {
	hooks, err := prometheusmetrics.New(prometheus.NewRegistry())
	fmt.Println(distributed.WithHooks(hooks) != nil, err)
}
`},
	{"schedule", `package main

import (
	"context"
	"fmt"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/b2552be4/distributed/schedule"
)

func main() {
	work, err := schedule.Cron("@daily", func(context.Context, time.Time) error { return nil })
	fmt.Println(distributed.Job{Name: "report", Work: work}.Name, err)
}
`},
}

func main() {
	write := flag.Bool("write", false, "write the version into all go.mod files")
	published := flag.Bool("published", false, "install what has been published")
	flag.Parse()
	if err := run(*write, *published); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(write, published bool) error {
	b, err := os.ReadFile("VERSION")
	if err != nil {
		return fmt.Errorf("%w: run it at the top of the repository", err)
	}
	version := strings.TrimSpace(string(b))
	modules, err := readModules(".")
	if err != nil {
		return err
	}
	if write {
		return writeVersion(modules, version)
	}
	if err := check(modules, version); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	proxy := ""
	if !published {
		proxy = filepath.Join(temp, "proxy")
		for _, u := range users {
			if err := publish(modules, u.dir, version, proxy); err != nil {
				return fmt.Errorf("publish %s: %w", u.dir, err)
			}
		}
	}
	return installAll(modules, version, temp, proxy)
}

// installAll goes on after a failure.
func installAll(modules map[string]module, version, temp, proxy string) error {
	var errs []error
	for i, u := range users {
		path := modules[u.dir].Module.Path
		in := filepath.Join(temp, fmt.Sprint("user", i))
		if err := install(in, path, version, u.program, environment(temp, proxy, modules["."].Module.Path)); err != nil {
			errs = append(errs, fmt.Errorf("install %s@%s: %w", path, version, err))
			continue
		}
		fmt.Printf("installed %s@%s into an empty module, and built a program with it\n", path, version)
	}
	return errors.Join(errs...)
}
