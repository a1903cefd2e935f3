package daemon

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto"
)

// refusals returns what the module's clients may not ask for.
func (c *connection) refusals(m *conf.Module) *options.Refuse {
	words := strings.Fields(m.RefuseOptions)
	if m.Charset == "" {
		words = append(words, "iconv")
	}
	r, err := options.NewRefuse(words)
	if err != nil {
		c.log.Errorf("%v", err)
	}
	return r
}

// parse reads the arguments as a server's. Options that the module refuses are
// an error.
func (c *connection) parse(s *Session, args []string, secluded bool) {
	s.Options, s.Operands, s.Err = options.ParseServer(args, options.Env{
		Getenv:   func(name string) string { v, _ := c.d.lookup(name); return v },
		Now:      c.d.Now,
		Daemon:   true,
		Refuse:   c.refusals(s.Module),
		Secluded: secluded,
	})
	if s.Err != nil { // what was read by then decides how the client is told
		if s.Options == nil {
			s.Options = options.New()
		}
		s.Options.CapabilityString = strings.ReplaceAll(s.Options.CapabilityString, string(rsyncproto.OfferLetter), "")
		s.Options.Sender = slices.Contains(args, "--sender") // for the log
	}
}

// checkPaths rejects a request whose options name what the module hides: as an
// error in the options, and so before the module is found not to allow the
// direction (rsync 3.5.0 options.c:parse_arguments).
func (c *connection) checkPaths(s *Session) {
	o := s.Options
	if s.Err != nil || s.Filter == nil {
		return
	}
	named := []string{o.FilesFrom}
	if !o.Sender {
		named = []string{o.TempDir, o.BackupDir}
	}
	walk := s.Filter.Walk(filter.Root{Who: "server", Dir: "/"})
	for _, name := range named {
		if name != "" && name != "-" && walk.PathExcluded(strings.TrimPrefix(path.Join("/", name), "/")) {
			s.Err = exitcode.New(exitcode.Unsupported, "rsync: Your options have been rejected by the server.")
			return
		}
	}
}

// impose puts what the module says in place of what the client asked for
// (rsync 3.5.0 clientserver.c:rsync_module).
func (c *connection) impose(s *Session) {
	m, o := s.Module, s.Options
	if m.OpenNoatime != conf.Unset {
		o.OpenNoatime = m.OpenNoatime == conf.Yes
	}
	o.MungeLinks = s.MungeLinks
	o.IgnoreErrors = o.IgnoreErrors || m.IgnoreErrors
	o.Quiet = 0
	switch {
	case m.FakeSuper:
		o.FakeSuper, o.Xattrs = true, min(o.Xattrs, 1)
	case o.FakeSuper:
		// It is the module's to say, and the nearest that a client can have.
		o.FakeSuper, o.Super = false, true
	}
	if o.Batch == options.BatchOnlyWrite {
		o.DryRun = true
	}
	for _, dir := range []string{m.TempDir, c.d.TempDir} {
		if o.TempDir == "" {
			o.TempDir, m.TempDir = dir, dir
		}
	}
	if limit := c.d.Bwlimit; limit > 0 && (o.Bwlimit == 0 || o.Bwlimit > limit) {
		o.Bwlimit = limit
	}
	o.Timeout = int(s.Timeout(time.Duration(o.Timeout)*time.Second) / time.Second)
	s.Chmod = m.IncomingChmod
	if o.Sender {
		s.Chmod = m.OutgoingChmod
	}
	if s.Chmod != "" {
		o.Chmod = append(o.Chmod, s.Chmod)
	}
	o.LimitVerbosity(m.MaxVerbosity)
}

// Timeout returns the I/O timeout of the session, given what the client asked
// for (0 is none): the shorter of the two.
func (s *Session) Timeout(asked time.Duration) time.Duration {
	own := time.Duration(s.Module.Timeout) * time.Second
	if own > 0 && (asked <= 0 || own < asked) {
		return own
	}
	return asked
}

// Forbidden returns the error for a request in a direction that the module
// does not allow, to be sent once messages can be.
func (s *Session) Forbidden() error {
	switch {
	case s.Options.Sender && s.Module.WriteOnly:
		return exitcode.New(exitcode.Syntax, "ERROR: module is write only")
	case !s.Options.Sender && s.ReadOnly:
		return exitcode.New(exitcode.Syntax, "ERROR: module is read only")
	}
	return nil
}

// logRequest says who asked for what.
func (c *connection) logRequest(s *Session) {
	if s.Paths == "" {
		return
	}
	direction, who := "to", ""
	if s.Options.Sender {
		direction = "on"
	}
	if s.User != "" {
		who = s.User + "@"
	}
	c.log.Printf("rsync %s %s from %s%s (%s)", direction, s.Paths, who, s.Host, s.Addr)
}

// unnamed is what a process of a daemon calls itself before it knows its role.
const unnamed = "Receiver"

// filters reads the rules that hide files of a module. Their files are the
// operator's and may be anywhere; it is called before any chroot.
func (c *connection) filters(m *conf.Module) (*filter.List, error) {
	return filter.ParseDaemon(filter.Config{
		Who: unnamed, Dir: "/", Open: openRules, Warn: c.log.Errorf,
	}, filter.DaemonRules{Filter: m.Filter, IncludeFrom: m.IncludeFrom, Include: m.Include, ExcludeFrom: m.ExcludeFrom, Exclude: m.Exclude})
}
