package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

// acceptPause is how long the listener waits when it could not take or start a
// connection, most likely because the host is short of something.
const acceptPause = time.Second

const proxyWarning = `"proxy protocol = true" but "proxy protocol hosts" is unset: ` +
	`all connections will be rejected as untrusted proxy peers.  ` +
	`Set "proxy protocol hosts" to your trusted proxy's address.`

// Listen serves clients in the foreground until the context ends. When it
// accepts connections, it calls ready, if that is not nil, with the addresses.
// The returned error carries rsync's exit code; transfers that are under way
// go on.
func Listen(ctx context.Context, cfg Config, ready func([]net.Addr)) error {
	d := newDaemon(cfg)
	d.Env = unsetenv(d.Env, stageVar)
	return d.listen(ctx, ready)
}

func (d *daemon) listen(ctx context.Context, ready func([]net.Addr)) error {
	file, err := d.load()
	if err != nil {
		return exitcode.New(exitcode.Syntax, "Failed to parse config file: %w", err)
	}
	g := &file.Global
	if g.PIDFile != "" {
		pid, err := createPIDFile(g.PIDFile)
		if err != nil {
			return exitcode.New(exitcode.FileIO, "%w", err)
		}
		defer pid.remove()
	}
	d.log = openLog(d.logTarget(file.Defaults), d.Now, true)
	defer d.log.Close()
	d.warn(file)
	port := DefaultPort
	for _, p := range []int{g.Port, d.Port} {
		if p != 0 {
			port = p
		}
	}
	listeners := d.Listeners
	if len(listeners) == 0 {
		if listeners, err = d.bind(ctx, g, port); err != nil {
			return err
		}
	}
	d.log.Printf("rsyncd version %s starting, listening on port %d", d.Version, port)
	if ready != nil {
		var addrs []net.Addr
		for _, l := range listeners {
			addrs = append(addrs, l.Addr())
		}
		ready(addrs)
	}
	d.accept(ctx, listeners)
	return ended(d.log, context.Cause(ctx))
}

// ErrTerminated is the cause of a context that ends by SIGTERM. Without a
// transfer that is the ordinary end, which what supervises a daemon takes for no
// failure; a transfer that is cut off has failed.
var ErrTerminated = exitcode.Silent(exitcode.Signal)

// ended logs how a process has ended that transfers nothing, and returns its
// error (rsync 3.5.0 rsync.c:sig_int).
func ended(log *Log, cause error) error {
	if errors.Is(cause, ErrTerminated) {
		log.Printf("sent 0 bytes  received 0 bytes  total size 0")
		return nil
	}
	code := exitcode.Of(cause, exitcode.Signal)
	log.Errorf("%s", exitcode.Line(exitcode.Silent(code), code, unnamed, options.RsyncVersion))
	return exitcode.Silent(code)
}

// warn tells of lines in the configuration that have no effect, and of a
// setting that lets nobody in.
func (d *daemon) warn(file *conf.File) {
	for _, w := range file.Warnings {
		d.log.Errorf("%s", w)
	}
	if file.Global.ProxyProtocol && strings.TrimSpace(file.Global.ProxyProtocolHosts) == "" {
		fmt.Fprintln(d.Stderr, proxyWarning)
		d.log.Errorf("%s", proxyWarning)
	}
}

// bind opens a socket for each family on the address, or on all.
func (d *daemon) bind(ctx context.Context, g *conf.Global, port int) ([]net.Listener, error) {
	host, options := g.Address, g.SocketOptions
	if d.Address != "" {
		host = d.Address
	}
	if d.SocketOptions != "" {
		options = d.SocketOptions
	}
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		for _, err := range SetSocketOptions(c, options) {
			d.log.Errorf("%v", err)
		}
		return nil
	}}
	lc.SetMultipathTCP(false)
	var open []net.Listener
	var problems []error
	for _, network := range []string{"tcp4", "tcp6"} {
		if d.Family == IPv4 && network == "tcp6" || d.Family == IPv6 && network == "tcp4" {
			continue
		}
		l, err := lc.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if raw, err := l.(*net.TCPListener).SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { unix.Listen(int(fd), max(g.ListenBacklog, 1)) })
		}
		open = append(open, l)
	}
	if len(open) > 0 {
		return open, nil
	}
	for _, p := range problems {
		d.log.Errorf("bind() failed: %v", p)
	}
	return nil, exitcode.New(exitcode.SocketIO, "unable to bind any inbound sockets on port %d: %w", port, errors.Join(problems...))
}

// accept starts a process for every connection until the context ends.
func (d *daemon) accept(ctx context.Context, listeners []net.Listener) {
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		for _, l := range listeners {
			l.Close()
		}
	})
	defer stop()
	for _, l := range listeners {
		wg.Go(func() { d.acceptOn(ctx, l) })
	}
	if d.Hangup != nil {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-d.Hangup:
					d.reload()
				}
			}
		})
	}
	wg.Wait()
}

// reload checks the configuration, which every connection reads anew.
func (d *daemon) reload() {
	file, err := d.load()
	if err != nil {
		d.log.Errorf("the configuration cannot be read, new connections will fail: %v", err)
		return
	}
	d.warn(file)
	d.log.Printf("configuration %s checked: %d modules", file.Path, len(file.Modules))
}

func (d *daemon) acceptOn(ctx context.Context, l net.Listener) {
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if err == nil {
			err = d.spawn(conn)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		d.log.Errorf("could not create child server process: %v", err)
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
}

// spawn gives a connection to a new process.
func (d *daemon) spawn(conn net.Conn) error {
	defer conn.Close()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("a connection from %v is not TCP", conn.RemoteAddr())
	}
	f, err := tcp.File()
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := d.self(stageConnection, nil)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	// The process is waited for whenever it ends, which may be after the
	// listener: nobody else would.
	go cmd.Wait()
	return nil
}

// detach starts the listener as a process without a terminal, and returns when
// that accepts connections, or with what keeps it from doing so.
func (d *daemon) detach() error {
	if file, err := d.load(); err != nil {
		return exitcode.New(exitcode.Syntax, "Failed to parse config file: %w", err)
	} else if file.Global.ProxyProtocol && strings.TrimSpace(file.Global.ProxyProtocolHosts) == "" {
		fmt.Fprintln(d.Stderr, proxyWarning)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return exitcode.New(exitcode.IPC, "cannot start the daemon: %w", err)
	}
	defer r.Close()
	cmd := d.self(stageDetached, w)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return exitcode.New(exitcode.IPC, "failed to start the daemon: %w", err)
	}
	report, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if string(report) == detachedReady {
		return cmd.Process.Release()
	}
	err = errors.Join(err, cmd.Wait())
	code := exitcode.FileIO
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() > 0 {
		code = exitcode.Code(cmd.ProcessState.ExitCode())
	}
	if len(report) > 0 {
		return exitcode.New(code, "%s", report)
	}
	return exitcode.New(code, "the daemon ended while it was starting: %w", err)
}

// detachedReady is what a detached listener reports when it accepts.
const detachedReady = "ready"

// listenDetached is the listener that detach starts.
func (d *daemon) listenDetached(ctx context.Context) error {
	report := inheritedPipe("report")
	d.Stderr = io.Discard
	once := sync.OnceFunc(func() { report.Close() })
	defer once()
	err := d.listen(ctx, func([]net.Addr) {
		io.WriteString(report, detachedReady)
		once()
	})
	var e *exitcode.Error
	if errors.As(err, &e) && e.Err != nil {
		io.WriteString(report, e.Err.Error())
		return exitcode.Silent(e.Code)
	}
	return err
}
