package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/charset"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
)

// mungedDir must not exist where symlinks are munged by naming it.
const mungedDir = "/rsyncd-munged"

// modulePath is where a module is, before and after the change of root.
type modulePath struct {
	chroot bool
	// outer is the directory to make the root, or to go to without one.
	outer string
	// inner is the module's directory in the new root, "/" for all of it.
	inner string
	// full is the module's directory as seen before.
	full string
	// tested says that a change of root has been tried and works.
	tested bool
}

// locate says where a module is (rsync 3.5.0 clientserver.c:rsync_module).
func locate(m *conf.Module, canChroot func() error, log *Log) (modulePath, error) {
	outer, inner, split := strings.Cut(m.Path, "/./")
	p := modulePath{chroot: m.UseChroot.Or(true)}
	if m.UseChroot == conf.Unset && !split {
		if err := canChroot(); err != nil {
			reason, _, _ := strings.Cut(errText(err), " (") // here without its number
			log.Printf("chroot test failed: %s. Switching 'use chroot' from unset to false.", reason)
			p.chroot = false
		} else {
			p.tested = true
		}
	}
	var err error
	if p.full, err = filepath.Abs(m.Path); err != nil {
		return p, err
	}
	switch {
	case !p.chroot:
		p.outer, p.inner = p.full, p.full
	case split:
		if p.outer, err = filepath.Abs(outer + "/"); err != nil {
			return p, err
		}
		p.inner = filepath.Clean("/" + inner)
	default:
		p.outer, p.inner = p.full, "/"
	}
	return p, nil
}

// serveModule does everything between authentication and the engine.
func (c *connection) serveModule(ctx context.Context, raw *conf.Module, user string, readOnly bool) error {
	c.setVar("RSYNC_USER_NAME", user)
	m, err := raw.Expand(c.d.lookup)
	if err != nil {
		return c.refuse(exitcode.Syntax, "%v", err)
	}
	root := os.Getuid() == 0
	id, problem, err := moduleIdentity(m, root, c.d.Users)
	if err != nil {
		c.log.Printf("%v", err)
		return c.refuse(exitcode.Syntax, "%s", problem)
	}
	if m.Path == "" {
		c.log.Printf("No path specified for module %s", m.Name)
		return c.refuse(exitcode.Syntax, "no path setting.")
	}
	where, err := locate(m, func() error { return unix.Chroot("/") }, c.log)
	if err != nil {
		c.log.Printf("normalize_path(%s) failed: %v", m.Path, err)
		return c.refuse(exitcode.FileSelect, "chdir failed")
	}
	if where.tested { // hooks find themselves there
		if c.cwd, err = os.Getwd(); err != nil {
			c.log.Errorf("getcwd(): %s", errText(err))
		}
		if err := unix.Chdir("/"); err != nil {
			c.log.Errorf("rsync: ["+unnamed+"] chdir(\"/\") failed: %s", errText(err))
		}
	}
	c.setVar("RSYNC_MODULE_PATH", where.full)
	if m, err = raw.Expand(c.d.lookup); err != nil {
		return c.refuse(exitcode.Syntax, "%v", err)
	}
	s := &Session{
		Module: m, Global: &c.file.Global, Protocol: c.protocol, In: c.in, Out: c.out, Reader: c.reader, RemoteShell: c.shell,
		Addr: c.addr, Host: c.host, User: user, ReadOnly: readOnly,
		Dir: where.inner, FullPath: where.full, Inner: where.inner != "/",
		NumericIDs: numericIDs(m, where.chroot),
	}
	if s.Filter, err = c.filters(m); err != nil {
		code := exitcode.Of(err, exitcode.FileIO)
		for _, line := range []string{err.Error(), exitcode.Line(err, code, unnamed, options.RsyncVersion)} {
			c.log.Errorf("%s", line)
			if c.shell { // standard error is the client's
				fmt.Fprintln(c.d.Stderr, line)
			}
		}
		return c.refuse(code, "cannot read the filter rules of module %s", m.Name)
	}
	c.switchLog(m)
	s.Log = c.log
	if m.TransferLogging || c.d.LogFormat != "" {
		s.LogFormat = m.LogFormat
		if c.d.LogFormat != "" {
			s.LogFormat = c.d.LogFormat
		}
	}
	if !c.last { // the number by which hooks of one connection know each other
		c.setVar("RSYNC_PID", strconv.Itoa(os.Getpid()))
	}
	h, err := expandHooks(m, c.d.lookup)
	if err != nil {
		c.log.Errorf("%v", err)
		return c.refuse(exitcode.Unsupported, "daemon security issue -- contact admin")
	}
	if h.postXfer != "" && !c.last {
		return c.withPostXfer(h.postXfer, handoff{Module: raw.Name, Protocol: c.protocol, Addr: c.addr, Host: c.host,
			User: user, ReadOnly: readOnly, EarlyInput: c.earlyInput, Shell: c.shell})
	}
	pre, converter, err := c.startHooks(h)
	if err != nil {
		return err
	}
	for _, helper := range []*helper{pre, converter} {
		if helper != nil {
			defer helper.close()
		}
	}
	if c.d.Enter != nil {
		s.Entered = c.d.Enter(s)
	}
	if err := c.moveIn(s, where); err != nil {
		return err
	}
	defer s.Root.Close()
	if problem, err := id.assume(); err != nil {
		c.log.Errorf("%v", err)
		return c.refuse(exitcode.Syntax, "%s", problem)
	}
	if len(m.TempDir) >= 4096-10 {
		c.log.Printf("the 'temp dir' value for %s is WAY too long -- ignoring.", m.Name)
		m.TempDir = ""
	}
	c.limitHandshake(m.Timeout)
	c.printf("@RSYNCD: OK\n")
	early, err := c.readRequest(s)
	if err != nil {
		return err
	}
	c.unlimitHandshake()
	c.checkPaths(s)
	s.Env = requestEnv(c.d.Env, s.Paths, append(early, s.Args[min(1, len(s.Args)):]...))
	if pre != nil {
		if err := pre.finishPreXfer(h.preXfer, s.Env); err != nil {
			s.Err = err
		}
	}
	if converter != nil {
		if err := converter.become(h.nameConverter, s.Env); err != nil {
			return c.fail(exitcode.IPC, "name-converter exec preparation failed: %v", err)
		}
		s.Names = NewNameConverter(converter.stdin, converter.stdout, c.log.Errorf)
	}
	c.impose(s)
	c.logRequest(s)
	if !c.begin() {
		return context.Cause(ctx)
	}
	return c.d.Serve(ctx, s)
}

