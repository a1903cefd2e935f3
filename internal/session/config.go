package session

import (
	"io"
	"path"

	"github.com/prsync/prsync/internal/delta"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/filter/wildmatch"
	"github.com/prsync/prsync/internal/locale"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"github.com/prsync/prsync/internal/transfer"
	"golang.org/x/time/rate"
)

// NewLog returns the log of what a program says outside of a session: before one
// begins, or in place of one. line is Params.LogLine.
func NewLog(o *options.Options, env *Env, line func(report.Code, string)) *report.Log {
	cfg := logConfig(o, env)
	cfg.LogLine = line
	return report.New(cfg)
}

func logConfig(o *options.Options, env *Env) report.Config {
	return report.Config{
		Stderr: report.StderrMode(o.Stderr), Quiet: o.Quiet > 0, EightBit: o.EightBit, Info: o.Info, Debug: o.Debug,
		Charset: report.LocaleCharset(env.Getenv), Out: env.Out, Err: env.Err,
		Numbers: report.LocaleNumbers(func() string { return locale.DecimalPoint(env.Getenv) }),
	}
}

func (s *side) newLog() *report.Log {
	p := s.p
	cfg := logConfig(s.o, &p.Env)
	cfg.Server, cfg.Daemon = p.Server, p.Module != nil
	if m := p.Module; m != nil && !m.RemoteShell {
		cfg.Stderr = report.StderrClient // a daemon has no standard error
	}
	cfg.LogLine = p.LogLine
	if p.local && p.Server {
		cfg.LogLine = nil // the client writes it
	}
	if p.Module != nil {
		cfg.LogLine = p.Module.LogLine
	}
	if s.charset != nil {
		cfg.Convert = s.charset.Encode
	}
	l := report.New(cfg)
	if p.Server {
		l.SendTo(func(code report.Code, text string) bool { return s.tell(code, text, false) })
	}
	return l
}

// tell sends a message to the client. rsync 3.5.0 log.c:rwrite.
func (s *side) tell(code report.Code, text string, inOrder bool) bool {
	if !s.w.Muxed() {
		return false
	}
	if s.charset != nil && code != report.ErrorUTF8 {
		text = s.charset.Decode(text)
	}
	if code == report.ErrorUTF8 {
		code = report.Error
	}
	if s.setup != nil && s.setup.Protocol < 30 {
		switch code {
		case report.Error:
			code = report.ErrorXfer
		case report.Warning:
			code = report.Info
		}
	}
	if inOrder {
		s.w.MsgInOrder(wire.Msg(code), []byte(text))
	} else {
		s.w.Msg(wire.Msg(code), []byte(text))
	}
	return true
}

func (s *side) names() meta.NameSource { return s.p.Env.Names }

// privilege is how far we act as root. rsync: am_root.
func privilege(o *options.Options, euid uint32) meta.Privilege {
	switch {
	case o.FakeSuper:
		return meta.FakeSuper
	case o.Super:
		return meta.Super
	case o.NoSuper:
		return meta.Ordinary
	case euid == 0:
		return meta.Root
	}
	return meta.Ordinary
}

