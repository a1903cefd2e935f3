package options

import (
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
)

// finish works out implications and conflicts, in the order in which rsync
// 3.5.0 options.c:parse_arguments does, because the first conflict names the
// error. It returns the operands.
func (p *parser) finish(operands []string) ([]string, error) {
	if p.versions > 0 {
		p.o.Action = ActionVersion
		if p.versions > 1 && !p.o.Server {
			p.o.Action = ActionVersionJSON
		}
		return nil, nil
	}
	for _, step := range []func() error{
		p.finishMaxAlloc, p.finishArgStyle, p.finishChecksum,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if p.o.HumanReadable > 1 && p.argc == 1 && !p.o.Server {
		p.o.Action = ActionHelp
		return nil, nil
	}
	for _, step := range []func() error{
		p.finishCompress, p.finishOutbuf, p.finishLevels, p.finishIconv,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.finishEnvironment()
	if p.o.Fuzzy > 1 {
		p.o.Fuzzy = len(p.o.AltDests) + 1
	}
	if p.o.Server && p.o.SecludedArgs && !p.env.Secluded {
		return operands, nil // the rest is still to come
	}
	for _, step := range []func() error{
		p.finishBatch, func() error { return p.finishSelection(operands) },
		p.finishDelete, p.finishConfine, p.finishBackup, p.finishOutput, p.finishWriting,
		func() error { return p.finishFilesFrom(operands) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p.finishTrust()
	p.o.told.usermap, p.o.told.groupmap = p.usermap != nowhere, p.groupmap != nowhere
	p.o.told.tempDir = p.wasGiven("temp-dir")
	p.o.CopyAsSet, p.o.PasswordSet = p.wasGiven("copy-as"), p.wasGiven("password-file")
	if len(operands) == 0 && !p.env.Daemon {
		return nil, usageError(exitcode.AtNoOperands, "Receiver")
	}
	return operands, nil
}

// EmptyValues refuses, for a receiving side, the options that need a value and
// were given an empty one.
func (o *Options) EmptyValues() error {
	switch {
	case o.told.tempDir && o.TempDir == "":
		return exitcode.New(exitcode.Syntax, "The temp-dir does not exist: ").Placed(exitcode.AtTempMissing)
	case o.told.usermap && o.Usermap == "":
		return exitcode.New(exitcode.Syntax, "No colon found in --usermap: ")
	case o.told.groupmap && o.Groupmap == "":
		return exitcode.New(exitcode.Syntax, "No colon found in --groupmap: ")
	}
	return nil
}

func (p *parser) finishMaxAlloc() error {
	arg := p.maxAlloc
	if !p.wasGiven("max-alloc") {
		if arg = p.env.getenv("RSYNC_MAX_ALLOC"); arg == "" {
			return nil
		}
	}
	n, err := ParseSize(arg, "max-alloc", SizeLimits{Unit: 'B', Min: 1 << 20, Max: -1, ZeroUnlimited: true, Numbers: p.numbers})
	if err != nil {
		return p.fail("%v", err)
	}
	if n == 0 {
		return p.fail("max-alloc must be greater than zero")
	}
	p.o.MaxAlloc, p.o.told.maxAllocArg = n, arg
	return nil
}

// finishArgStyle settles how arguments travel: --old-args, --secluded-args and
// the variables that stand for them.
func (p *parser) finishArgStyle() error {
	env := func(name string) string {
		if p.o.Server {
			return ""
		}
		return p.env.getenv(name)
	}
	switch old := env("RSYNC_OLD_ARGS"); {
	case p.oldArgs < 0 && p.secluded <= 0 && old != "":
		n, _ := leadingInt(old)
		p.secluded, p.oldArgs = 0, int(min(max(n, 0), 2))
	case p.oldArgs > 0 && p.secluded > 0:
		return p.fail("--secluded-args conflicts with --old-args.")
	case p.oldArgs > 0:
		p.secluded = 0
	}
	if p.secluded < 0 {
		n, _ := leadingInt(env("RSYNC_PROTECT_ARGS"))
		p.secluded = 0
		if n != 0 {
			p.secluded = 1
		}
	}
	p.o.OldArgs = max(p.oldArgs, 0)
	p.o.SecludedArgs = p.secluded > 0
	return nil
}

func (p *parser) finishOutbuf() error {
	if !p.wasGiven("outbuf") || p.o.Server {
		return nil
	}
	switch p.outbuf[:min(1, len(p.outbuf))] {
	case "N", "n", "U", "u":
		p.o.Outbuf = OutbufNone
	case "L", "l":
		p.o.Outbuf = OutbufLine
	case "B", "b", "F", "f":
		p.o.Outbuf = OutbufBlock
	default:
		return p.fail("Invalid --outbuf setting -- specify N, L, or B.")
	}
	return nil
}

func (p *parser) finishLevels() error {
	p.info.implyVerbosity(infoVerbosity, p.o.Verbose)
	p.debug.implyVerbosity(debugVerbosity, p.o.Verbose)
	if p.o.Stats {
		if p.o.Verbose > 1 {
			p.info.imply("STATS3")
		} else {
			p.info.imply("STATS2")
		}
	}
	return nil
}

func (p *parser) finishIconv() error {
	if !p.o.Server && p.o.Iconv == "-" {
		p.o.Iconv = ""
	}
	if p.o.Iconv == "" {
		if row := p.env.Refuse.named("no-iconv"); row != nil {
			return p.refused(row)
		}
	}
	return nil
}

// finishEnvironment takes over what is neither option nor conflict.
func (p *parser) finishEnvironment() {
	if p.o.Server {
		p.o.CapabilityString = p.o.Rsh
		p.o.Rsh, p.o.RshSet = "", false
		return
	}
	p.o.RshEnv = p.env.getenv("RSYNC_RSH")
}

func (p *parser) finishBatch() error {
	o := p.o
	switch {
	case o.FakeSuper && o.Xattrs > 1:
		return p.fail("--fake-super conflicts with -XX")
	case p.batchConflict:
		return p.fail("--write-batch and --read-batch can not be used together")
	case o.Server && (o.Batch == BatchRead || o.Batch == BatchWrite):
		// Old clients send these; they mean nothing here.
		o.Batch, o.BatchFile = BatchNone, ""
	case o.DryRun && o.Batch != BatchRead:
		o.Batch = BatchNone
	}
	switch {
	case o.Batch == BatchRead && p.wasGiven("files-from"):
		return p.fail("--read-batch cannot be used with --files-from")
	case o.Batch == BatchRead && o.RemoveSentFiles:
		return p.fail("--read-batch cannot be used with --remove-sent-files")
	case o.Batch == BatchRead && o.RemoveSourceFiles:
		return p.fail("--read-batch cannot be used with --remove-source-files")
	case len(o.BatchFile) > maxBatchName:
		return p.fail("the batch-file name must be %d characters or less.", maxBatchName)
	case len(o.TempDir) >= maxPath-10:
		return p.fail("the --temp-dir path is WAY too long.")
	}
	return nil
}

// finishSelection settles what is walked: recursion, directories, paths.
func (p *parser) finishSelection(operands []string) error {
	o := p.o
	fromList := p.wasGiven("files-from")
	if fromList {
		if p.recurse == recurseImplied {
			p.recurse = recurseNo
		}
		if p.dirs == dirsUnset {
			p.dirs = 1
		}
	}
	o.ListOnly = o.told.listAsked || len(operands) < 2 && o.Batch != BatchRead && !o.Server
	switch {
	case p.dirs >= dirsOld:
		o.FilterRules = append(o.FilterRules, FilterArg{FilterRule, "- /*/*"})
		o.OldDirs = true
		p.recurse, p.dirs = recurseImplied, 1
	case p.recurse != recurseNo:
		p.dirs = 1
	case p.dirs == dirsUnset && o.ListOnly:
		p.dirs = 1
	}
	o.Recurse = p.recurse != recurseNo
	o.Dirs = p.dirs > 0
	o.told.dirsAsked = p.dirs == dirsAsked
	if p.relative < 0 && fromList {
		p.relative = 1
	}
	o.Relative = p.relative > 0
	o.ImpliedDirs = o.ImpliedDirs && o.Relative
	return nil
}

func (p *parser) finishDelete() error {
	o, refuse := p.o, p.env.Refuse
	when := 0
	for _, choice := range []struct {
		mode  DeleteMode
		asked bool
	}{
		{DeleteBefore, p.delBefore},
		{DeleteDuring, p.delDuring == 1},
		{DeleteDelay, p.delDuring == 2},
		{DeleteAfter, p.delAfter},
	} {
		if choice.asked {
			when++
			o.Delete = choice.mode
		}
	}
	switch {
	case when > 1:
		return p.fail("You may not combine multiple --delete-WHEN options.")
	case when == 0 && (p.delPlain || o.DeleteExcluded):
		o.Delete = DeleteAuto
		before, during := refuse.named("delete-before"), refuse.named("delete-during")
		switch {
		case before != nil && during != nil:
			return p.refused(before)
		case before != nil:
			o.Delete = DeleteDuring
		case during != nil:
			o.Delete = DeleteBefore
		}
	}
	if !o.Dirs && o.Delete != DeleteNone {
		return p.fail("--delete does not work without --recursive (-r) or --dirs (-d).")
	}
	o.DeleteMissingArgs = p.missing&2 != 0
	o.IgnoreMissingArgs = p.missing == 1
	if row := refuse.named("delete"); row != nil &&
		(o.Delete != DeleteNone || o.DeleteMissingArgs || o.RemoveSourceFiles && o.Sender) {
		return p.refused(row)
	}
	return nil
}

func (p *parser) finishConfine() error {
	o := p.o
	switch {
	case !p.wasGiven("confine-root"):
	case p.env.Daemon:
		o.ConfineRoot = "" // the module's own root is the bound
	case !strings.HasPrefix(o.ConfineRoot, "/"):
		return p.fail("--confine-root must be an absolute path")
	case o.InsecureLinks:
		return p.fail("--insecure-links cannot be combined with --confine-root")
	default:
		o.ConfineRoot = cleanPath(o.ConfineRoot)
	}
	return nil
}

func (p *parser) finishBackup() error {
	o := p.o
	withDir := p.wasGiven("backup-dir")
	if withDir && !p.wasGiven("suffix") {
		o.Suffix = ""
	}
	if strings.Contains(o.Suffix, "/") {
		return p.fail("--suffix cannot contain slashes: %s", o.Suffix)
	}
	if withDir {
		o.Backup = true
		for strings.HasPrefix(o.BackupDir, "./") {
			o.BackupDir = o.BackupDir[2:]
		}
		if o.BackupDir == "." {
			o.BackupDir = ""
		}
		if len(o.BackupDir) > maxPath-128 {
			return p.fail("the --backup-dir path is WAY too long.")
		}
	}
	switch {
	case o.BackupDir != "":
	case o.Suffix == "" && !(o.Server && o.Sender):
		if withDir {
			return p.fail("--suffix cannot be empty when --backup-dir is the same as the dest dir")
		}
		return p.fail("--suffix cannot be empty without a --backup-dir")
	case o.Backup && o.Delete != DeleteNone && !o.DeleteExcluded && !o.Server:
		o.FilterRules = append(o.FilterRules, FilterArg{FilterRule, "P *" + o.Suffix})
	}
	if o.Backup && o.BackupDir == "" {
		o.OmitDirTimes = true
	}
	return nil
}

// finishOutput settles the lines that are printed and logged.
func (p *parser) finishOutput() error {
	o := p.o
	switch {
	case o.OutFormatSet:
		switch {
		case o.Server && formatHas(o.OutFormat, "I"):
			o.OutItemize = 2
		case formatHas(o.OutFormat, "i"):
			o.OutItemize = o.ItemizeChanges | 1
		}
		o.LogBeforeTransfer = !o.Server && !formatHas(o.OutFormat, "bcC")
	case o.ItemizeChanges > 0:
		o.OutFormat, o.OutFormatSet = "%i %n%L", true
		o.OutItemize = o.ItemizeChanges
		o.LogBeforeTransfer = !o.Server
	}
	if o.Progress && !o.Server {
		if !o.LogBeforeTransfer && p.info.level[report.InfoName] == 0 {
			p.info.imply("NAME")
		}
		p.info.imply("FLIST2,PROGRESS")
	}
	if p.info.level[report.InfoName] > 0 && !o.OutFormatSet {
		o.OutFormat, o.OutFormatSet = "%n%L", true
		o.LogBeforeTransfer = !o.Server
	}
	o.OutHasOp = o.OutItemize > 0 || formatHas(o.OutFormat, "o")
	o.Info, o.Debug = report.InfoLevels(p.info.level), report.DebugLevels(p.debug.level)
	o.told.info = p.info
	switch {
	case o.LogFile == "":
		o.LogFileFormat = ""
	case !p.wasGiven("log-file-format"):
		o.LogFileFormat = "%i %n%L"
	}
	return nil
}

// formatHas reports whether a log format has one of these escapes.
func formatHas(format, escapes string) bool {
	for {
		_, rest, found := strings.Cut(format, "%")
		if !found {
			return false
		}
		format = strings.TrimLeft(rest, "'-0123456789")
		if format == "" {
			return false
		}
		if strings.IndexByte(escapes, format[0]) >= 0 {
			return true
		}
		format = format[1:]
	}
}

// finishWriting settles how destination files are written.
func (p *parser) finishWriting() error {
	o, refuse := p.o, p.env.Refuse
	if o.Append != AppendNone && o.WholeFile == Yes {
		return p.fail("--append cannot be used with --whole-file")
	}
	if o.Append != AppendNone || o.WriteDevices {
		if row := refuse.named("inplace"); row != nil {
			return p.refused(row)
		}
		o.Inplace = true
	}
	hasDir := p.wasGiven("partial-dir")
	if o.DelayUpdates && !hasDir {
		o.PartialDir, o.told.partialDefault, hasDir = defaultPartialDir, true, true
	}
	if o.Inplace {
		if hasDir {
			mine, other := "inplace", "partial-dir"
			if o.Append != AppendNone {
				mine = "append"
			}
			if o.DelayUpdates {
				other = "delay-updates"
			}
			return p.fail("--%s cannot be used with --%s", mine, other)
		}
		if row := refuse.named("partial"); row != nil {
			return p.refused(row)
		}
		o.Partial = false
		return nil
	}
	if o.Partial && !hasDir && !o.Server {
		if dir := p.env.getenv("RSYNC_PARTIAL_DIR"); dir != "" {
			o.PartialDir, hasDir = dir, true
		}
	}
	if hasDir {
		if o.PartialDir != "" {
			o.PartialDir = cleanPath(o.PartialDir)
		}
		if o.PartialDir == "." {
			o.PartialDir = ""
		}
		if row := refuse.named("partial"); row != nil && o.PartialDir == "" {
			return p.refused(row)
		}
		o.Partial = true
	}
	return nil
}

// cleanPath drops empty and "." parts and takes "x/.." out, textually. A "."
// at the end stays. (rsync 3.5.0 util1.c:clean_fname)
func cleanPath(name string) string {
	root := ""
	if strings.HasPrefix(name, "/") {
		root = "/"
	}
	parts := strings.Split(name, "/")
	var out []string
	for i, part := range parts {
		last := len(out) - 1
		switch {
		case part == "", part == "." && i < len(parts)-1:
		case part == ".." && last < 0 && root != "":
		case part == ".." && last >= 0 && out[last] != "..":
			out = out[:last]
		default:
			out = append(out, part)
		}
	}
	if clean := root + strings.Join(out, "/"); clean != "" {
		return clean
	}
	return "."
}

func (p *parser) finishFilesFrom(operands []string) error {
	o := p.o
	if !p.wasGiven("files-from") {
		return nil
	}
	if len(operands) > 2 || !o.Server && len(operands) == 1 {
		return usageError(exitcode.AtListOperands, "client")
	}
	if o.FilesFrom == "-" {
		o.FilesFromRemote = o.Server
		return nil
	}
	if h, ok := ParseHostspec(o.FilesFrom); ok {
		switch {
		case o.Server:
			return p.fail("The --files-from sent to the server cannot specify a host.")
		case h.Path == "-":
			return p.fail("Invalid --files-from remote filename")
		}
		o.FilesFrom, o.FilesFromHost, o.FilesFromRemote = h.Path, h.Host, true
		return nil
	}
	if o.FilesFrom == "" {
		return p.fail("failed to open files-from file %s: Invalid argument", o.FilesFrom)
	}
	return nil
}

func (p *parser) finishTrust() {
	o := p.o
	o.TrustSenderFilter = o.TrustSender || o.Server || o.Batch == BatchRead
	o.TrustSenderArgs = o.TrustSenderFilter || o.OldArgs > 0 || o.FilesFromRemote
}
