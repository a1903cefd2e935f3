package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/host/statedir"
)

// Published is what "prsync publish" reports.
type Published struct {
	Module     string `json:"module"`
	Generation int64  `json:"generation"`
	Changed    bool   `json:"changed"` // false: the tree was as published before
	Files      int    `json:"files"`
	Bytes      int64  `json:"bytes"`
	Added      int    `json:"added"`   // contents
	Dropped    int    `json:"dropped"` // contents
	ReadBytes  int64  `json:"read_bytes"`
	Skipped    int    `json:"skipped"` // paths that could not be read
	Error      string `json:"error,omitempty"`
}

// maxSocketPath is how long the path of a unix socket may be, unix(7).
const maxSocketPath = 107

// listenControl takes the control socket, in the place of one that a killed
// host left behind.
func listenControl(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf(`%s: the path of a socket has at most %d bytes; set "state dir" to a shorter one`, path, maxSocketPath)
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, dialErr := net.Dial("unix", path); dialErr == nil {
			c.Close()
			return nil, exitcode.New(exitcode.SocketIO, `another "prsync serve" runs with this state directory (%s answers)`, path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		l, err = net.Listen("unix", path)
	}
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			l.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// serveControl answers at the control socket until ctx ends.
func (c *central) serveControl(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /publish", c.servePublish)
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(c.o.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return context.Cause(ctx)
}

func (c *central) servePublish(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("module")
	p := Published{Module: name}
	code := http.StatusOK
	m := c.ms.get(name)
	switch {
	case m != nil:
		g, err := m.scan(r.Context())
		if err != nil {
			code, p.Error = http.StatusInternalServerError, err.Error()
			break
		}
		p.Generation, p.Changed, p.Files, p.Bytes = g.Number, g.Changed, g.Entries, g.Bytes
		p.Added, p.Dropped, p.ReadBytes, p.Skipped = g.Added, g.Dropped, g.ReadBytes, g.NumSkipped
	case c.ms.set.Load().file.Module(name) != nil:
		code, p.Error = http.StatusNotFound, fmt.Sprintf(`module %s is not published: a module with auth users, hosts allow or hosts deny takes "swarm = yes"`, name)
	default:
		code, p.Error = http.StatusNotFound, fmt.Sprintf("no module %q; published are: %s", name, strings.Join(c.ms.set.Load().names, ", "))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(p)
}

// Publish asks the running central host of a state directory to index a module
// now, and returns when the generation is visible.
func Publish(ctx context.Context, stateDir, module string) (*Published, error) {
	path := statedir.Control(stateDir)
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://control/publish?module="+url.QueryEscape(module), nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, exitcode.New(exitcode.SocketIO, `no "prsync serve" runs with the state directory %s; start it, or name its configuration with --config`, stateDir)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s may be used by the user that runs \"prsync serve\" and by root only", path)
	case err != nil:
		return nil, fmt.Errorf("publish: %w", err)
	}
	defer resp.Body.Close()
	var p Published
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&p); err != nil {
		return nil, exitcode.New(exitcode.SocketIO, "publish: the host ended before the module was visible: %w", err)
	}
	if p.Error != "" {
		return nil, errors.New(p.Error)
	}
	return &p, nil
}
