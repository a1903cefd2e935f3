package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto"
)

// maxProtocol is the highest version that the daemon offers.
const maxProtocol = 32

// handshakeLimit bounds what a client may take for each of its two parts of
// the exchange: greeting to authentication, and arguments.
const handshakeLimit = 60 * time.Second

// connection is one client, from its first byte to the engine.
type connection struct {
	d       *daemon
	in, out *os.File
	// reader is how to read from in.
	reader io.Reader
	shell  bool        // started by a remote shell: no address, no deadlines
	last   bool        // this process is the one that transfers
	cwd    string      // where the daemon was started, when the process is elsewhere
	busy   atomic.Bool // a signal is no longer untilSignal's to answer

	file *conf.File
	log  *Log

	addr, host string
	protocol   int
	theirs     rsyncproto.Greeting
	earlyInput []byte
}

// start reads the configuration and opens the log.
func (c *connection) start() error {
	var err error
	c.file, err = c.d.load()
	if err != nil {
		c.log = openLog(logTarget{file: c.d.LogFile, facility: 3 << 3, tag: "rsyncd"}, c.d.Now, false)
		c.log.Errorf("%v", err)
		return exitcode.New(exitcode.Syntax, "Failed to parse config file: %w", err)
	}
	c.log = openLog(c.d.logTarget(c.file.Defaults), c.d.Now, false)
	return nil
}

// logTarget says where a module logs.
func (d *daemon) logTarget(m *conf.Module) logTarget {
	t := logTarget{file: m.LogFile, facility: m.SyslogFacility, tag: m.SyslogTag}
	if d.LogFile != "" {
		t.file = d.LogFile
	}
	if s, err := conf.Expand(t.file, d.lookup); err == nil {
		t.file = s
	}
	if s, err := conf.Expand(t.tag, d.lookup); err == nil {
		t.tag = s
	}
	return t
}

// untilSignal serves the client. A signal that comes before a part which looks
// for signals itself ends the connection at once, whatever that waits for: the
// process is to end then, and what is left behind here with it.
func (c *connection) untilSignal(ctx context.Context, serve func(context.Context) error) error {
	if err := c.start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if !c.busy.CompareAndSwap(false, true) {
		return <-done
	}
	return ended(c.log, context.Cause(ctx))
}

// begin says that what follows looks for signals itself. It is false when one has
// come before: the process is ending.
func (c *connection) begin() bool { return c.busy.CompareAndSwap(false, true) }

// serve takes the client through the exchange
// (rsync 3.5.0 clientserver.c:start_daemon).
func (c *connection) serve(ctx context.Context) error {
	g := &c.file.Global
	c.limitHandshake(c.file.Defaults.Timeout)
	if c.shell {
		c.addr = shellAddr(c.d.lookup)
	}
	if c.addr == "" {
		c.addr = peerAddr(c.in)
	}
	if g.ProxyProtocol {
		if err := c.readProxy(ctx, g); err != nil {
			return err
		}
	}
	name := ""
	if c.wantsReverse() {
		// Before any chroot, where the resolver's files would be missing.
		name = c.access(ctx, nil).reverse(c.addr)
	}
	if err := c.confine(g); err != nil {
		return err
	}
	c.host = undeterminedHost
	if c.file.Defaults.ReverseLookup {
		c.host = name
	}
	c.log.Printf("connect from %s (%s)", c.host, c.addr)
	if !c.shell {
		setSocketOptions(c.in, "SO_KEEPALIVE")
	}
	if err := c.greet(g); err != nil {
		return err
	}
	m, err := c.selectModule()
	if m == nil {
		return err
	}
	return c.enter(ctx, m, name)
}

// readProxy replaces the address by the one that a trusted proxy tells.
func (c *connection) readProxy(ctx context.Context, g *conf.Global) error {
	if !c.access(ctx, nil).proxyTrusted(g.ProxyProtocolHosts, c.addr) {
		c.log.Printf("proxy protocol rejected from untrusted peer %s (%s)", undeterminedHost, c.addr)
		c.hangUp()
		return exitcode.Silent(exitcode.SocketIO)
	}
	addr, err := readProxyHeader(c.reader)
	if err != nil {
		if c.timedOut(err) {
			return exitcode.Silent(exitcode.Timeout)
		}
		c.log.Printf("proxy protocol header from %s rejected: %v", c.addr, err)
		c.hangUp()
		return exitcode.Silent(exitcode.SocketIO)
	}
	if addr.IsValid() {
		c.addr = addr.String()
	}
	return nil
}

// What a client that is sent away may still say, and how long.
const (
	hangUpLimit = 64 << 10
	hangUpTime  = time.Second
)

// hangUp ends a connection on which the client may have said what nobody has read.
// A close alone would reset it then: the client would meet an error of the
// connection, or the end of it, as the two happen to run.
func (c *connection) hangUp() {
	conn, err := c.in.SyscallConn()
	if c.shell || err != nil {
		return
	}
	conn.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	c.in.SetReadDeadline(time.Now().Add(hangUpTime))
	io.CopyN(io.Discard, c.in, hangUpLimit)
}

