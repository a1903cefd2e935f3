package options

import (
	"strconv"
	"strings"
)

// capabilities is what a client tells about itself behind -e, after the "i" for
// an incremental file list. (rsync 3.5.0 options.c:maybe_add_e_option)
//
//	L  symlink times can be set         C  the order of the checksum seed is fixed
//	s  symlink contents are converted   I  --inplace works with a partial directory
//	f  errors within the file list      v  varint flags, negotiated checksums
//	x  no xattr hard-link optimization  u  names of user 0 and group 0 are sent
const capabilities = "LsfxCIvu"

// PeerArgs are the arguments for the other side. Exposed ones go on the command
// line of the remote shell (or first over a daemon's connection). With
// --secluded-args the Secluded ones follow over the connection.
type PeerArgs struct {
	Exposed  []string
	Secluded []string
}

// ServerArgs returns what rsync 3.5.0 puts between the program's name and the
// "." that precedes the file names, seen from a client that sends or does not.
// protocol is the version as far as it is known: Options.Protocol for a remote
// shell, the negotiated one for a daemon. The letters of offer are appended to
// the capability string; none gives stock rsync's arguments.
//
// (rsync 3.5.0 options.c:server_options; the order is part of the protocol,
// since restricted shells match on it.)
func (o *Options) ServerArgs(amSender bool, protocol int, offer string) []string {
	a := o.PeerArgs(amSender, protocol, offer)
	return append(a.Exposed, a.Secluded...)
}

// PeerArgs is ServerArgs in two parts.
func (o *Options) PeerArgs(amSender bool, protocol int, offer string) PeerArgs {
	exposed := []string{"--server"}
	if !amSender {
		exposed = append(exposed, "--sender")
	}
	letters := o.serverLetters(amSender)
	if protocol >= oldestSecluded {
		letters += "e."
		if o.UseIncRecurse(amSender) {
			letters += "i"
		}
		letters += capabilities + offer
	}
	if letters != "" {
		exposed = append(exposed, "-"+letters)
	}
	if o.Iconv != "" {
		_, remote, two := strings.Cut(o.Iconv, ",")
		if !two {
			remote = o.Iconv
		}
		exposed = append(exposed, o.optionArg("--iconv", remote))
	}
	b := argBuilder{o: o, sending: amSender}
	b.common()
	b.deletion()
	b.checks()
	b.receiver()
	b.writing(protocol)
	if !o.SecludedArgs {
		return PeerArgs{Exposed: append(exposed, b.args...)}
	}
	return PeerArgs{Exposed: exposed, Secluded: b.args}
}

// serverLetters returns the letters of the first word.
func (o *Options) serverLetters(amSender bool) string {
	var b strings.Builder
	add := func(letter string, times int) { b.WriteString(strings.Repeat(letter, max(times, 0))) }
	when := func(letter string, set bool) {
		if set {
			b.WriteString(letter)
		}
	}
	when("s", o.SecludedArgs)
	add("v", min(o.Verbose, 9))
	when("q", o.Quiet > 0 && o.Stderr != StderrClient)
	when("b", o.Backup)
	when("u", o.Update)
	when("n", o.DryRun)
	when("l", o.Links)
	when("d", o.told.dirsAsked || o.Dirs && !o.Recurse && (o.ListOnly || o.Delete != DeleteNone && amSender))
	if amSender {
		when("K", o.KeepDirlinks)
		when("m", o.PruneEmptyDirs)
		when("O", o.OmitDirTimes && (!o.Backup || o.BackupDir != ""))
		when("J", o.OmitLinkTimes)
		add("y", min(o.Fuzzy, 2))
	} else {
		when("L", o.CopyLinks)
		when("k", o.CopyDirlinks)
	}
	when("W", o.WholeFile == Yes)
	add("H", min(o.HardLinks, 2))
	when("o", o.Owner)
	when("g", o.Group)
	when("D", o.Devices)
	when("t", o.Times)
	add("U", min(o.Atimes, 2))
	when("p", o.Perms)
	when("E", !o.Perms && o.Executability && amSender)
	when("A", o.ACLs)
	add("X", min(o.Xattrs, 2))
	when("r", o.Recurse)
	when("c", o.Checksum)
	when("C", o.CVSExclude)
	when("I", o.IgnoreTimes)
	when("R", o.Relative)
	add("x", min(o.OneFileSystem, 2))
	when("S", o.Sparse)
	when("z", o.isZlib())
	return b.String()
}

// isZlib reports whether -z itself is what the server is told: compression
// without a choice, or with the old method.
func (o *Options) isZlib() bool {
	if o.CompressChoice == "" {
		return o.told.compressAsked
	}
	return strings.EqualFold(o.CompressChoice, "zlib")
}

