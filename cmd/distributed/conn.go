package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/b2552be4/distributed"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// conn is where the app is, as the flags say.
type conn struct {
	in   io.Reader
	errs io.Writer

	store, app, namespace string
	user, password        string
	cacert, cert, key     string
	serverName            string
	insecure              bool
	timeout               time.Duration
	output                string
}

func (c *conn) flags(f *pflag.FlagSet) {
	f.StringVar(&c.store, "store", os.Getenv("DISTRIBUTED_STORE"), "where the app's documents are: a URL of etcd, PostgreSQL, NATS or Kubernetes (or DISTRIBUTED_STORE)")
	f.Lookup("store").DefValue = "" // not for help to print: there may be a password in it
	f.StringVar(&c.app, "app", os.Getenv("DISTRIBUTED_APP"), "name of the app (or DISTRIBUTED_APP)")
	f.StringVar(&c.namespace, "namespace", os.Getenv("DISTRIBUTED_NAMESPACE"), "what the service puts before every key (or DISTRIBUTED_NAMESPACE)")
	f.StringVar(&c.user, "user", "", "user, or user:password, of the store (or DISTRIBUTED_USER)")
	f.StringVar(&c.password, "password", "", "password; asked for if there is a user and none (or DISTRIBUTED_PASSWORD)")
	f.StringVar(&c.cacert, "cacert", os.Getenv("DISTRIBUTED_CACERT"), "file of certificates by which to trust the store (or DISTRIBUTED_CACERT)")
	f.StringVar(&c.cert, "cert", os.Getenv("DISTRIBUTED_CERT"), "file of our certificate (or DISTRIBUTED_CERT)")
	f.StringVar(&c.key, "key", os.Getenv("DISTRIBUTED_KEY"), "file of the key of that (or DISTRIBUTED_KEY)")
	f.StringVar(&c.serverName, "server-name", "", "name that the store's certificate must have, if that is not its host")
	f.BoolVar(&c.insecure, "insecure-skip-tls-verify", false, "trust any certificate: for tests only")
	f.DurationVar(&c.timeout, "timeout", 5*time.Second, "how long to wait for the store")
	f.StringVarP(&c.output, "output", "o", "table", "table or json")
}

func (c *conn) validate() error {
	switch {
	case c.output != "table" && c.output != "json":
		return fmt.Errorf("--output %q: must be table or json", c.output)
	case c.store == "":
		return errors.New("say where the store is: --store etcd://HOST:PORT, or DISTRIBUTED_STORE; distributed help lists all kinds")
	case c.app == "":
		return errors.New("say which app: --app NAME, or DISTRIBUTED_APP")
	case c.timeout <= 0:
		return errors.New("--timeout must be above 0")
	}
	return nil
}

// provider returns that of the app's leases, of which we take none.
func (c *conn) provider() (distributed.LeaseProvider, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	p, err := parse(c.store)
	if err != nil {
		return nil, err
	}
	return stores[p.scheme](c, p)
}

// given returns what is said of the user; either may be empty.
func (c *conn) given() (user, password string) {
	user, password, ok := strings.Cut(cmp.Or(c.user, os.Getenv("DISTRIBUTED_USER")), ":")
	if !ok {
		password = cmp.Or(c.password, os.Getenv("DISTRIBUTED_PASSWORD"))
	}
	return user, password
}

// login asks for the password, if there is a user and none.
func (c *conn) login() (user, password string, err error) {
	user, password = c.given()
	if user == "" || password != "" {
		return user, password, nil
	}
	in, isFile := c.in.(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return "", "", errors.New("there is a user, and no password: --password, or DISTRIBUTED_PASSWORD")
	}
	fmt.Fprintf(c.errs, "Password of %s: ", user)
	typed, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(c.errs)
	return user, string(typed), err
}

// hasTLS reports whether a flag says how to use it.
func (c *conn) hasTLS() bool {
	return c.cacert != "" || c.cert != "" || c.key != "" || c.insecure || c.serverName != ""
}

func (c *conn) tls(wanted bool) (*tls.Config, error) {
	if !wanted && !c.hasTLS() {
		return nil, nil
	}
	config := &tls.Config{InsecureSkipVerify: c.insecure, ServerName: c.serverName, MinVersion: tls.VersionTLS12}
	if c.cacert != "" {
		pem, err := os.ReadFile(c.cacert)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--cacert: there is no certificate in %s", c.cacert)
		}
	}
	if c.cert != "" || c.key != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// observe looks at the app; the caller closes the observer.
func (c *conn) observe(ctx context.Context) (*distributed.Observer, error) {
	provider, err := c.provider()
	if err != nil {
		return nil, err
	}
	opening, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var down atomic.Pointer[error]
	o, err := distributed.Observe(opening, c.app, provider,
		distributed.WithLogger(quiet()),
		distributed.WithHooks(distributed.Hooks{StoreDown: func(cause error) {
			down.Store(&cause)
			if errors.Is(cause, distributed.ErrRefused) {
				cancel() // nobody is going to change that while we wait
			}
		}}))
	switch why := down.Load(); {
	case err == nil || why == nil || ctx.Err() != nil:
		return o, err
	case errors.Is(err, context.Canceled):
		return nil, *why
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the store has not answered within %v: %w", c.timeout, *why)
	}
	return nil, err
}

// look calls show with a picture of the app.
func (c *conn) look(ctx context.Context, show func(o *distributed.Observer, v *distributed.View) error) error {
	o, err := c.observe(ctx)
	if err != nil {
		return err
	}
	view := o.View()
	switch {
	case view.Unreadable != "":
		fmt.Fprintf(c.errs, "Nobody is shown to lead: %s.\n", plain(view.Unreadable))
	case len(view.Nodes) == 0:
		fmt.Fprintf(c.errs, "There are no nodes of the app %q.\n", c.app)
	}
	return errors.Join(show(o, view), o.Close())
}

// quiet is a logger for what is told as an error.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