// config composes what does not depend on the negotiation.
func (s *side) config() (*transfer.Config, error) {
	o, p := s.o, s.p
	e := &p.Env
	c := &transfer.Config{
		R: s.r, W: s.w, Local: p.local, Ranges: p.ranges, Server: p.Server, Daemon: p.Module != nil,
		Log: s.log, Now: e.Now, Abort: s.breakOff, Cwd: e.Cwd,
		Privilege: privilege(o, e.EUID), EUID: e.EUID, Umask: e.Umask, Names: e.Names, NumericIDs: o.NumericIDs,
		Recurse: o.Recurse, Dirs: o.Dirs || o.Recurse, Relative: o.Relative, ImpliedDirs: o.ImpliedDirs,
		OneFileSystem: o.OneFileSystem, Links: o.Links, CopyLinks: o.CopyLinks, CopyUnsafe: o.CopyUnsafeLinks,
		CopyDirlinks: o.CopyDirlinks, SafeLinks: o.SafeLinks, MungeLinks: o.MungeLinks, KeepDirlinks: o.KeepDirlinks,
		HardLinks: o.HardLinks > 0, Perms: o.Perms, Executability: o.Executability, ACLs: o.ACLs, Xattrs: o.Xattrs,
		Owner: o.Owner, Group: o.Group, Devices: o.Devices, Specials: o.Specials, CopyDevices: o.CopyDevices,
		WriteDevices: o.WriteDevices, DropDevices: o.DropD, Times: o.Times, Atimes: o.Atimes > 0, OpenNoatime: o.OpenNoatime,
		OmitDirTimes: o.OmitDirTimes, OmitLinkTimes: o.OmitLinkTimes, PruneEmptyDirs: o.PruneEmptyDirs,
		Checksum: o.Checksum, IgnoreTimes: o.IgnoreTimes, SizeOnly: o.SizeOnly, ModifyWindow: o.ModifyWindow,
		Update: o.Update, Existing: o.Existing, IgnoreExisting: o.IgnoreExisting, MaxSize: o.MaxSize, MinSize: o.MinSize,
		BlockSize: int32(o.BlockSize), Inplace: o.Inplace, Append: delta.Append(o.Append), Sparse: o.Sparse,
		Preallocate: o.Preallocate, Fsync: o.Fsync, Fuzzy: o.Fuzzy, Partial: o.Partial, PartialDir: o.PartialDir,
		DelayUpdates: o.DelayUpdates, TempDir: o.TempDir, Backup: o.Backup, BackupDir: o.BackupDir, Suffix: o.Suffix,
		Mkpath: o.Mkpath, DeleteExcluded: o.DeleteExcluded, Force: o.Force, MaxDelete: o.MaxDelete,
		IgnoreErrors: o.IgnoreErrors, DryRun: o.DryRun || o.Batch == options.BatchOnlyWrite, ListOnly: o.ListOnly, MaxAlloc: o.MaxAlloc, PID: e.PID,
		RemoveSource: o.RemoveSourceFiles && !o.RemoveSentFiles, RemoveSent: o.RemoveSentFiles,
		ReadBatch: o.Batch == options.BatchRead, OnlyBatch: o.Batch == options.BatchOnlyWrite,
		OutItemize: o.OutItemize, LogBefore: o.LogBeforeTransfer && !p.Server, Human: o.HumanReadable,
		InsecureLinks: s.insecureLinks(), ConfineRoot: o.ConfineRoot, Implied: p.Implied, TrustFilter: o.TrustSenderFilter || p.local || !p.Server && p.Sender,
		Unsorted: o.Iconv != "",
	}
	if s.charset != nil {
		c.NameToWire, c.NameFromWire = s.charset.ToUTF8, s.charset.FromUTF8
	}
	if o.IgnoreMissingArgs {
		c.MissingArgs = 1
	}
	if o.DeleteMissingArgs {
		c.MissingArgs = 2
	}
	for _, spec := range o.Chmod {
		m, err := meta.ParseChmod(spec, e.Umask)
		if err != nil {
			return nil, exitcode.New(exitcode.Syntax, "Invalid argument passed to --chmod (%s)", spec)
		}
		c.Chmod = append(c.Chmod, m...)
	}
	for _, d := range o.AltDests {
		c.AltKind = transfer.DestKind(d.Kind)
		c.AltDests = append(c.AltDests, d.Dir)
	}
	c.IDs = meta.IDMapOptions{UserMap: o.Usermap, GroupMap: o.Groupmap, Privilege: c.Privilege}
	if o.NumericIDs {
		c.IDs.NumericIDs = meta.NumericOnly
	}
	c.OpenDir, c.OpenParent, c.OpenFilter, c.MakePath = s.openDir, s.openParent, s.openFilter, s.makePath
	if m := p.Module; m != nil {
		c.Module, c.Top = m.Name, m.Top
		if !m.Filters.Empty() {
			c.DaemonFilters = m.Filters
		}
		c.Sanitize, c.Confine = m.Sanitize, m.Confine
		if m.Sanitize {
			// Unlike those of --link-dest, these do not count from the
			// destination where they begin with "..".
			c.BackupDir, c.TempDir = sanitizeDir(c.BackupDir), sanitizeDir(c.TempDir)
		}
		c.DaemonChmod, c.IgnoreNonreadable = m.Chmod, m.IgnoreNonreadable
		c.MungeLinks = m.MungeLinks
		c.LogFormat = m.LogFormat
		c.Cwd = "/"
		if m.NumericIDs && !o.NumericIDs {
			c.IDs.NumericIDs = meta.IgnoreNames
		}
	}
	if p.Server {
		c.TellInOrder = func(code report.Code, text string) bool { return s.tell(code, text, true) }
	}
	if o.OutFormatSet {
		c.Out = &report.Line{Format: o.OutFormat}
	}
	if p.LogLine != nil && o.LogFile != "" && !(p.local && p.Server) {
		c.LogFormat = &report.Line{Format: o.LogFileFormat}
	}
	if err := s.filters(c); err != nil {
		return nil, err
	}
	// A server that a remote shell runs opens it before it says anything; a
	// daemon can only tell its client later.
	own := !o.FilesFromRemote
	if p.Server {
		own = o.FilesFrom != "-" && p.Module == nil
	}
	if own && p.Sender && o.FilesFrom != "" {
		s.c = c
		if err := s.openNames(); err != nil {
			return nil, err
		}
	}
	if !p.Server {
		c.Progress = report.NewProgress(s.log, o.HumanReadable, e.Now, e.AskProgress)
		c.Progress.Foreground = e.Foreground
	}
	if o.SkipCompressSet || o.Compress {
		var list compress.SkipList
		if o.SkipCompressSet {
			list.AddSuffixes(o.SkipCompress)
		} else {
			list.AddSuffixes(compress.DefaultSkip)
		}
		if p.Module != nil && p.Module.NoCompress {
			list.AddPatterns("*", wildmatch.Match)
		}
		c.SkipCompress = list.Match
	}
	return c, nil
}

