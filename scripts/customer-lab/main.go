// Command customer-lab lets unmodified apt, dnf, zypper, wget, curl and aria2
// install and fetch from a small real package repository, through a central
// host that redirects them to volunteers, while the repository is published
// anew and the volunteers mirror it again and again:
//
//	go run ./scripts/customer-lab [--requests 10000] [--volunteers 3] [--interval 3s]
//
//	publisher ──> tree ──> prsync serve ══ prsync -a --delete ══> volunteers
//	                            │ ▲                                   ▲
//	                        302 │ │ apt, dnf, zypper, wget, curl, …   │
//	                            └─┴───────────────────────────────────┘
//
// Every file that a tool got is compared with what was published under that
// name: a content that never was, one that was replaced before the request
// began, an answer 404 for a name that was to be had, and a tool's own
// complaint about hashes are all failures. Everything runs on the loopback
// interface and in one temporary directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	var l lab
	flag.IntVar(&l.requests, "requests", 10000, "HTTP requests of customers to the central host")
	flag.IntVar(&l.volunteers, "volunteers", 3, "volunteers")
	flag.IntVar(&l.packages, "packages", 24, "packages of each kind")
	flag.DurationVar(&l.interval, "interval", 3*time.Second, "pause between two publications")
	flag.StringVar(&l.tools, "tools", strings.Join(toolNames(), ","), "customers")
	flag.StringVar(&l.bin, "bin", "", "`directory` with prsync's programs; default is to build them")
	flag.StringVar(&l.parent, "dir", "", "parent `directory` of the data; default is $TMPDIR")
	flag.BoolVar(&l.keep, "keep", false, "leave data and logs")
	flag.BoolVar(&l.restart, "restart", false, "kill -9 the central host once in a while and start it again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	l.say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if missing := l.missing(); len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "customer-lab: not installed: %s\n", strings.Join(missing, ", "))
		os.Exit(1)
	}
	r, err := l.run(ctx)
	if r != nil {
		r.print(os.Stdout)
	}
	if err == nil && r.failures() > 0 {
		err = fmt.Errorf("%d failures", r.failures())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "customer-lab:", err)
		os.Exit(1)
	}
}

// lab is one run.
type lab struct {
	requests, volunteers, packages int
	interval                       time.Duration
	tools                          string // separated by commas
	bin, parent                    string
	keep, restart                  bool
	say                            func(format string, args ...any)

	dir    string
	repo   *repo
	site   *site
	report *report
}

// needed are the programs that the repository's making takes.
var needed = []string{"dpkg-deb", "dpkg", "apt-ftparchive", "gpg", "rpmbuild", "createrepo_c"}

// missing names what is not installed.
func (l *lab) missing() (names []string) {
	all := append([]string{}, needed...)
	for t := range strings.SplitSeq(l.tools, ",") {
		all = append(all, tools[t].program)
	}
	for _, n := range all {
		if n == "" {
			names = append(names, "(no such tool: --tools takes "+strings.Join(toolNames(), ",")+")")
		} else if _, err := exec.LookPath(n); err != nil {
			names = append(names, n)
		}
	}
	return names
}

// run makes the repository and the hosts, lets customers come until there
// were as many requests as wanted, and judges.
func (l *lab) run(ctx context.Context) (_ *report, err error) {
	if l.dir, err = os.MkdirTemp(l.parent, "prsync-customers-"); err != nil {
		return nil, err
	}
	if l.keep {
		l.say("data and logs: %s", l.dir)
	} else {
		defer os.RemoveAll(l.dir)
	}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return nil, err
	}
	if l.bin == "" {
		l.bin = filepath.Join(l.dir, "bin")
		build := exec.CommandContext(ctx, "go", "build", "-o", l.bin+"/", "./cmd/...")
		build.Stderr, build.Env = os.Stderr, append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("building prsync in the source tree: %w; name a directory with --bin", err)
		}
	}
	if l.bin, err = filepath.Abs(l.bin); err != nil {
		return nil, err
	}
	l.report = newReport()
	if l.repo, err = newRepo(ctx, l.dir, l.packages); err != nil {
		return nil, fmt.Errorf("making the repository: %w", err)
	}
	defer l.repo.close()
	l.say("repository: %d packages as deb and rpm, %d files", l.packages, len(l.repo.born))
	if l.site, err = newSite(ctx, l); err != nil {
		return nil, err
	}
	defer l.site.close()

	began := time.Now()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work := newGroup(ctx, stop)
	work.add(l.publish)
	for _, e := range l.site.edges {
		work.add(func(ctx context.Context) error { return l.mirror(ctx, e) })
	}
	if l.restart {
		work.add(l.killAndRestart)
	}
	for t := range strings.SplitSeq(l.tools, ",") {
		work.add(func(ctx context.Context) error { return l.customer(ctx, t) })
	}
	work.add(func(ctx context.Context) error { return l.watch(ctx, stop) })
	err = work.wait()
	if errors.Is(err, errEnough) {
		err = nil
	}
	l.report.took = time.Since(began)
	l.site.stop()
	l.readLogs()
	return l.report, err
}

// errEnough ends a run that has had its requests.
var errEnough = errors.New("enough requests")

// watch ends the run when there were enough requests.
func (l *lab) watch(ctx context.Context, stop context.CancelCauseFunc) error {
	said := time.Now()
	for sleep(ctx, 200*time.Millisecond) {
		n := l.site.hub.requests()
		if time.Since(said) > 20*time.Second {
			said = time.Now()
			l.say("%d requests, %d publications, %d syncs, %d failures", n, l.report.publications.Load(), l.report.syncs.Load(), l.report.failures())
		}
		if n >= l.requests {
			stop(errEnough)
		}
	}
	return nil
}

// publish changes the repository again and again.
func (l *lab) publish(ctx context.Context) error {
	for sleep(ctx, l.interval) {
		if err := l.repo.round(ctx, func() error { return l.site.publish(ctx) }); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("publishing: %w", err)
		}
		l.report.publications.Add(1)
	}
	return nil
}

// mirror keeps a volunteer's copy up to date, as cron would do it.
func (l *lab) mirror(ctx context.Context, e *edge) error {
	for ctx.Err() == nil {
		if err := l.site.sync(ctx, e); err != nil && ctx.Err() == nil {
			// A file that vanishes meanwhile (24) and a host that is being
			// restarted are daily life; the next run puts it right.
			l.report.syncErrors.Add(1)
		} else {
			l.report.syncs.Add(1)
		}
		sleep(ctx, l.interval/4)
	}
	return nil
}

// killAndRestart ends the central host as a crash does.
func (l *lab) killAndRestart(ctx context.Context) error {
	for sleep(ctx, 4*l.interval) {
		took, err := l.site.restart(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		l.report.restarted(took)
	}
	return nil
}