// argBuilder collects the long options.
type argBuilder struct {
	o       *Options
	sending bool
	args    []string
}

func (b *argBuilder) when(set bool, arg string) {
	if set {
		b.args = append(b.args, arg)
	}
}

func (b *argBuilder) number(set bool, prefix string, n int64) {
	b.when(set, prefix+strconv.FormatInt(n, 10))
}

// value adds OPTION=VALUE.
func (b *argBuilder) value(set bool, option, value string) {
	if set {
		b.args = append(b.args, b.o.optionArg(option, value))
	}
}

// path adds OPTION and VALUE as two words, so that a shell expands a "~".
func (b *argBuilder) path(set bool, option, value string) {
	if set {
		b.args = append(b.args, option, b.o.optionArg("", value))
	}
}

func (b *argBuilder) common() {
	o := b.o
	b.when(o.told.listAsked, "--list-only")
	b.when(o.Dirs && !o.Recurse && o.Delete != DeleteNone && b.sending, "--no-r")
	b.number(o.Compress && o.CompressLevelSet, "--compress-level=", int64(o.CompressLevel))
	b.when(o.Devices && !o.Specials, "--no-specials")
	b.when(!o.Devices && o.Specials, "--specials")
	if o.OutFormatSet && b.sending {
		switch {
		case o.OutItemize > 1:
			b.when(true, "--log-format=%i%I")
		case o.OutItemize == 1:
			b.when(true, "--log-format=%i")
		case o.OutHasOp:
			b.when(true, "--log-format=%o")
		default:
			b.when(o.Verbose == 0, "--log-format=X")
		}
	}
	b.when(o.Stderr == StderrAll, "--msgs2stderr")
	b.when(o.Stderr == StderrClient, "--no-msgs2stderr")
	b.number(o.BlockSize != 0, "-B", int64(o.BlockSize))
	b.number(o.Timeout != 0, "--timeout=", int64(o.Timeout))
	b.number(o.Bwlimit != 0, "--bwlimit=", o.Bwlimit>>10)
	b.path(o.BackupDir != "", "--backup-dir", o.BackupDir)
	suffix := "~"
	if o.BackupDir != "" {
		suffix = ""
	}
	b.value(o.Suffix != suffix, "--suffix", o.Suffix)
	b.value(o.ChecksumChoice != "", "--checksum-choice", o.ChecksumChoice)
	switch strings.ToLower(o.CompressChoice) {
	case "":
	case "zlibx":
		b.when(true, "--new-compress")
	case "zlib":
		b.when(true, "--old-compress")
	default:
		b.value(true, "--compress-choice", o.CompressChoice)
	}
}

func (b *argBuilder) deletion() {
	o := b.o
	if !b.sending {
		b.value(o.SkipCompressSet, "--skip-compress", o.SkipCompress)
		return
	}
	b.number(o.MaxDelete > 0, "--max-delete=", int64(o.MaxDelete))
	b.when(o.MaxDelete == 0, "--max-delete=-1")
	b.number(o.MinSize >= 0, "--min-size=", o.MinSize)
	b.number(o.MaxSize >= 0, "--max-size=", o.MaxSize)
	switch o.Delete {
	case DeleteBefore:
		b.when(true, "--delete-before")
	case DeleteDelay:
		b.when(true, "--delete-delay")
	case DeleteDuring:
		b.when(true, "--delete-during")
	case DeleteAfter:
		b.when(true, "--delete-after")
	case DeleteAuto:
		b.when(!o.DeleteExcluded, "--delete")
	}
	b.when(o.DeleteExcluded, "--delete-excluded")
	b.when(o.Force, "--force")
	b.when(o.Batch == BatchOnlyWrite, "--only-write-batch=X")
	b.when(o.Super, "--super")
	b.when(o.SizeOnly, "--size-only")
	b.when(o.Stats, "--stats")
}

func (b *argBuilder) checks() {
	o := b.o
	b.value(o.told.maxAllocArg != "" && o.MaxAlloc != defaultMaxAlloc, "--max-alloc", o.told.maxAllocArg)
	b.when(o.DeleteMissingArgs, "--delete-missing-args")
	b.when(o.IgnoreMissingArgs && !o.DeleteMissingArgs && !b.sending, "--ignore-missing-args")
	if o.told.windowSet && b.sending {
		b.number(o.ModifyWindow < 0, "-@", int64(o.ModifyWindow))
		b.number(o.ModifyWindow >= 0, "--modify-window=", int64(o.ModifyWindow))
	}
	b.number(o.ChecksumSeed != 0, "--checksum-seed=", int64(o.ChecksumSeed))
	if b.sending {
		b.path(o.PartialDir != "" && !o.told.partialDefault, "--partial-dir", o.PartialDir)
		b.when(o.PartialDir != "" && o.DelayUpdates, "--delay-updates")
		b.when(o.PartialDir == "" && o.Partial, "--partial")
	}
	b.when(o.IgnoreErrors, "--ignore-errors")
	b.when(o.CopyUnsafeLinks, "--copy-unsafe-links")
	b.when(o.SafeLinks, "--safe-links")
	b.when(o.NumericIDs, "--numeric-ids")
	b.when(o.Qsort, "--use-qsort")
}

