package host

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/host/statedir"
)

// Options say what to run, and with what of the outside world.
type Options struct {
	// Config is the configuration file.
	Config string
	// Env is the environment, as os.Environ returns it.
	Env []string
	// Version is the program's, for headers and logs.
	Version string
	// Program is the file of prsync itself, run for each rsync connection.
	Program string
	// Engine is the swarm engine's program and arguments; without one a
	// volunteer serves customers only.
	Engine []string
	Log    *slog.Logger
	// Reload asks to load the configuration again (SIGHUP).
	Reload <-chan os.Signal
	// Ready is called once, when requests are answered.
	Ready func(Bound)
	// RootCAs verify https servers; nil is the system's.
	RootCAs *x509.CertPool
	Timing  Timing

	rsync     []net.Listener // in the place of the configured port
	noGoodbye bool           // a volunteer ends as if it were killed
}

// Bound is where a running service is found.
type Bound struct {
	HTTP  net.Addr
	Rsync []net.Addr
	// URL is the address that others are told.
	URL      string
	StateDir string
}

// Timing are the intervals of a service; zero values are the defaults.
type Timing struct {
	// Settle is how long a tree must be quiet before a change is indexed.
	Settle time.Duration
	// Announce is how often volunteers are asked to announce; 5 s, so that
	// routing is back soon after a restart.
	Announce time.Duration
	// Newer is how long a customer waits for the generation that has the
	// file it asked for, when that has just changed; 20 s.
	Newer time.Duration
	// Grace is how long a stop waits for requests under way; 30 s.
	Grace time.Duration
	// Stalled is how long a client may take nothing of what it asked for; 2 min.
	Stalled time.Duration
	// Journal is how often a volunteer looks for what transfers learned; 250 ms.
	Journal time.Duration
	// Retry is the first pause after a failure, of an engine or a central host; 1 s.
	Retry time.Duration
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ready == nil {
		o.Ready = func(Bound) {}
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Timing.Announce, 5*time.Second)
	def(&o.Timing.Newer, 20*time.Second)
	def(&o.Timing.Grace, 30*time.Second)
	def(&o.Timing.Stalled, 2*time.Minute)
	def(&o.Timing.Journal, 250*time.Millisecond)
	def(&o.Timing.Retry, time.Second)
}

func (o *Options) getenv(name string) string {
	for i := len(o.Env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(o.Env[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

func (o *Options) software() string { return "prsync/" + o.Version }

// daemonConfig is the part of the rsync daemon's configuration that reading
// files needs.
func (o *Options) daemonConfig() daemon.Config {
	return daemon.Config{File: o.Config, Env: o.Env, Version: o.Version}
}

// DefaultConfigs are the configuration files that are tried without --config.
var DefaultConfigs = []string{"/etc/prsyncd.conf", "/etc/rsyncd.conf"}

// FindConfig returns file, or the first default that exists when it is empty.
func FindConfig(file string) (string, error) {
	if file != "" {
		return filepath.Abs(file)
	}
	for _, f := range DefaultConfigs {
		if _, err := os.Stat(f); err == nil {
			return f, nil
		}
	}
	return "", fmt.Errorf("there is no configuration: neither %s exists; name one with --config", strings.Join(DefaultConfigs, " nor "))
}

// load reads the configuration and logs its warnings.
func (o *Options) load() (*conf.File, error) {
	f, err := daemon.LoadConfig(o.daemonConfig())
	if err != nil {
		return nil, err
	}
	for _, w := range f.Warnings {
		o.Log.Warn("configuration", "warning", w)
	}
	return f, nil
}

// LoadConfig reads a configuration as the services do.
func LoadConfig(file string, env []string) (*conf.File, error) {
	return daemon.LoadConfig(daemon.Config{File: file, Env: env})
}

// StateDir returns where the services of a configuration keep their state.
func StateDir(f *conf.File, env []string) (string, error) {
	o := Options{Env: env}
	if d := f.Global.StateDir; d != "" {
		return filepath.Abs(d)
	}
	return statedir.Default(os.Geteuid(), o.getenv)
}

// prepareState makes the directories of a role.
func prepareState(f *conf.File, env []string, role statedir.Role) (string, error) {
	dir, err := StateDir(f, env)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dir, string(role), "index"), 0o755); err != nil {
		return "", exitcode.New(exitcode.FileIO, `state dir: %w; set "state dir" in %s to a directory that user %d may write`, err, f.Path, os.Geteuid())
	}
	return dir, nil
}

// sleep waits, and reports whether the context still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// failure is the result of a run whose context has ended: nil when that was
// asked for through the parent, else why a part ended.
func failure(parent, ctx context.Context) error {
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}