// numericIDs is the default of --numeric-ids: names are of no use in a chroot
// that nothing translates for.
func numericIDs(m *conf.Module, chroot bool) bool {
	if chroot {
		return m.NumericIDs != conf.No && m.NameConverter == ""
	}
	return m.NumericIDs == conf.Yes
}

// switchLog goes over to the module's log where that is another one.
func (c *connection) switchLog(m *conf.Module) {
	t := logTarget{file: m.LogFile, facility: m.SyslogFacility, tag: m.SyslogTag}
	if c.d.LogFile != "" {
		t.file = c.d.LogFile
	}
	if t == c.log.target || t.file != "" && t.file == c.log.target.file {
		return
	}
	c.log.Close()
	c.log = openLog(t, c.d.Now, false)
}

// withPostXfer lets another process serve the client and runs the post-xfer
// exec when it has ended.
func (c *connection) withPostXfer(command string, h handoff) error {
	c.unlimitHandshake()
	if !c.begin() {
		return exitcode.Silent(exitcode.Signal)
	}
	status, err := c.handOver(h)
	raw, code := int(status), -1
	switch {
	case err != nil:
		c.log.Errorf("cannot run the transfer of module %s in its own process: %v", h.Module, err)
		raw = -1
	case status.Exited():
		code = status.ExitStatus()
	}
	c.setVar("RSYNC_RAW_STATUS", strconv.Itoa(raw))
	c.setVar("RSYNC_EXIT_STATUS", strconv.Itoa(code))
	if _, err := runShell(command, c.d.Env, nil); err != nil {
		c.log.Errorf("post-xfer exec failed: %v", err)
	}
	if code != 0 {
		return exitcode.Silent(exitcode.Code(max(code, 1)))
	}
	return nil
}

// startHooks runs the early exec, and starts the processes that will become
// the pre-xfer exec and the name converter once the request is known.
func (c *connection) startHooks(h hooks) (pre, converter *helper, err error) {
	if h.early != "" {
		status, err := runShell(h.early, requestEnv(c.d.Env, "", nil), c.earlyInput)
		if err != nil || !status.Exited() || status.ExitStatus() != 0 {
			c.log.Errorf("early exec failed")
			return nil, nil, c.refuse(exitcode.Unsupported, "early exec failed")
		}
	}
	if h.preXfer != "" {
		if pre, err = c.d.startHelper(false, true); err != nil {
			c.log.Errorf("pre-xfer exec preparation failed: %v", err)
			return nil, nil, c.refuse(exitcode.IPC, "pre-xfer exec preparation failed")
		}
	}
	if h.nameConverter != "" {
		if converter, err = c.d.startHelper(true, true); err != nil {
			if pre != nil {
				pre.close()
			}
			c.log.Errorf("name-converter exec preparation failed: %v", err)
			return nil, nil, c.refuse(exitcode.IPC, "name-converter exec preparation failed")
		}
	}
	return pre, converter, nil
}