// access returns the rules of access of a module, or before there is one.
func (c *connection) access(ctx context.Context, m *conf.Module) *access {
	return &access{ctx: ctx, resolver: c.d.Resolver, forward: m != nil && m.ForwardLookup, log: c.log}
}

// wantsReverse reports whether the globals or any module ask for the name.
func (c *connection) wantsReverse() bool {
	if c.file.Defaults.ReverseLookup {
		return true
	}
	for _, m := range c.file.Modules {
		if m.ReverseLookup {
			return true
		}
	}
	return false
}

// confine applies daemon chroot, daemon gid and daemon uid.
func (c *connection) confine(g *conf.Global) error {
	if g.DaemonChroot != "" {
		if err := unix.Chroot(g.DaemonChroot); err != nil {
			return c.fail(exitcode.FileIO, "rsync: ["+unnamed+"] daemon chroot(\"%s\") failed: %s", g.DaemonChroot, errText(err))
		}
		if err := unix.Chdir("/"); err != nil {
			return c.fail(exitcode.FileIO, "rsync: ["+unnamed+"] daemon chdir(\"/\") failed: %s", errText(err))
		}
	}
	if g.DaemonGID != "" {
		gid, ok := parseID(g.DaemonGID, c.d.Users.GID)
		if !ok {
			return c.fail(exitcode.Syntax, "Invalid daemon gid: %s", g.DaemonGID)
		}
		if err := syscall.Setgid(gid); err != nil {
			return c.fail(exitcode.Syntax, "rsync: ["+unnamed+"] Unable to set group to daemon gid %d: %s", gid, errText(err))
		}
	}
	if g.DaemonUID != "" {
		uid, ok := parseID(g.DaemonUID, c.d.Users.UID)
		if !ok {
			return c.fail(exitcode.Syntax, "Invalid daemon uid: %s", g.DaemonUID)
		}
		if err := setUser(uid); err != nil {
			return c.fail(exitcode.Syntax, "rsync: ["+unnamed+"] Unable to set user to daemon uid %d: %s", uid, errText(err))
		}
	}
	return nil
}

// greet exchanges greetings and sends the message of the day.
func (c *connection) greet(g *conf.Global) error {
	ours := rsyncproto.Greeting{Protocol: c.d.Protocol, Digests: rsyncproto.AuthDigests()}
	c.printf("%s\n", ours)
	if g.MOTDFile != "" {
		if f, err := openOperatorFile(g.MOTDFile); err == nil {
			io.Copy(c.out, f)
			f.Close()
		}
		c.printf("\n")
	}
	line, err := rsyncproto.ReadLine(c.reader, rsyncproto.MaxGreetingLine)
	if err != nil {
		return c.lost(err)
	}
	theirs, err := rsyncproto.ParseGreeting(line)
	var omitted *rsyncproto.OmittedError
	switch {
	case errors.As(err, &omitted):
		c.printf("@ERROR: your client %v\n", omitted)
		return exitcode.Silent(exitcode.Protocol)
	case err != nil:
		c.printf("@ERROR: %v\n", err)
		return exitcode.Silent(exitcode.Protocol)
	}
	c.theirs, c.protocol = theirs, ours.Agree(theirs)
	return nil
}

// selectModule reads which module the client wants; nil when it wanted a list
// or gets none.
func (c *connection) selectModule() (*conf.Module, error) {
	line, err := rsyncproto.ReadLine(c.reader, rsyncproto.MaxGreetingLine)
	if err != nil {
		return nil, c.lost(err)
	}
	if size, ok := strings.CutPrefix(line, "#early_input="); ok {
		n, _, ok := rsyncproto.ScanNumber(size)
		if !ok || n <= 0 || n > rsyncproto.MaxEarlyInput {
			c.printf("@ERROR: invalid early_input length\n")
			return nil, exitcode.Silent(exitcode.Protocol)
		}
		c.earlyInput = make([]byte, n)
		if n, err := io.ReadFull(c.reader, c.earlyInput); err != nil {
			if c.timedOut(err) {
				return nil, exitcode.Silent(exitcode.Timeout)
			}
			c.log.Errorf("rsync: connection unexpectedly closed (%d bytes received so far) [%s]", n, unnamed)
			c.log.Errorf("%s", exitcode.Line(err, exitcode.StreamIO, unnamed, options.RsyncVersion))
			return nil, exitcode.Silent(exitcode.StreamIO)
		}
		if line, err = rsyncproto.ReadLine(c.reader, rsyncproto.MaxGreetingLine); err != nil {
			return nil, c.lost(err)
		}
	}
	switch {
	case line == "" || line == "#list":
		c.log.Printf("module-list request from %s (%s)", c.host, c.addr)
		c.list()
		return nil, nil
	case line[0] == '#':
		c.printf("@ERROR: Unknown command '%s'\n", line)
		return nil, exitcode.Silent(exitcode.Protocol)
	}
	m := c.file.Module(line)
	if m == nil {
		c.log.Printf("unknown module '%s' tried from %s (%s)", line, c.host, c.addr)
		c.printf("@ERROR: Unknown module '%s'\n", line)
		return nil, exitcode.Silent(exitcode.FileSelect)
	}
	return m, nil
}