// filters builds the list of rules of this side.
func (s *side) filters(c *transfer.Config) error {
	o, p := s.o, s.p
	who := "client"
	if p.Server {
		who = "server"
	}
	fc := filter.Config{
		Who: who, Dir: c.Cwd, EOLNulls: o.From0, DeleteExcluded: o.DeleteExcluded, Sanitize: c.Sanitize,
		Protocol: o.Protocol, Open: s.openFilter, Daemon: c.DaemonFilters,
		Warn:       func(format string, a ...any) { s.log.Printf(report.Error, format+"\n", a...) },
		Debug:      func(format string, a ...any) { s.log.Printf(report.Info, format+"\n", a...) },
		DebugLevel: int(o.Debug[report.DebugFilter]),
		CVSIgnore:  p.Env.Getenv("CVSIGNORE"),
	}
	if p.Module != nil {
		fc.Top = p.Module.Top
	}
	if p.Env.Home != "" && p.Module == nil {
		fc.HomeCVSIgnore = path.Join(p.Env.Home, ".cvsignore")
	}
	c.Filters = filter.New(fc)
	if p.Server && p.local {
		return nil // gets a copy of the client's
	}
	if !p.Server && p.rules != nil {
		c.Filters = p.rules
		return nil
	}
	for _, f := range o.FilterRules {
		kind := filter.Filter
		switch f.Kind {
		case options.FilterExclude:
			kind = filter.ExcludeRule
		case options.FilterInclude:
			kind = filter.IncludeRule
		case options.FilterExcludeFrom:
			kind = filter.ExcludeFrom
		case options.FilterIncludeFrom:
			kind = filter.IncludeFrom
		case options.FilterPerDir, options.FilterPerDirHide:
			kind = filter.PerDirFilter
		}
		if err := c.Filters.AddArg(kind, f.Arg); err != nil {
			return err
		}
	}
	return nil
}

// finishConfig adds what the negotiation decided.
func (s *side) finishConfig() error {
	o, p, c, st := s.o, s.p, s.c, s.setup
	c.Setup = st
	proto := st.Protocol
	if m := p.Module; p.Server && proto <= 28 && o.Stderr == options.StderrErrors && (m == nil || m.RemoteShell) {
		// rsync 3.5.0 compat.c:setup_protocol: the client may show no standard
		// error of ours.
		s.log.Config().Stderr = report.StderrClient
	}
	c.IDs.NoID0Names = !st.ID0Names
	c.LinkIconv = st.LinkIconv
	switch o.Delete {
	case options.DeleteNone:
		c.Delete = transfer.DeleteNever
	case options.DeleteAuto:
		c.Delete = transfer.DeleteDuring
		if proto < 30 {
			c.Delete = transfer.DeleteBefore
		}
	case options.DeleteBefore:
		c.Delete = transfer.DeleteBefore
	case options.DeleteDuring:
		c.Delete = transfer.DeleteDuring
	case options.DeleteDelay:
		c.Delete = transfer.DeleteDelay
	case options.DeleteAfter:
		c.Delete = transfer.DeleteAfter
	}
	if proto < 30 && c.Append == delta.AppendTail {
		c.Append = delta.AppendVerify
	}
	c.WholeFile = o.WholeFile == options.Yes || o.WholeFile == options.Default && p.local && o.Batch == options.BatchNone
	if c.Append != delta.AppendOff {
		c.WholeFile = false
	}
	if st.XferSum == checksum.None {
		c.WholeFile = true
	}
	level := compress.LevelUnset
	if o.CompressLevelSet {
		level = o.CompressLevel
	}
	choice, level := st.Compression.Resolve(level)
	c.Compress = compress.Config{Choice: choice, Level: level, Threads: o.CompressThreads, Protocol: proto}
	s.debugChoices()
	if o.Checksum && p.Sender && st.FileSum == checksum.None { // rsync meets it at the first file
		return exitcode.New(exitcode.Unsupported, "Invalid checksum-choice for --checksum: none (0)")
	}
	if choice != compress.None || c.ShowsSums() || o.Batch != options.BatchNone || o.Sparse || o.Bwlimit > 0 {
		c.Ranges = nil // the receiver, or the limit, has to see the bytes
	}
	for _, l := range []*report.Line{c.Out, c.LogFormat} {
		if l == nil {
			continue
		}
		l.Local, l.KeepTimes, l.LinkTimes = p.local, o.Times, st.LinkTimes
		l.SumLen = st.XferSum.Len()
		if o.Checksum {
			l.SumLen = st.FileSum.Len()
		}
		l.PID, l.Sender, l.Now, l.Numbers = p.Env.PID, p.Sender, p.Env.Now, s.log.Config().Numbers
	}
	if c.PartialDir != "" && !path.IsAbs(c.PartialDir) && (!p.Server || p.local) {
		if err := c.Filters.AddPartialDir(c.PartialDir, s.filterSession()); err != nil {
			return err
		}
	}
	s.r.OnMsg = s.message
	if p.Sender {
		s.r.BeforeBlock = func() { s.w.Flush() }
	} else if c.OutItemize > 0 || !s.log.Info(report.InfoName, 2) {
		// Otherwise the generator names entries itself, and rsync's order of
		// lines needs its requests held back as long as rsync does.
		s.r.BeforeBlock = func() { s.w.SetEager(true); s.w.Nudge() }
		s.r.AfterBlock = func() { s.w.SetEager(false) }
	}
	return nil
}

