package filter

import (
	"bufio"
	"io"
	"path"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
)

// ruleList is a list of rules in order of precedence, followed by those of
// the directories above when it belongs to a directory. Lists are not
// changed once their directory has been entered, so that directories share
// what they inherit.
type ruleList struct {
	rules     []*rule
	inherited *ruleList
	label     string // for messages, with a leading space
}

// merge is a dir-merge rule in force: its rules differ by directory.
type merge struct {
	*rule
	label string
}

// slot is the place of a merge in a directory's state.
type slot struct {
	merge  *merge // nil when a "!" has removed it
	name   string // of the file; with a slash until it has been set up
	ready  bool   // the directories above the transfer have been scanned
	active *ruleList
}

// parser reads rules into lists, for the options or for one directory.
type parser struct {
	list     *List
	who      string
	open     Opener
	slots    *[]slot // the merges in force, which rules add to
	dir      string  // where relative merge files and anchored rules belong
	sender   bool    // which side's rules matter (anchorToDir, absIfSlash)
	scanning bool    // reading a directory above the transfer
	src      source
	depth    int
}

func (p *parser) debug(level int, format string, args ...any) {
	if c := &p.list.cfg; c.Debug != nil && c.DebugLevel >= level {
		c.Debug(format, args...)
	}
}

func (p *parser) warn(format string, args ...any) {
	if w := p.list.cfg.Warn; w != nil {
		w(format, args...)
	}
}

