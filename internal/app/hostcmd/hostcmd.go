// Package hostcmd is the command line of prsync's own commands: serve,
// volunteer, status and publish. Package app runs them as the program
// prsync-host, so that the start of a plain transfer does not pay for HTTP,
// metrics and tracker stores, which are 2 ms and 3 MB.
package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/host"
	"github.com/urfave/cli/v2"
)

// Program is the name of the program with these commands, which lies beside
// prsync or in libexec/prsync.
const Program = "prsync-host"

// Streams are what the commands read and write.
type Streams struct{ Out, Err io.Writer }

// Main runs argv, whose first word after the program is the command, and
// returns the exit status: rsync's of the same kind of failure.
func Main(argv, env []string, version string, s Streams) int {
	c := &commands{env: env, version: version, streams: s}
	app := c.app()
	err := app.RunContext(context.Background(), optionsFirst(argv, app.Commands))
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
	default:
		fmt.Fprintf(s.Err, "prsync: %v\n", err)
	}
	return int(exitcode.Of(err, exitcode.Syntax))
}

// errUsage says that the mistake was printed with the help.
var errUsage = errors.New("usage")

type commands struct {
	env     []string
	version string
	streams Streams
}

func (c *commands) getenv(name string) string {
	for i := len(c.env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(c.env[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

func (c *commands) app() *cli.App {
	config := &cli.StringFlag{Name: "config", Usage: "configuration `FILE` in the syntax of rsyncd.conf; default /etc/prsyncd.conf, else /etc/rsyncd.conf"}
	debug := &cli.BoolFlag{Name: "debug", Usage: "log more", DisableDefaultText: true}
	usage := func(ctx *cli.Context, err error, _ bool) error {
		fmt.Fprintf(c.streams.Err, "prsync: %v\nTry \"prsync %s --help\".\n", err, ctx.Command.Name)
		return errUsage
	}
	return &cli.App{
		Name: "prsync", HelpName: "prsync", Usage: "rsync that fetches from everyone who holds the data",
		Version: c.version, Writer: c.streams.Out, ErrWriter: c.streams.Err, HideHelpCommand: true, HideVersion: true,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usage,
		Action: func(ctx *cli.Context) error {
			return fmt.Errorf("no command %q; there are serve, volunteer, status and publish", ctx.Args().First())
		},
		Commands: []*cli.Command{{
			Name: "serve", HideHelpCommand: true, OnUsageError: usage,
			Usage:     "run the central host: rsync daemon, tracker, redirector and first seed",
			UsageText: "prsync serve [--config FILE]",
			Description: "Runs in the foreground until SIGTERM or SIGINT and is ready when /metrics answers.\n" +
				"SIGHUP loads the configuration again; transfers go on. Modules that anyone may\n" +
				"read are published, others with \"swarm = yes\".",
			Flags:  []cli.Flag{config, debug},
			Action: func(ctx *cli.Context) error { return c.run(ctx, host.Serve) },
		}, {
			Name: "volunteer", HideHelpCommand: true, OnUsageError: usage,
			Usage:     "run an edge host: seed what it holds, serve customers",
			UsageText: "prsync volunteer [--config FILE]",
			Description: "Seeds the files below its modules' paths that the central host publishes, and\n" +
				"serves the customers that the central host sends here. Keep the files up to date\n" +
				"with prsync, from cron for example. Needs \"central url\", \"volunteer name\" and\n" +
				"\"volunteer secret\". SIGHUP loads the configuration again.",
			Flags:  []cli.Flag{config, debug},
			Action: func(ctx *cli.Context) error { return c.run(ctx, host.Volunteer) },
		}, {
			Name: "status", HideHelpCommand: true, OnUsageError: usage,
			Usage:     "show what a central host knows: volunteers, load, modules, swarm",
			UsageText: "prsync status [--json] [URL [MODULE/PATH]]",
			Description: "Without a URL the central host of the configuration is asked, else the one at\n" +
				"http://localhost:8080. With MODULE/PATH after the URL it tells who holds that file.",
			Flags: []cli.Flag{config, &cli.BoolFlag{Name: "json", Usage: "print JSON for scripts", DisableDefaultText: true},
				&cli.IntFlag{Name: "width", Usage: "`COLUMNS` of the output", DefaultText: "the terminal's"}},
			Action: c.status,
		}, {
			Name: "publish", HideHelpCommand: true, OnUsageError: usage,
			Usage:     "tell the running central host that an update of a module is complete",
			UsageText: "prsync publish [--config FILE] MODULE",
			Description: "The host indexes the module as one generation. Returns when it is visible to\n" +
				"customers and peers.",
			Flags:  []cli.Flag{config, &cli.BoolFlag{Name: "json", Usage: "print JSON for scripts", DisableDefaultText: true}},
			Action: c.publish,
		}},
	}
}

// run runs a service until a signal.
func (c *commands) run(ctx *cli.Context, service func(context.Context, host.Options) error) error {
	if ctx.Args().Present() {
		return fmt.Errorf("%s takes no argument; the configuration is named with --config", ctx.Command.Name)
	}
	file, err := host.FindConfig(ctx.String("config"))
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if ctx.Bool("debug") {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.getenv("JOURNAL_STREAM") != "" {
		// The journal has the time already.
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	o := host.Options{
		Config: file, Env: c.env, Version: c.version, Log: slog.New(slog.NewTextHandler(c.streams.Err, opts)),
		Program: find("prsync", c.getenv("PATH")),
	}
	if o.Program == "" {
		return errors.New("the program prsync is neither beside this one nor in $PATH; rsync connections need it")
	}
	if engine := find("prsync-engine", c.getenv("PATH")); engine != "" {
		o.Engine = []string{engine}
	} else if ctx.Command.Name == "volunteer" {
		o.Log.Warn("the program prsync-engine is neither beside this one nor in $PATH: nothing is seeded, only customers are served")
	}
	// What net/http has to say as a client is of no use to an operator.
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug).Writer())
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	o.Reload = hup
	running, stop := signal.NotifyContext(ctx.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A second signal does not wait for requests under way.
	context.AfterFunc(running, stop)
	return service(running, o)
}

// find returns the file of a program of ours: beside this one, in the bin
// directory of its prefix, in libexec, or in the search path.
func find(name, path string) string {
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		for _, d := range []string{dir, filepath.Join(dir, "../bin"), filepath.Join(dir, "../../bin"), filepath.Join(dir, "../libexec/prsync")} {
			f := filepath.Join(d, name)
			if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
				return f
			}
		}
	}
	for _, d := range filepath.SplitList(path) {
		if f, err := exec.LookPath(filepath.Join(d, name)); err == nil && filepath.IsAbs(f) {
			return f
		}
	}
	return ""
}

// load reads the configuration for a command that asks a running service.
func (c *commands) load(name string) (*conf.File, error) {
	file, err := host.FindConfig(name)
	if err != nil {
		return nil, err
	}
	return host.LoadConfig(file, c.env)
}
