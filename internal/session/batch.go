package session

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// A batch file is what a receiver is sent, kept for later:
//
//	flags      int32   the options that shape the stream
//	protocol   int32
//	compat     varint  (protocol 30)
//	seed       int32   of the checksums
//	stream             file list and tokens, not multiplexed
//	statistics         of the sender, and what ends the stream
//
// Beside it a script NAME.sh applies it. rsync 3.5.0 batch.c, io.c:start_write_batch.

// Batch is an open batch file.
type Batch struct {
	name   string
	file   *os.File
	in     io.Reader     // what is read
	out    *bufio.Writer // what is written
	script *os.File
	argv   []string
	names  []string // the operands in argv
	flags  int32
}

// streamFlag is an option that shapes the stream; its bit is its place in the
// list. rsync 3.5.0 batch.c:flag_ptr.
type streamFlag struct {
	name string
	get  func(o *options.Options) int // as rsync keeps it: 1 is plainly set
	set  func(o *options.Options, on bool)
}

func flagOf(name string, field func(o *options.Options) *bool) streamFlag {
	return streamFlag{name, func(o *options.Options) int { return bit(*field(o)) },
		func(o *options.Options, on bool) { *field(o) = on }}
}

func countOf(name string, field func(o *options.Options) *int) streamFlag {
	return streamFlag{name, func(o *options.Options) int { return *field(o) },
		func(o *options.Options, on bool) { *field(o) = bit(on) }}
}

