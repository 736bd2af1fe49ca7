//go:build packages

package packages

// The tag is never set in a build: nothing of this is linked.
import (
	_ "context"
	_ "crypto/tls"
	_ "database/sql"
	_ "errors"
	_ "fmt"
	_ "log"
	_ "log/slog"
	_ "net/http"
	_ "os"
	_ "os/signal"
	_ "sync"
	_ "syscall"
	_ "testing"
	_ "testing/synctest"
	_ "time"

	_ "github.com/b2552be4/distributed"
	_ "github.com/b2552be4/distributed/nats"
	_ "github.com/b2552be4/distributed/otelmetrics"
	_ "github.com/b2552be4/distributed/postgres"
	_ "github.com/b2552be4/distributed/prometheusmetrics"
	_ "github.com/b2552be4/distributed/routing"
	_ "github.com/b2552be4/distributed/statuspage"
	_ "github.com/b2552be4/distributed/storetest"
	_ "github.com/b2552be4/distributed/verify"
	_ "github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/prometheus/client_golang/prometheus"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "go.etcd.io/etcd/client/v3"
	_ "go.etcd.io/etcd/client/v3/concurrency"
	_ "go.opentelemetry.io/otel"
	_ "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "k8s.io/client-go/kubernetes/typed/coordination/v1"
	_ "k8s.io/client-go/tools/leaderelection"
	_ "k8s.io/client-go/tools/leaderelection/resourcelock"
)
