package filter

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prsync/prsync/internal/exitcode"
)

// Verdict is what the rules say of a name.
type Verdict int8

const (
	Exclude Verdict = -1 // hidden from the transfer, or protected from deletion
	None    Verdict = 0  // no rule matches: taken
	Include Verdict = 1  // taken explicitly
)

// Kind is the option that a rule is given with.
type Kind uint8

const (
	Filter       Kind = iota // --filter=RULE
	ExcludeRule              // --exclude=PATTERN
	IncludeRule              // --include=PATTERN
	ExcludeFrom              // --exclude-from=FILE
	IncludeFrom              // --include-from=FILE
	PerDirFilter             // -F; text is ignored
)

// Opener opens a file of rules that an argument or another such file names.
// A relative name is relative to Config.Dir; "-" is standard input, unless
// Config.Server. The caller decides what it may reach.
type Opener func(name string) (io.ReadCloser, error)

// Config is what a List needs to know of its surroundings. All paths of a
// daemon are as seen inside the module: its top is "/".
type Config struct {
	// Who speaks in messages while options are parsed: "client" (the
	// default), "server", and so on.
	Who string
	// Dir is the absolute path of the working directory, against which
	// rules with the "/" modifier match outside of any Walk.
	Dir string
	// EOLNulls is --from0: rules in files end with a NUL, not with a line.
	EOLNulls bool
	// Protocol is the version that --protocol asks for; 0 for the newest.
	Protocol int
	// DeleteExcluded is --delete-excluded: plain rules hide on the sender
	// and no longer protect on the receiver.
	DeleteExcluded bool
	// Sanitize keeps the names of merge files below "/" (a daemon).
	Sanitize bool
	// Top is put before absolute paths in messages: the module's path as the
	// system knows it, for a daemon that has not made it the root.
	Top string
	// HomeCVSIgnore is the path of ~/.cvsignore, CVSIgnore the value of
	// $CVSIGNORE; both empty for none. For a daemon the path is "/.cvsignore"
	// if it has chrooted, and empty otherwise, as files outside of the module
	// are not read.
	HomeCVSIgnore, CVSIgnore string
	// Open opens files of rules; nil if none may be opened.
	Open Opener
	// Daemon holds the module's own rules: a file that they exclude is
	// treated as missing.
	Daemon *List
	// Warn gets errors that leave the run going, Debug the messages of
	// --debug=FILTER up to DebugLevel. Both without newline, either nil.
	// Debug may be called by several Walks at once.
	Warn, Debug func(format string, args ...any)
	DebugLevel  int
}

// List is the ordered list of filter rules of one end of a transfer. It is
// built by one goroutine (AddArg, Send or Recv); from then on Check and Walk
// may be used by several.
type List struct {
	cfg   Config
	rules ruleList
	slots []slot
	cvs   ruleList
	// protocol is what Send or Recv negotiated; cfg.Protocol before that.
	protocol  int
	perDirs   int // how often PerDirFilter was added
	cvsLoad   sync.Mutex
	cvsLoaded bool
	cvsErr    error

	sawPerDir, sawXattr atomic.Bool
}

// New returns an empty list.
func New(cfg Config) *List {
	if cfg.Who == "" {
		cfg.Who = "client"
	}
	if cfg.Protocol == 0 {
		cfg.Protocol = newestProtocol
	}
	return &List{cfg: cfg, protocol: cfg.Protocol, cvs: ruleList{label: " [global CVS]"}}
}

// Clone returns a copy that can be given other rules. A local transfer takes
// one for its receiving end before Send.
func (l *List) Clone() *List {
	c := &List{cfg: l.cfg, protocol: l.protocol, cvsLoaded: l.cvsLoaded, cvsErr: l.cvsErr, perDirs: l.perDirs}
	moved := make(map[*merge]*merge)
	copyRules := func(from ruleList) ruleList {
		to := ruleList{label: from.label}
		for _, r := range from.rules {
			n := *r
			if n.merge != nil {
				n.merge = &merge{rule: &n, label: r.merge.label}
				moved[r.merge] = n.merge
			}
			to.rules = append(to.rules, &n)
		}
		return to
	}
	c.rules, c.cvs = copyRules(l.rules), copyRules(l.cvs)
	for _, s := range l.slots {
		s.merge = moved[s.merge]
		c.slots = append(c.slots, s)
	}
	c.sawPerDir.Store(l.sawPerDir.Load())
	c.sawXattr.Store(l.sawXattr.Load())
	return c
}

// parser returns a parser for arguments.
func (l *List) parser() *parser {
	return &parser{list: l, who: l.cfg.Who, open: l.open, slots: &l.slots}
}

func (l *List) open(name string) (io.ReadCloser, error) {
	if l.cfg.Open == nil {
		return nil, exitcode.New(exitcode.FileIO, "no filter file may be read here")
	}
	return l.cfg.Open(name)
}

// AddArg adds what one option says, in the order of the command line. An
// error ends the run; it holds rsync's message and exit code.
func (l *List) AddArg(kind Kind, text string) error {
	p, plain := l.parser(), &rule{}
	if kind == IncludeRule || kind == IncludeFrom {
		plain.flags = include
	}
	switch kind {
	case ExcludeRule, IncludeRule:
		return p.text(&l.rules, text, plain, oldPrefixes)
	case ExcludeFrom, IncludeFrom:
		return p.file(&l.rules, text, plain, fatal|oldPrefixes)
	case PerDirFilter:
		switch l.perDirs++; l.perDirs {
		case 1:
			text = ": /.rsync-filter"
		case 2:
			text = "- .rsync-filter"
		default:
			return nil
		}
	}
	return p.text(&l.rules, text, plain, 0)
}