func appendOf(name string, mode options.AppendMode) streamFlag {
	return streamFlag{name, func(o *options.Options) int { return bit(o.Append == mode) },
		func(o *options.Options, on bool) {
			if on {
				o.Append = mode
			} else if o.Append == mode {
				o.Append = options.AppendNone
			}
		}}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

const iconvBit = 9

var streamFlags = []streamFlag{
	flagOf("--recurse (-r)", func(o *options.Options) *bool { return &o.Recurse }),
	flagOf("--owner (-o)", func(o *options.Options) *bool { return &o.Owner }),
	flagOf("--group (-g)", func(o *options.Options) *bool { return &o.Group }),
	flagOf("--links (-l)", func(o *options.Options) *bool { return &o.Links }),
	flagOf("--devices (-D)", func(o *options.Options) *bool { return &o.Devices }),
	countOf("--hard-links (-H)", func(o *options.Options) *int { return &o.HardLinks }),
	flagOf("--checksum (-c)", func(o *options.Options) *bool { return &o.Checksum }),
	flagOf("--dirs (-d)", func(o *options.Options) *bool { return &o.Dirs }), // protocol 29
	{"--compress (-z)", compressionNumber, setCompression},                   // protocol 29
	{"--iconv", func(o *options.Options) int { return bit(o.Iconv != "") }, nil},
	flagOf("--acls (-A)", func(o *options.Options) *bool { return &o.ACLs }),
	countOf("--xattrs (-X)", func(o *options.Options) *int { return &o.Xattrs }),
	flagOf("--inplace", func(o *options.Options) *bool { return &o.Inplace }),
	appendOf("--append", options.AppendData),
	appendOf("--append-verify", options.AppendVerify),
}

// compressionNumber is rsync's: a method still to be negotiated is -1, zlib 1.
func compressionNumber(o *options.Options) int {
	switch {
	case o.CompressChoice != "" && strings.EqualFold(o.CompressChoice, "zlib"):
		return 1
	case o.CompressChoice != "" && !strings.EqualFold(o.CompressChoice, "none"):
		return 2
	case o.Compress && o.CompressChoice == "":
		return -1
	}
	return 0
}

func setCompression(o *options.Options, on bool) {
	if !on {
		o.Compress, o.CompressChoice = false, ""
		return
	}
	o.Compress = true
}

// OpenBatch opens the files of --write-batch, --only-write-batch or
// --read-batch; nil without any of them. argv is the whole command line and
// operands what in it is no option. rsync 3.5.0 batch.c:open_batch_files.
func OpenBatch(o *options.Options, env *Env, argv, operands []string) (*Batch, error) {
	if o.Batch == options.BatchNone {
		return nil, nil
	}
	b := &Batch{name: o.BatchFile, argv: argv, names: operands}
	if o.Batch == options.BatchRead {
		return b, b.openRead(o, env)
	}
	const create = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	var err error
	if b.script, err = openOwned(o, env, b.name+".sh", create, 0700); err != nil {
		return nil, batchError(env, exitcode.FileSelect, b.name+".sh", err)
	}
	if b.file, err = openOwned(o, env, b.name, create, 0600); err != nil {
		b.script.Close()
		return nil, batchError(env, exitcode.FileIO, b.name, err)
	}
	b.out = bufio.NewWriterSize(b.file, 64<<10)
	for i, f := range streamFlags {
		if f.get(o) != 0 {
			b.flags |= 1 << i
		}
	}
	b.out.Write(wire.AppendInt(nil, b.flags))
	return b, nil
}

func openOwned(o *options.Options, env *Env, name string, flags int, perm uint32) (*os.File, error) {
	return fsroot.OwnerOpen(inCwd(env.Cwd, name), flags, perm&^env.Umask, fsroot.Policy{InsecureLinks: o.InsecureLinks})
}

func inCwd(cwd, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return strings.TrimSuffix(cwd, "/") + "/" + name
}

func batchError(env *Env, code exitcode.Code, name string, err error) error {
	e := exitcode.New(code, "rsync: [Receiver] Batch file \"%s\" open error: %s", inCwd(env.Cwd, name), report.Reason(err))
	e.At = exitcode.AtBatchScript
	if code == exitcode.FileIO {
		e.At = exitcode.AtBatch
	}
	return e
}

// openRead opens a batch to be replayed. Its bytes drive the protocol, so a
// device is no batch; a pipe may be one.
func (b *Batch) openRead(o *options.Options, env *Env) error {
	b.in = env.Stdin
	if b.name != "-" {
		f, err := openOwned(o, env, b.name, os.O_RDONLY, 0)
		if err != nil {
			return batchError(env, exitcode.FileIO, b.name, err)
		}
		st, err := f.Stat()
		if err == nil && !st.Mode().IsRegular() && st.Mode().Type() != fs.ModeNamedPipe {
			f.Close()
			return exitcode.New(exitcode.FileIO, "Batch file \"%s\" is not a regular file", inCwd(env.Cwd, b.name)).Placed(exitcode.AtBatchType)
		}
		b.file, b.in = f, f
	}
	var v [4]byte
	if _, err := io.ReadFull(b.in, v[:]); err != nil {
		b.Close()
		return exitcode.New(exitcode.StreamIO, "batch file %s is too short to be one: %w", b.name, err)
	}
	b.flags = int32(binary.LittleEndian.Uint32(v[:]))
	return nil
}

// Close writes what is buffered and closes the files.
func (b *Batch) Close() error {
	if b == nil {
		return nil
	}
	var err error
	if b.out != nil {
		err = b.out.Flush()
	}
	if b.file != nil {
		if cerr := b.file.Close(); err == nil {
			err = cerr
		}
	}
	if b.script != nil {
		b.script.Close()
	}
	if err != nil {
		return exitcode.New(exitcode.FileIO, "writing the batch file %s: %w", b.name, err)
	}
	return nil
}

// begin writes the head of the stream and returns where the stream goes.
func (b *Batch) begin(s *side) io.Writer {
	head := wire.AppendInt(nil, int32(s.setup.Protocol))
	if s.setup.Protocol >= 30 {
		head = wire.AppendVarint(head, int32(s.setup.Compat))
	}
	b.out.Write(wire.AppendInt(head, s.setup.Seed))
	return b.out
}

// end writes the sender's statistics: whoever reads the batch is a client that
// receives.
func (b *Batch) end(st *report.Stats, protocol int) {
	n := []int64{st.Read, st.Written, st.TotalSize}
	if protocol >= 29 {
		n = append(n, st.FlistBuild, st.FlistXfer)
	}
	var out []byte
	for _, v := range n {
		if protocol < 30 {
			out = wire.AppendLong(out, v)
		} else {
			out = wire.AppendVarlong(out, v, 3)
		}
	}
	b.out.Write(out)
}

// writeScript writes the script that applies the batch.
// rsync 3.5.0 batch.c:write_batch_shell_file.
func (b *Batch) writeScript(s *side) error {
	rules, err := s.c.Filters.BatchRules()
	if err != nil {
		return err
	}
	_, err = io.WriteString(b.script, batchScript(b.argv, b.names, rules, s.setup.Protocol, s.o.From0))
	if cerr := b.script.Close(); err == nil {
		err = cerr
	}
	b.script = nil
	if err != nil {
		return exitcode.New(exitcode.FileIO, "rsync: [%s] Batch file %s.sh write error: %s", s.who(), b.name, report.Reason(err))
	}
	return nil
}

// batchScript returns the text of the script: the command line with
// --read-batch, without the operands, and with all filter rules in one here
// document.
func batchScript(argv, operands, rules []string, protocol int, nulls bool) string {
	var w strings.Builder
	w.WriteString(quoteArg(argv[0]))
	if len(rules) > 0 {
		if protocol >= 29 {
			w.WriteString(" --filter=" + quoteArg("._-"))
		} else {
			w.WriteString(" --exclude-from=" + quoteArg("-"))
		}
	}
	operand := map[int]bool{}
	for i, j := len(argv)-1, len(operands)-1; i > 0 && j >= 0; i-- {
		if argv[i] == operands[j] {
			operand[i] = true
			j--
		}
	}
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		rest, isBatch := strings.CutPrefix(a, "--write-batch")
		if !isBatch {
			rest, isBatch = strings.CutPrefix(a, "--only-write-batch")
		}
		switch {
		case operand[i]:
		case a == "-f":
			i++
		case hasAnyPrefix(a, "--files-from", "--filter", "--include", "--exclude"):
			if !strings.Contains(a, "=") {
				i++
			}
		case isBatch:
			w.WriteString(" --read-batch")
			if v, ok := strings.CutPrefix(rest, "="); ok {
				w.WriteString("=" + quoteArg(v))
			}
		default:
			w.WriteString(" " + quoteArg(a))
		}
	}
	dest := ""
	if len(operands) > 0 {
		dest = operands[len(operands)-1]
		if h, ok := options.ParseHostspec(dest); ok {
			dest = h.Path
		}
	}
	w.WriteString(" ${1:-" + quoteArg(dest) + "}")
	if len(rules) > 0 {
		end := "\n"
		if nulls {
			end = "\x00"
		}
		w.WriteString(" <<'#E#'\n")
		for _, r := range rules {
			w.WriteString(r + end)
		}
		if nulls {
			w.WriteString(";\n")
		}
		w.WriteString("#E#")
	}
	w.WriteString("\n")
	return w.String()
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// quoteArg quotes an argument for the shell; a plain --option= stays outside.
// rsync 3.5.0 batch.c:write_arg.
func quoteArg(arg string) string {
	prefix := ""
	if name, _, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") && strings.Trim(name, optionChars) == "" {
		prefix, arg = name+"=", arg[len(name)+1:]
	}
	return prefix + "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

const optionChars = "-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ReadBatch applies a batch to dest.
func ReadBatch(ctx context.Context, p Params, dest string) error {
	b := p.Batch
	o := *p.Opts // the batch decides about some of them
	p.Opts, p.Args = &o, []string{dest}
	p.Server, p.Sender, p.local = false, false, false
	p.In, p.Out = b.in, io.Discard
	if b.file != nil {
		p.Close = func() { b.file.Close() }
	}
	// The version comes first and decides which flags there are.
	var v [4]byte
	n, _ := io.ReadFull(b.in, v[:])
	p.In = io.MultiReader(strings.NewReader(string(v[:n])), b.in)
	proto := min(int(int32(binary.LittleEndian.Uint32(v[:]))), o.Protocol)
	log := (&side{p: &p, o: &o}).newLog()
	if err := b.adopt(&o, proto, log); err != nil {
		return err
	}
	return Run(ctx, p)
}

// adopt makes the options that shape the stream those of the batch.
// rsync 3.5.0 batch.c:check_batch_flags.
func (b *Batch) adopt(o *options.Options, protocol int, log *report.Log) error {
	flags := streamFlags
	switch {
	case protocol < 29:
		flags = flags[:7]
	case protocol < 30:
		flags = flags[:9]
	}
	for i, f := range flags {
		on := b.flags&(1<<i) != 0
		if f.get(o) == bit(on) {
			continue
		}
		if i == iconvBit {
			do := "Do not"
			if on {
				do = "Please"
			}
			return exitcode.New(exitcode.Syntax, "%s specify the --iconv option to use this batch file.", do)
		}
		if log.Info(report.InfoMisc, 1) {
			do := "Clear"
			if on {
				do = "Sett"
			}
			log.Printf(report.Info, "%sing the %s option to match the batchfile.\n", do, f.name)
		}
		f.set(o, on)
	}
	if protocol < 29 {
		o.Dirs = o.Recurse
	}
	return nil
}

// writesBatch reports whether this side records the stream.
func (s *side) writesBatch() bool {
	return s.p.Batch != nil && s.p.Batch.out != nil && !s.p.Server
}