// list sends the modules that want to be listed.
func (c *connection) list() {
	for _, m := range c.file.Modules {
		if !m.List {
			continue
		}
		comment, err := conf.Expand(m.Comment, c.d.lookup)
		if err != nil {
			comment = m.Comment
		}
		c.printf("%-15s\t%s\n", m.Name, comment)
	}
	if c.protocol >= 25 {
		c.printf("@RSYNCD: EXIT\n")
	}
}

// enter lets the client into a module: by its address, while there is room,
// and by its password. name is what reverse lookup found, "" when it was off.
func (c *connection) enter(ctx context.Context, raw *conf.Module, name string) error {
	if c.host == undeterminedHost && raw.ReverseLookup {
		c.host = name
	}
	c.setVar("RSYNC_MODULE_NAME", raw.Name)
	c.setVar("RSYNC_HOST_NAME", c.host)
	c.setVar("RSYNC_HOST_ADDR", c.addr)
	m, err := raw.Expand(c.d.lookup)
	if err != nil {
		return c.refuse(exitcode.Syntax, "%v", err)
	}
	if m.Charset != "" { // before all else, as in rsync: nobody gets in
		if _, err := c.charset(m); err != nil {
			return err
		}
	}
	if !c.access(ctx, m).allowed(m.HostsAllow, m.HostsDeny, c.addr, &c.host) {
		c.log.Printf("rsync denied on module %s from %s (%s)", m.Name, c.host, c.addr)
		if m.List {
			c.printf("@ERROR: access denied to %s from %s (%s)\n", m.Name, c.host, c.addr)
		} else {
			c.printf("@ERROR: Unknown module '%s'\n", m.Name)
		}
		return exitcode.Silent(exitcode.FileSelect)
	}
	if !c.shell {
		c.log.Printf("rsync allowed access on module %s from %s (%s)", m.Name, c.host, c.addr)
	}
	if m.MaxConnections != 0 {
		slot, err := claimSlot(m.LockFile, m.MaxConnections)
		switch {
		case err != nil:
			c.log.Printf("rsync: ["+unnamed+"] failed to open lock file %s: %s", m.LockFile, errText(err))
			return c.refuse(exitcode.FileIO, "failed to open lock file")
		case slot == nil:
			c.log.Printf("max connections (%d) reached", m.MaxConnections)
			c.printf("@ERROR: max connections (%d) reached -- try again later\n", m.MaxConnections)
			return exitcode.Silent(exitcode.SocketIO)
		}
		defer slot.Close()
	}
	c.limitHandshake(m.Timeout)
	user, readOnly, err := c.authenticate(m)
	var none *rsyncproto.NoAuthDigestError
	switch {
	case errors.As(err, &none):
		return exitcode.Silent(exitcode.Unsupported)
	case err != nil && !errors.Is(err, errAuth):
		return c.lost(err)
	case err != nil:
		return c.refuse(exitcode.StartClient, "auth failed on module %s", m.Name)
	}
	c.unlimitHandshake()
	return c.serveModule(ctx, raw, user, readOnly)
}

// limitHandshake starts the time that the client has for the next part; a
// timeout of the configuration can only shorten it.
func (c *connection) limitHandshake(timeout int) {
	if c.shell {
		return
	}
	limit := handshakeLimit
	if t := time.Duration(timeout) * time.Second; t > 0 && t < limit {
		limit = t
	}
	c.in.SetDeadline(time.Now().Add(limit))
}

func (c *connection) unlimitHandshake() {
	if !c.shell {
		c.in.SetDeadline(time.Time{})
	}
}

// timedOut reports whether the client ran out of time, and says so in the log.
func (c *connection) timedOut(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.log.Errorf("[receiver] daemon handshake timeout -- exiting")
	return true
}

// lost is the error of a client that went away, or is to go.
func (c *connection) lost(err error) error {
	if c.timedOut(err) {
		return exitcode.Silent(exitcode.Timeout)
	}
	return exitcode.Silent(exitcode.SocketIO)
}

func (c *connection) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// fail logs an error that the client is not told.
func (c *connection) fail(code exitcode.Code, format string, args ...any) error {
	c.log.Errorf(format, args...)
	return exitcode.Silent(code)
}

// refuse tells the client an error.
func (c *connection) refuse(code exitcode.Code, format string, args ...any) error {
	c.printf("@ERROR: "+format+"\n", args...)
	return exitcode.Silent(code)
}

// setVar sets a variable for references in parameters and for hooks.
func (c *connection) setVar(name, value string) { c.d.Env = setenv(c.d.Env, name, value) }
