package hostcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/host"
	"github.com/prsync/prsync/internal/tracker/web"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

const (
	statusTimeout = 30 * time.Second
	maxStatus     = 64 << 20
	defaultURL    = "http://localhost:8080"
)

// status prints what a central host knows.
func (c *commands) status(ctx *cli.Context) error {
	if ctx.NArg() > 2 {
		return errors.New("status takes a URL and at most one MODULE/PATH")
	}
	base, err := c.statusURL(ctx.Args().First(), ctx.String("config"))
	if err != nil {
		return err
	}
	target := base + "/status.json"
	if q := ctx.Args().Get(1); q != "" {
		target += "?q=" + url.QueryEscape(q)
	}
	s, body, err := fetchStatus(ctx.Context, base, target)
	if err != nil {
		return err
	}
	if ctx.Bool("json") {
		_, err := c.streams.Out.Write(body)
		return err
	}
	width := ctx.Int("width")
	if width == 0 {
		width = columns(c.streams.Out)
	}
	return web.RenderStatus(c.streams.Out, s, width)
}

// statusURL is which host is meant.
func (c *commands) statusURL(arg, config string) (string, error) {
	if arg != "" {
		if !strings.Contains(arg, "://") {
			arg = "http://" + arg
		}
		u, err := url.Parse(arg)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", fmt.Errorf("%s is not an http or https URL", arg)
		}
		return strings.TrimRight(u.Scheme+"://"+u.Host+u.Path, "/"), nil
	}
	f, err := c.load(config)
	if err != nil {
		if config != "" {
			return "", err
		}
		return defaultURL, nil
	}
	g := &f.Global
	switch {
	case g.CentralURL != "":
		return g.CentralURL, nil
	case g.PublicURL != "":
		return g.PublicURL, nil
	case g.HTTPListen != "":
		name, port, err := net.SplitHostPort(g.HTTPListen)
		if err != nil {
			return "", fmt.Errorf("%s: http listen = %s: %w", f.Path, g.HTTPListen, err)
		}
		if ip := net.ParseIP(name); name == "" || ip != nil && ip.IsUnspecified() {
			name = "localhost"
		}
		scheme := "http://"
		if g.TLSCertificate != "" {
			scheme = "https://"
		}
		return scheme + net.JoinHostPort(name, port), nil
	}
	return defaultURL, nil
}

func fetchStatus(ctx context.Context, base, target string) (*web.Status, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, nil, exitcode.New(exitcode.SocketIO, "%s does not answer: %w; name the central host's URL", base, host.Hint(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", base, err)
	}
	var s web.Status
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &s) != nil {
		return nil, nil, fmt.Errorf("%s answers %s, but no status; is it the URL of a central host?", base, resp.Status)
	}
	return &s, body, nil
}

// columns is the width of the terminal, 0 for no terminal.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(ws.Col)
}

// publish asks the running host to index a module.
func (c *commands) publish(ctx *cli.Context) error {
	if ctx.NArg() != 1 {
		return errors.New("publish takes the name of one module: prsync publish [--config FILE] MODULE")
	}
	f, err := c.load(ctx.String("config"))
	if err != nil {
		return err
	}
	dir, err := host.StateDir(f, c.env)
	if err != nil {
		return err
	}
	running, stop := signal.NotifyContext(ctx.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p, err := host.Publish(running, dir, ctx.Args().First())
	if err != nil {
		return err
	}
	if ctx.Bool("json") {
		return json.NewEncoder(c.streams.Out).Encode(p)
	}
	state := "published"
	if !p.Changed {
		state = "unchanged"
	}
	fmt.Fprintf(c.streams.Out, "%s: generation %d %s, %s files, %s; %s new, %s gone, %s read\n", p.Module, p.Generation, state,
		web.Count(int64(p.Files)), web.Bytes(p.Bytes), contents(p.Added), contents(p.Dropped), web.Bytes(p.ReadBytes))
	if p.Skipped > 0 {
		fmt.Fprintf(c.streams.Err, "prsync: %d paths could not be read; the host's log names them\n", p.Skipped)
	}
	return nil
}

func contents(n int) string {
	if n == 1 {
		return "1 content"
	}
	return web.Count(int64(n)) + " contents"
}