// AddPartialDir excludes a relative --partial-dir. It is added after the
// options, before Send or Recv, by a client and by the receiving end of a
// local transfer.
//
// rsync 3.5.0 compat.c:setup_protocol.
func (l *List) AddPartialDir(dir string, s Session) error {
	plain := &rule{flags: noPrefixes | dirOnly}
	if !s.Sender || s.Protocol >= 30 {
		plain.flags |= perishable
	}
	return l.parser().text(&l.rules, dir, plain, 0)
}

// Empty reports whether there is no rule at all.
func (l *List) Empty() bool { return l == nil || len(l.rules.rules) == 0 }

// HasXattrRules reports whether a rule has the "x" modifier, which replaces
// rsync's default choice of xattr names.
func (l *List) HasXattrRules() bool { return l.sawXattr.Load() }

// HasPerDir reports whether there was a dir-merge rule: the receiver then
// cannot know what the sender excludes, and leaves CheckSender out.
func (l *List) HasPerDir() bool { return l.sawPerDir.Load() }

// Check gives the verdict on a name by the rules outside of per-directory
// files, and the text of the rule that decided, as far as it may be shown.
// The name is relative to the root of the transfer.
func (l *List) Check(name string, isDir bool) (Verdict, string) {
	return l.decide(l.query(name, kindOf(isDir)))
}

// CheckXattr is Check for the name of an extended attribute.
func (l *List) CheckXattr(name string) Verdict {
	v, _ := l.decide(l.query(name, attrName))
	return v
}

// CheckSender is what a receiver asks of each name in a remote sender's file
// list: did our own rules exclude it? The error is fatal.
//
// rsync 3.5.0 flist.c:recv_file_entry, exclude.c:check_server_filter.
func (l *List) CheckSender(name string, isDir bool) error {
	if l.Empty() || isRoot(name) {
		return nil
	}
	q := l.query(name, kindOf(isDir))
	q.elided = localOnly
	if v, _ := l.decide(q); v == Exclude {
		return exitcode.New(exitcode.Unsupported, "ERROR: rejecting excluded file-list name: %s", name)
	}
	return nil
}

// isRoot reports whether name is the file list's entry for the root of the
// transfer, which no rule applies to.
func isRoot(name string) bool { return name == "." || name == "/." }

// query is one question to the rules.
type query struct {
	name   string
	kind   nameKind
	base   string  // absolute path of what name is relative to
	elided elision // rules of that kind do not count
	dying  bool    // nor do perishable ones
	slots  []slot  // the per-directory rules in force; nil for none
	who    string
}

func (l *List) query(name string, kind nameKind) query {
	return query{name: name, kind: kind, base: l.cfg.Dir, elided: remoteOnly, who: l.cfg.Who}
}

func (l *List) decide(q query) (Verdict, string) {
	if l == nil {
		return None, ""
	}
	return l.search(&l.rules, &q)
}

// search returns the verdict of the first rule that matches.
//
// rsync 3.5.0 exclude.c:check_filter.
func (l *List) search(list *ruleList, q *query) (Verdict, string) {
	label := list.label
	for ; list != nil; list = list.inherited {
		for _, r := range list.rules {
			switch {
			case q.dying && r.has(perishable):
			case r.merge != nil:
				if in := activeRules(q.slots, r.merge); in != nil {
					if v, text := l.search(in, q); v != None {
						return v, text
					}
				}
			case r.has(cvsIgnore):
				if v, text := l.search(&l.cvs, q); v != None {
					return v, text
				}
			case r.elide == q.elided && r.elide != bothEnds:
			case r.matches(q.base, q.name, q.kind):
				return r.verdict(), l.report(r, q, label)
			}
		}
	}
	return None, ""
}

func activeRules(slots []slot, m *merge) *ruleList {
	for i := range slots {
		if slots[i].merge == m {
			return slots[i].active
		}
	}
	return nil
}

// report says which rule decided, and returns its text.
//
// rsync 3.5.0 exclude.c:report_filter_result.
func (l *List) report(r *rule, q *query, label string) string {
	shown := source{}.show(r, r.pattern) + source{}.detail(r, r.slash())
	level := 3
	if q.who == "sender" || q.who == "generator" {
		level = 1
	}
	if c := &l.cfg; c.Debug != nil && c.DebugLevel >= level {
		verb := "hid"
		switch generator := strings.HasPrefix(q.who, "g"); {
		case generator && r.has(include):
			verb = "risk"
		case generator:
			verb = "protect"
		case r.has(include):
			verb = "show"
		}
		c.Debug("[%s] %sing %s %s because of pattern %s%s", q.who, verb, q.kind, q.name, shown, label)
	}
	return shown
}

// hiddenByDaemon reports whether the module's rules hide a file of rules.
func (l *List) hiddenByDaemon(name string) bool {
	if l.cfg.Daemon.Empty() {
		return false
	}
	v, _ := l.cfg.Daemon.Check(join("", name), false)
	return v == Exclude
}
