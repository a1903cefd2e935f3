package options

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
)

const maxLevel = 4

// where a flag matters: a server is told only of those that matter to it.
type where uint8

const (
	whereClient where = 1 << iota
	whereServer
	whereSender
	whereReceiver
	whereBoth = whereSender | whereReceiver
	whereEnds = whereClient | whereServer
)

type flagWord struct {
	name  string
	where where
	help  string
}

func flagNames(words []flagWord) []string {
	var out []string
	for _, w := range words {
		out = append(out, strings.ToLower(w.name))
	}
	return out
}

// The words of both options, by the flags of package report, with where they
// matter as rsync 3.5.0 options.c:info_words and debug_words have it.
var infoWords = [...]flagWord{
	report.InfoBackup:   {"BACKUP", whereReceiver, "files that were backed up"},
	report.InfoCopy:     {"COPY", whereReceiver, "files copied from within the receiving side"},
	report.InfoDel:      {"DEL", whereReceiver, "deletions on the receiving side"},
	report.InfoFlist:    {"FLIST", whereClient, "sending and receiving of the file list (levels 1-2)"},
	report.InfoMisc:     {"MISC", whereBoth, "whatever has no word of its own (levels 1-2)"},
	report.InfoMount:    {"MOUNT", whereBoth, "mount points found or left out"},
	report.InfoName:     {"NAME", whereBoth, "1) names of what is updated, 2) of what is unchanged too"},
	report.InfoNonreg:   {"NONREG", whereReceiver, "non-regular files left out (on by default, 0 silences)"},
	report.InfoProgress: {"PROGRESS", whereClient, "1) progress of each file or 2) of the whole transfer"},
	report.InfoRemove:   {"REMOVE", whereSender, "files removed on the sending side"},
	report.InfoSkip:     {"SKIP", whereReceiver, "files left out because of an option (levels 1-2)"},
	report.InfoStats:    {"STATS", whereEnds, "statistics at the end (levels 1-3)"},
	report.InfoSwarm:    {"SWARM", whereClient, "what the swarm does (levels 1-2)"},
	report.InfoSymsafe:  {"SYMSAFE", whereBoth, "symlinks that are unsafe"},
}

var debugWords = [...]flagWord{
	report.DebugACL:      {"ACL", whereBoth, "details of ACLs"},
	report.DebugBackup:   {"BACKUP", whereReceiver, "making of backups (levels 1-2)"},
	report.DebugBind:     {"BIND", whereClient, "binding of sockets"},
	report.DebugChdir:    {"CHDIR", whereEnds, "changes of the current directory"},
	report.DebugConnect:  {"CONNECT", whereClient, "connecting (levels 1-2)"},
	report.DebugCmd:      {"CMD", whereClient, "commands and options that are sent (levels 1-2)"},
	report.DebugDel:      {"DEL", whereReceiver, "deleting (levels 1-3)"},
	report.DebugDeltasum: {"DELTASUM", whereBoth, "checksums and matches of the delta transfer (levels 1-4)"},
	report.DebugDup:      {"DUP", whereReceiver, "removal of duplicate names"},
	report.DebugExit:     {"EXIT", whereEnds, "how processes end (levels 1-3)"},
	report.DebugFilter:   {"FILTER", whereBoth, "what the filter rules do (levels 1-3)"},
	report.DebugFlist:    {"FLIST", whereBoth, "work on the file list (levels 1-4)"},
	report.DebugFuzzy:    {"FUZZY", whereReceiver, "scores of similar names (levels 1-2)"},
	report.DebugGenr:     {"GENR", whereReceiver, "the generator"},
	report.DebugHash:     {"HASH", whereBoth, "hash tables"},
	report.DebugHlink:    {"HLINK", whereBoth, "hard links (levels 1-3)"},
	report.DebugIconv:    {"ICONV", whereEnds, "character set conversion (levels 1-2)"},
	report.DebugIO:       {"IO", whereEnds, "input and output (levels 1-4)"},
	report.DebugNstr:     {"NSTR", whereEnds, "negotiation strings"},
	report.DebugOwn:      {"OWN", whereReceiver, "changes of owner and group (levels 1-2)"},
	report.DebugProto:    {"PROTO", whereEnds, "the protocol"},
	report.DebugRecv:     {"RECV", whereReceiver, "the receiver"},
	report.DebugSend:     {"SEND", whereSender, "the sender"},
	report.DebugSwarm:    {"SWARM", whereClient, "the swarm's engine at work"},
	report.DebugTime:     {"TIME", whereReceiver, "setting of times (levels 1-2)"},
}