// moveIn makes the module the root of the file system or goes to it, and pins
// its directory while the process may still reach it.
func (c *connection) moveIn(s *Session, where modulePath) error {
	failed := func(dir string, err error) error {
		c.log.Errorf("rsync: ["+unnamed+"] chdir %s failed: %s", dir, errText(err))
		return c.refuse(exitcode.FileSelect, "chdir failed")
	}
	policy := fsroot.Policy{InsecureLinks: s.Module.InsecureLinks}
	dir := where.outer
	if where.chroot {
		outer, err := fsroot.Open(where.outer, policy)
		if err == nil {
			err = errors.Join(unix.Fchdir(outer.Fd()), outer.Close())
		}
		if err == nil {
			err = unix.Chroot(".")
		}
		if err != nil {
			c.log.Errorf("rsync: ["+unnamed+"] chroot(%q) failed: %s", where.outer, errText(err))
			return c.refuse(exitcode.FileSelect, "chroot failed")
		}
		s.Chrooted, dir = true, where.inner
	}
	var err error
	s.SecureLinks = (!s.Chrooted || s.Inner) && !s.Module.InsecureLinks
	policy.FollowDirLinks, policy.Confine = true, s.SecureLinks
	if s.Root, err = fsroot.Open(dir, policy); err != nil {
		return failed(dir, err)
	}
	if err := unix.Fchdir(s.Root.Fd()); err != nil {
		return failed(dir, err)
	}
	s.MungeLinks = s.Module.MungeSymlinks.Or(!s.Chrooted || s.Inner)
	if st, err := os.Stat(mungedDir); s.MungeLinks && err == nil && st.IsDir() {
		c.log.Printf("Symlink munging is unsafe when a %s directory exists.", mungedDir)
		return c.refuse(exitcode.Unsupported, "daemon security issue -- contact admin")
	}
	return nil
}

// readRequest reads and parses the arguments, twice when they are secluded. It
// returns the arguments for the environment of hooks that came before s.Args.
func (c *connection) readRequest(s *Session) (early []string, err error) {
	g := &globber{fs: rootFS{s.Root}, excluded: excluder(s.Filter), sanitize: s.Inner}
	r := &argReader{in: c.reader, module: s.Module.Name, nulls: c.protocol >= 30, expand: g.expand}
	if s.Args, s.Paths, err = r.read(); err != nil {
		return nil, c.badRequest(err)
	}
	early = s.Args[:1:1]
	c.parse(s, s.Args[1:], false)
	if !s.Options.SecludedArgs || s.Err != nil {
		return early, nil
	}
	early = s.Args
	r.nulls, r.secluded = true, true
	if s.Module.Charset != "" {
		set, err := c.charset(s.Module)
		if err != nil {
			return nil, err
		}
		r.convert = set.Encode
	}
	if s.Args, s.Paths, err = r.read(); err != nil {
		return nil, c.badRequest(err)
	}
	if len(s.Args) == 0 {
		s.Args = []string{"rsyncd"}
	}
	exposed := len(s.Operands)
	c.parse(s, append(early[1:len(early):len(early)], s.Args[1:]...), true)
	if s.Err == nil { // rsync below protocol 30 sends its paths openly too, where they do not count
		s.Operands = s.Operands[exposed:]
	}
	return early, nil
}

// charset finds the character set of a module, and says in the log when there
// is none of that name; "." is the locale's (rsync 3.5.0 rsync.c:setup_iconv).
func (c *connection) charset(m *conf.Module) (*charset.Set, error) {
	name := m.Charset
	if name == "." {
		name = string(report.LocaleCharset(func(v string) string { s, _ := c.d.lookup(v); return s }))
	}
	if name == "" {
		name = "ANSI_X3.4-1968"
	}
	set, err := charset.Lookup(name)
	if err != nil {
		c.log.Errorf("iconv_open(\"UTF-8\", \"%s\") failed", name)
		err = exitcode.New(exitcode.Unsupported, "iconv_open(%w)", err)
		c.log.Errorf("%s", exitcode.Line(err, exitcode.Unsupported, unnamed, options.RsyncVersion))
		return nil, exitcode.Silent(exitcode.Unsupported)
	}
	return set, nil
}

func (c *connection) badRequest(err error) error {
	switch {
	case errors.Is(err, errTooManyArgs), errors.Is(err, errTooManyHits):
		c.log.Errorf("%v", err)
		c.log.Errorf("rsync error: %s (code %d)", exitcode.Protocol.Text(), exitcode.Protocol)
		return exitcode.Silent(exitcode.Protocol)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.log.Printf("the client %s (%s) went away before its arguments were read", c.host, c.addr)
	}
	return c.lost(err)
}