func (b *argBuilder) receiver() {
	o := b.o
	if !b.sending {
		return
	}
	b.value(o.Usermap != "" || o.told.usermap, "--usermap", o.Usermap)
	b.value(o.Groupmap != "" || o.told.groupmap, "--groupmap", o.Groupmap)
	b.when(o.IgnoreExisting, "--ignore-existing")
	b.when(o.Existing, "--existing")
	b.path(o.TempDir != "" || o.told.tempDir, "--temp-dir", o.TempDir)
	b.when(o.Fsync, "--fsync")
	for _, dest := range o.AltDests {
		b.path(true, dest.Kind.option(), dest.Dir)
	}
}

func (b *argBuilder) writing(protocol int) {
	o := b.o
	w := whereServer | whereSender
	if b.sending {
		w = whereServer | whereReceiver
	}
	if o.told.info != nil {
		if flags := o.told.info.describe(w, true); flags != "" {
			b.when(true, "--info="+flags)
		}
	}
	switch {
	case o.Append != AppendNone:
		b.when(o.Append == AppendVerify, "--append")
		b.when(true, "--append")
	case o.Inplace:
		b.when(true, "--inplace")
		b.when(o.Sparse && o.WholeFile == No && b.sending, "--no-W")
	}
	if o.FilesFrom != "" && (!b.sending || o.FilesFromRemote) {
		if o.FilesFromRemote {
			b.path(true, "--files-from", o.FilesFrom)
			b.when(o.From0, "--from0")
		} else {
			b.args = append(b.args, "--files-from=-", "--from0")
		}
		b.when(!o.Relative, "--no-relative")
	}
	b.when(o.Relative && !o.ImpliedDirs && (!b.sending || protocol >= 30), "--no-implied-dirs")
	b.when(o.WriteDevices && b.sending, "--write-devices")
	b.when(o.RemoveSourceFiles && !o.RemoveSentFiles, "--remove-source-files")
	b.when(o.RemoveSentFiles, "--remove-sent-files")
	b.when(o.CopyDevices && !b.sending, "--copy-devices")
	b.when(o.Preallocate && b.sending, "--preallocate")
	b.when(o.OpenNoatime && o.Atimes <= 1, "--open-noatime")
	b.when(o.Mkpath && b.sending, "--mkpath")
	for _, opt := range o.RemoteOptions {
		b.args = append(b.args, o.remoteArg(opt))
	}
}

const (
	shellChars = "!#$&;|<>(){}\"'` \t\n\r\\"
	wildChars  = "*?[]"
)

// optionArg returns "OPTION=VALUE", or VALUE alone, quoted for a shell unless
// arguments travel unquoted. (rsync 3.5.0 options.c:safe_arg)
func (o *Options) optionArg(option, value string) string {
	if !o.SecludedArgs && o.OldArgs < 2 {
		value = escape(value, wildChars+shellChars)
	}
	if option == "" {
		return value
	}
	return option + "=" + value
}

// remoteArg quotes a --remote-option, which --old-args leaves to the shell.
func (o *Options) remoteArg(opt string) string {
	if o.SecludedArgs || o.OldArgs > 0 {
		return opt
	}
	return escape(opt, wildChars+shellChars)
}

// FileArg quotes a file name for the other side's shell: wildcards stay, a
// leading dash is hidden behind "./", and for a client that receives, a "~"
// that would change the name asked for is escaped. (rsync 3.5.0
// options.c:safe_arg)
func (o *Options) FileArg(name string, amSender bool) string {
	prefix := ""
	if strings.HasPrefix(name, "-") {
		prefix = "./"
	}
	if o.SecludedArgs || o.OldArgs > 0 {
		return prefix + name
	}
	if strings.HasPrefix(name, "~") && !amSender && !o.TrustSenderArgs &&
		(o.Relative && !strings.Contains(name, "/./") || !strings.Contains(name, "/")) {
		prefix += "\\"
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c == '\\' {
			// Before a wildcard it is an escape already.
			if i+1 == len(name) || !strings.Contains(wildChars, name[i+1:i+2]) {
				b.WriteByte('\\')
			}
		} else if strings.IndexByte(shellChars, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return prefix + b.String()
}

func escape(s, chars string) string {
	if !strings.ContainsAny(s, chars) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(chars, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