// What each level of --verbose adds (rsync(1), --verbose; options.c:
// info_verbosity, debug_verbosity).
var (
	infoVerbosity = []string{
		"NONREG",
		"COPY,DEL,FLIST,MISC,NAME,STATS,SWARM,SYMSAFE",
		"BACKUP,MISC2,MOUNT,NAME2,REMOVE,SKIP,SWARM2",
	}
	debugVerbosity = []string{
		2: "BIND,CMD,CONNECT,DEL,DELTASUM,DUP,FILTER,FLIST,ICONV",
		3: "ACL,BACKUP,CONNECT2,DELTASUM2,DEL2,EXIT,FILTER2,FLIST2,FUZZY,GENR,OWN,RECV,SEND,SWARM,TIME",
		4: "CMD2,DELTASUM3,DEL3,EXIT2,FLIST3,ICONV2,OWN2,PROTO,TIME2",
		5: "CHDIR,DELTASUM4,FLIST4,FUZZY2,HASH,HLINK",
	}
)

// flagSet is one of the two options: its words, their levels, and which of them
// the user named; what he named stays untouched by implied settings.
type flagSet struct {
	option string // --info or --debug
	words  []flagWord
	level  []uint8
	named  []bool
}

func newFlagSet(option string, words []flagWord) *flagSet {
	return &flagSet{option, words, make([]uint8, len(words)), make([]bool, len(words))}
}

func newInfoSet() *flagSet  { return newFlagSet("--info", infoWords[:]) }
func newDebugSet() *flagSet { return newFlagSet("--debug", debugWords[:]) }

// errFlagHelp reports that the list of words asks for help.
var errFlagHelp = fmt.Errorf("help is asked for")

// add applies a comma-separated list of words. A word is a name with an
// optional level; ALL and NONE stand for every name. Unknown words are an error
// unless lenient, as a server has to be towards newer clients.
func (f *flagSet) add(list string, byUser, lenient bool) error {
	for _, word := range strings.Split(list, ",") {
		if word == "" {
			continue
		}
		name, level := splitLevel(word)
		var all bool
		switch strings.ToUpper(name) {
		case "HELP":
			return errFlagHelp
		case "NONE":
			all, level = true, 0
		case "ALL":
			all = true
		}
		known := all
		for i, w := range f.words {
			if !all && !strings.EqualFold(name, w.name) {
				continue
			}
			known = true
			if byUser || !f.named[i] {
				f.level[i] = level
				f.named[i] = f.named[i] || byUser
			}
		}
		if !known && !lenient {
			return exitcode.New(exitcode.Syntax, "Unknown %s item: \"%s\"", f.option, name)
		}
	}
	return nil
}

// splitLevel takes the digits off the end of a word. No digits are level 1, too
// many the highest level.
func splitLevel(word string) (string, uint8) {
	if word[0] >= '0' && word[0] <= '9' {
		return word, 1
	}
	name := strings.TrimRight(word, "0123456789")
	if name == word {
		return word, 1
	}
	n, err := strconv.Atoi(word[len(name):])
	if err != nil || n > maxLevel {
		n = maxLevel
	}
	return name, uint8(n)
}

// imply sets words that an option stands for.
func (f *flagSet) imply(list string) {
	_ = f.add(list, false, true) // the lists are ours
}