// text adds the rules in text, which container describes, to a list.
//
// rsync 3.5.0 exclude.c:parse_filter_str.
func (p *parser) text(to *ruleList, text string, container *rule, m mode) error {
	text, _, _ = strings.Cut(text, "\x00") // as a C string ends
	for {
		r, pattern, rest, err := p.token(text, container, m)
		if r == nil || err != nil {
			return err
		}
		text = rest
		switch {
		case len(pattern) >= maxPath:
			p.warn("discarding over-long filter: %s", p.src.show(nil, pattern))
			continue
		case r.has(clearList):
			p.debug(2, "[%s] clearing filter list%s", p.who, to.label)
			p.drop(to.rules)
			to.rules, to.inherited = nil, nil
			continue
		case r.has(mergeFile):
			done, err := p.mergeRule(to, r, &pattern)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		whole := r.flags
		p.add(to, r, pattern, m)
		if whole&cvsIgnore != 0 && whole&mergeFile == 0 {
			if err := p.list.loadCVS(whole); err != nil {
				return err
			}
		}
	}
}

// mergeRule reads a merge file at once; a dir-merge it only completes, and
// reports false for the caller to add it.
func (p *parser) mergeRule(to *ruleList, r *rule, pattern *string) (done bool, err error) {
	if *pattern == "" {
		*pattern = ".cvsignore"
	}
	if r.has(excludeSelf) {
		if self := (*pattern)[strings.LastIndexByte(*pattern, '/')+1:]; self != "" {
			p.add(to, &rule{flags: r.flags & fromFile}, self, 0)
		}
		r.flags &^= excludeSelf
	}
	if r.has(perDir) && !p.scanning {
		return false, nil
	}
	name, ok := p.mergeName(r, *pattern)
	switch {
	case !ok:
		return true, nil
	case r.has(perDir):
		p.add(to, r, name, 0)
		return true, nil
	}
	return true, p.file(to, name, r, fatal)
}

// mergeName resolves the name of a merge file against the directory that is
// being read: a name without a slash stays as it is, and so means the
// working directory for a merge and every directory for a dir-merge.
//
// rsync 3.5.0 exclude.c:parse_merge_name.
func (p *parser) mergeName(r *rule, name string) (string, bool) {
	if !p.scanning && !strings.Contains(name, "/") {
		return name, true
	}
	dir := p.dir
	if dir == "" && p.list.cfg.Sanitize {
		dir = "/"
	}
	full := join(dir, name)
	if len(full) >= maxPath {
		p.warn("merge-file name overflows: %s", p.src.show(r, name))
		return "", false
	}
	return full, true
}

// add stores the pattern in the rule and the rule in the list, unless it is
// only for the other side.
//
// rsync 3.5.0 exclude.c:add_rule.
func (p *parser) add(to *ruleList, r *rule, pattern string, m mode) {
	p.debugAdd(to, r, pattern)
	other := senderSide
	if p.sender {
		other = receiverSide
	}
	if m&(anchorToDir|absIfSlash) != 0 && r.flags&sides == other {
		return
	}
	if len(pattern) > 1 && strings.HasSuffix(pattern, "/") {
		pattern = pattern[:len(pattern)-1]
		r.flags |= dirOnly
	}
	if !r.has(absPath | mergeFile) {
		rooted := strings.HasPrefix(pattern, "/")
		if rooted && m&(anchorToDir|absIfSlash) != 0 || m&absIfSlash != 0 && strings.Contains(pattern, "/") {
			r.flags |= absPath
			if rooted {
				pattern = strings.TrimSuffix(p.dir, "/") + pattern
			}
		}
	}
	if m&dirToWild3 != 0 && r.flags&(dirOnly|include) == dirOnly {
		r.flags &^= dirOnly
		pattern += "/***"
	}
	r.setPattern(pattern)
	if r.has(perDir) && !p.register(r) {
		return
	}
	to.rules = append(to.rules, r)
}

func (p *parser) debugAdd(to *ruleList, r *rule, pattern string) {
	about, level := "", 2
	if strings.HasSuffix(pattern, " ") || strings.HasSuffix(pattern, "\t") {
		about, level = " -- CAUTION: trailing whitespace!", 1
	}
	if p.list.cfg.DebugLevel < level {
		return
	}
	p.debug(level, "[%s] add_rule(%s%s)%s%s", p.who, p.src.detail(r, r.prefix()), p.src.show(r, pattern),
		to.label, p.src.detail(r, about))
}

// register gives a dir-merge its slot; false when a file of that name is
// merged already.
func (p *parser) register(r *rule) bool {
	base := path.Base(r.pattern)
	for _, s := range *p.slots {
		if s.merge != nil && path.Base(s.name) == base {
			return false
		}
	}
	r.merge = &merge{rule: r, label: " [per-dir " + p.src.show(r, base) + "]"}
	p.debug(2, "[%s] activating mergelist #%d%s", p.who, len(*p.slots), r.merge.label)
	*p.slots = append(*p.slots, slot{merge: r.merge, name: r.pattern})
	return true
}

// drop ends the merges that the rules put in force.
//
// rsync 3.5.0 exclude.c:teardown_mergelist.
func (p *parser) drop(rules []*rule) {
	for _, r := range rules {
		if r.merge == nil {
			continue
		}
		for i := range *p.slots {
			if (*p.slots)[i].merge == r.merge {
				p.debug(2, "[%s] deactivating mergelist #%d%s", p.who, i, r.merge.label)
				(*p.slots)[i] = slot{}
			}
		}
		for n := len(*p.slots); n > 0 && (*p.slots)[n-1].merge == nil; n-- {
			*p.slots = (*p.slots)[:n-1]
		}
	}
}

// file adds the rules in a file to a list. A file that cannot be opened is
// empty unless m says that this is fatal.
//
// rsync 3.5.0 exclude.c:parse_filter_file.
func (p *parser) file(to *ruleList, name string, container *rule, m mode) error {
	if name == "" {
		return nil
	}
	if p.depth >= maxMergeDepth {
		err := exitcode.New(exitcode.FileIO, "[%s] merge-file include depth limit (%d) exceeded at %s",
			p.who, maxMergeDepth, p.src.show(container, p.shown(name)))
		if m&fatal != 0 {
			return err
		}
		p.warn("%s", err)
		return nil
	}
	if p.list.hiddenByDaemon(name) {
		p.debug(2, "[%s] parse_filter_file(%s)%s", p.who, p.src.show(container, name),
			p.src.detail(container, " hidden by daemon filter"))
		return nil
	}
	f, err := p.open(name)
	about := ""
	if err != nil {
		about = " [not found]"
	}
	p.debug(2, "[%s] parse_filter_file(%s)%s", p.who, p.src.show(container, name), p.src.detail(container, about))
	if err != nil {
		if m&fatal == 0 {
			return nil
		}
		return p.cannot("open", name, container, err)
	}
	defer f.Close()

	outer := p.src
	p.src = outer.within(p.shown(name), container)
	p.depth++
	if err = p.lines(to, bufio.NewReader(f), container, m); err != nil && exitcode.Of(err, exitcode.OK) == exitcode.OK {
		if p.src = outer; m&fatal != 0 {
			err = p.cannot("read", name, container, err)
		} else {
			err = nil // what cannot be read is empty, as what cannot be opened
		}
	}
	p.depth--
	p.src = outer
	return err
}

// cannot words a failure to open or read a file. When the name comes from a
// file, neither it nor the reason, which tells whether it exists, is shown.
func (p *parser) cannot(what, name string, container *rule, err error) error {
	clude := "exclude"
	if container.has(include) {
		clude = "include"
	}
	if p.src.hides(container) {
		return exitcode.New(exitcode.FileIO, "failed to %s %s file %s", what, clude, p.src.show(container, name))
	}
	return exitcode.New(exitcode.FileIO, "rsync: [%s] failed to %s %s file %s: %s", p.who, what, clude, p.shown(name), systemText(err))
}

// shown is the name of a file of rules as messages have it.
func (p *parser) shown(name string) string {
	if strings.HasPrefix(name, "/") {
		return p.list.cfg.Top + name
	}
	return name
}

// lines parses a file's lines, or its words, each as a text of its own.
func (p *parser) lines(to *ruleList, in *bufio.Reader, container *rule, m mode) error {
	words := container.has(wordSplit)
	nulls := p.list.cfg.EOLNulls
	var line []byte
	for {
		if !words {
			p.src.line++
		}
		line = line[:0]
		overflow := false
		var c byte
		var err error
		for {
			if c, err = in.ReadByte(); err != nil {
				break
			}
			if words && strings.IndexByte(spaces, c) >= 0 || nulls && c == 0 {
				break
			}
			if !nulls && (c == '\n' || c == '\r') {
				if c == '\r' { // CR LF ends one line, not two
					if next, e := in.Peek(1); e == nil && next[0] == '\n' {
						_, _ = in.Discard(1)
					}
				}
				break
			}
			if overflow = overflow || len(line) == maxLine-1; !overflow {
				line = append(line, c)
			}
		}
		if err != nil && err != io.EOF {
			return err
		}
		text := string(line)
		switch {
		case overflow:
			p.warn("discarding over-long filter: %s", p.src.show(nil, text))
		case text == "" || !words && (text[0] == ';' || text[0] == '#'):
		default:
			if e := p.text(to, text, container, m); e != nil {
				return e
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}