// debugChoices are the lines of --debug=NSTR.
func (s *side) debugChoices() {
	level, who := uint8(1), "Client"
	if s.p.Server {
		level, who = 3, "Server"
	}
	if !s.log.Debug(report.DebugNstr, level) {
		return
	}
	neg := func(b bool) string {
		if b {
			return " negotiated"
		}
		return ""
	}
	st, cc := s.setup, s.c.Compress
	if s.p.Server || s.log.Debug(report.DebugNstr, 2) {
		for _, line := range st.Lists {
			s.log.Printf(report.Info, "%s\n", line)
		}
	}
	sum := st.XferSum.Name()
	if !st.ChecksumNegotiated && s.o.ChecksumChoice != "" {
		sum = s.o.ChecksumChoice // as given: it may be two
	}
	s.log.Printf(report.Info, "%s%s checksum: %s\n", who, neg(st.ChecksumNegotiated), sum)
	if cc.Choice != compress.None || s.o.CompressLevelSet {
		s.log.Printf(report.Info, "%s%s compress: %s (level %d)\n", who, neg(st.CompressNegotiated), cc.Choice.Name(), cc.Level)
	}
}

// checkProtocol refuses options that the negotiated protocol cannot carry.
// rsync 3.5.0 compat.c:setup_protocol.
func (s *side) checkProtocol(proto int) error {
	o := s.o
	need := func(what string, v int) error {
		return exitcode.New(exitcode.Protocol, "%s requires protocol %d or higher (negotiated %d).", what, v, proto)
	}
	if proto < 30 && !s.p.local {
		if o.ACLs {
			return need("--acls", 30)
		}
		if o.Xattrs > 0 {
			return need("--xattrs", 30)
		}
	}
	if proto < 29 {
		alt := "--compare-dest"
		if len(o.AltDests) > 0 {
			switch o.AltDests[0].Kind {
			case options.CopyDest:
				alt = "--copy-dest"
			case options.LinkDest:
				alt = "--link-dest"
			}
		}
		switch {
		case o.Fuzzy > 0:
			return need("--fuzzy", 29)
		case len(o.AltDests) > 0 && o.Inplace:
			return need(alt+" with --inplace", 29)
		case len(o.AltDests) > 1:
			return need("Using more than one "+alt+" option", 29)
		case o.PruneEmptyDirs:
			return need("--prune-empty-dirs", 29)
		}
	}
	return nil
}

// Limit wraps a connection's writer so that it takes at most rate bytes per
// second (--bwlimit).
func Limit(w io.Writer, bytesPerSecond int64) io.Writer {
	if bytesPerSecond <= 0 {
		return w
	}
	burst := int(max(bytesPerSecond/8, 1024))
	return &limited{w: w, lim: rate.NewLimiter(rate.Limit(bytesPerSecond), burst), burst: burst}
}