func (f *flagSet) implyVerbosity(verbosity []string, level int) {
	for i, list := range verbosity {
		if i <= level {
			f.imply(list)
		}
	}
}

func (f *flagSet) describe(w where, shorten bool) string {
	var counts [maxLevel + 1]int
	most, common, skipped := 0, -1, false
	for i, word := range f.words {
		switch {
		case word.where&w == 0:
		case !f.named[i]:
			skipped = true
		default:
			if l := f.level[i]; counts[l]+1 > most {
				counts[l]++
				most, common = counts[l], int(l)
			} else {
				counts[l]++
			}
		}
	}
	var out []string
	switch {
	case !shorten || skipped || most < 5:
		common = -1
	case common == 0:
		out = append(out, "NONE")
	default:
		out = append(out, levelled("ALL", uint8(common)))
	}
	for i, word := range f.words {
		if f.named[i] && word.where&w != 0 && int(f.level[i]) != common {
			out = append(out, levelled(word.name, f.level[i]))
		}
	}
	return strings.Join(out, ",")
}

func levelled(name string, level uint8) string {
	if level == 1 {
		return name
	}
	return name + strconv.Itoa(int(level))
}

// defaultInfo is the levels without any option.
func defaultInfo() report.InfoLevels {
	f := newInfoSet()
	f.implyVerbosity(infoVerbosity, 0)
	return report.InfoLevels(f.level)
}

// ParseInfoFlags returns the levels of a list as --info takes it, over the
// given ones.
func ParseInfoFlags(list string, base report.InfoLevels) (report.InfoLevels, error) {
	f := newInfoSet()
	copy(f.level, base[:])
	err := f.add(list, true, false)
	return report.InfoLevels(f.level), err
}

// ParseDebugFlags returns the levels of a list as --debug takes it, over the
// given ones.
func ParseDebugFlags(list string, base report.DebugLevels) (report.DebugLevels, error) {
	f := newDebugSet()
	copy(f.level, base[:])
	err := f.add(list, true, false)
	return report.DebugLevels(f.level), err
}

// LimitVerbosity lowers every level of --info and --debug to what that many
// --verbose give: rsyncd.conf(5), "max verbosity".
func (o *Options) LimitVerbosity(verbose int) {
	if verbose >= len(debugVerbosity) {
		return
	}
	info, debug := newInfoSet(), newDebugSet()
	info.implyVerbosity(infoVerbosity, verbose)
	debug.implyVerbosity(debugVerbosity, verbose)
	for i := range o.Info {
		o.Info[i] = min(o.Info[i], info.level[i])
	}
	for i := range o.Debug {
		o.Debug[i] = min(o.Debug[i], debug.level[i])
	}
}

// InfoHelp writes what --info=help prints.
func InfoHelp(w io.Writer) error { return newInfoSet().writeHelp(w, infoVerbosity) }

// DebugHelp writes what --debug=help prints.
func DebugHelp(w io.Writer) error { return newDebugSet().writeHelp(w, debugVerbosity) }

func (f *flagSet) writeHelp(w io.Writer, verbosity []string) error {
	var b strings.Builder
	line := func(name, help string) { fmt.Fprintf(&b, "%-10s %s\n", name, help) }
	b.WriteString("A word alone is level 1; WORD2 is level 2 and so on, WORD0 silences.\n\n")
	for _, word := range f.words {
		line(word.name, word.help)
	}
	b.WriteByte('\n')
	line("ALL", fmt.Sprintf("every word of %s (ALL%d: at the highest level)", f.option, maxLevel))
	line("NONE", "silence every word (same as ALL0)")
	line("HELP", "print this text")
	b.WriteString("\nAdded by each level of --verbose:\n")
	for level, list := range verbosity {
		step := newFlagSet(f.option, f.words)
		if err := step.add(list, true, true); err != nil {
			return err
		}
		if s := step.describe(whereEnds|whereBoth, false); s != "" {
			fmt.Fprintf(&b, "%d) %s\n", level, s)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
