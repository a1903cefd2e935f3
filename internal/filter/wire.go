package filter

import (
	"encoding/binary"
	"io"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
)

// newestProtocol is the protocol of rsync 3.5.0.
const newestProtocol = 32

// Session is what both ends have agreed on when rules are exchanged.
type Session struct {
	Sender   bool // this end sends files
	Local    bool // both ends share the command line: nothing is exchanged
	Protocol int  // 27 to 32
	// Delete and PruneEmptyDirs say whether --delete (any kind) and
	// --prune-empty-dirs are in force: a receiver wants rules only then.
	Delete, PruneEmptyDirs bool
	CVS                    bool // --cvs-exclude
}

// receiverWants reports whether a client that sends files also sends rules.
func (l *List) receiverWants(s Session) bool {
	return s.PruneEmptyDirs || s.Delete && (!l.cfg.DeleteExcluded || s.Protocol >= 29)
}

// Send completes the client's list and writes the rules that the server
// needs, each as a 32-bit little-endian length and its text, ended by a zero
// length; nothing if the server expects nothing. A nil writer stands for a
// batch being read.
//
// rsync 3.5.0 exclude.c:send_filter_list.
func (l *List) Send(w io.Writer, s Session) error {
	if s.Local || s.Sender && !l.receiverWants(s) {
		w = nil
	}
	l.begin(s)
	if s.CVS && s.Sender {
		if s.Protocol >= 29 {
			if err := l.addCVS(":C"); err != nil {
				return err
			}
		}
		if err := l.addCVS("-C"); err != nil {
			return err
		}
	}
	var out []byte
	if err := l.assign(&l.rules, s, &out); err != nil {
		return err
	}
	if w != nil {
		if _, err := w.Write(append(out, 0, 0, 0, 0)); err != nil {
			return err
		}
	}
	if !s.CVS {
		return nil
	}
	if !s.Sender || s.Protocol < 29 {
		if err := l.addCVS(":C"); err != nil {
			return err
		}
	}
	if !s.Sender {
		return l.addCVS("-C")
	}
	return nil
}

// Recv reads the rules that Send wrote and completes the server's list.
//
// rsync 3.5.0 exclude.c:recv_filter_list.
func (l *List) Recv(r io.Reader, s Session) error {
	l.begin(s)
	if !s.Local && (s.Sender || l.receiverWants(s)) {
		var m mode
		if s.Protocol < 29 {
			m = oldPrefixes
		}
		if err := l.read(r, m); err != nil {
			return err
		}
	}
	if s.CVS {
		if s.Local || s.Sender || s.Protocol < 29 {
			if err := l.addCVS(":C"); err != nil {
				return err
			}
		}
		if s.Local || s.Sender {
			if err := l.addCVS("-C"); err != nil {
				return err
			}
		}
	}
	if s.Local {
		return l.assign(&l.rules, s, nil)
	}
	return nil
}

func (l *List) read(r io.Reader, m mode) error {
	buf := make([]byte, maxLine)
	for {
		if _, err := io.ReadFull(r, buf[:4]); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint32(buf)
		if n == 0 {
			return nil
		}
		if n >= maxLine {
			return exitcode.New(exitcode.Malloc, "ERROR: buffer overflow in recv_rules [%s]", l.cfg.Who)
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return err
		}
		if err := l.parser().text(&l.rules, string(buf[:n]), &rule{}, m); err != nil {
			return err
		}
	}
}

// begin notes the role, which messages name from here on.
func (l *List) begin(s Session) {
	l.protocol = s.Protocol
	l.cfg.Who = "Receiver"
	if s.Sender {
		l.cfg.Who = "sender"
	}
}

// assign decides for each rule which end it is for, and appends those for
// the peer to out in the shape that its protocol knows.
//
// rsync 3.5.0 exclude.c:send_rules.
func (l *List) assign(list *ruleList, s Session, out *[]byte) error {
	style := prefixStyle{
		sides:      s.Protocol >= 29,
		receiver:   l.cfg.DeleteExcluded && s.Sender,
		perishable: s.Protocol >= 30,
		dropPerish: !s.Sender,
		spelled:    s.Protocol >= 29,
	}
	for _, r := range list.rules {
		r.elide = l.endOf(r, s.Sender)
		if r.elide == localOnly {
			continue
		}
		if r.has(cvsIgnore) && !r.has(mergeFile) {
			if s.Sender || s.Protocol < 29 {
				if err := l.assign(&l.cvs, s, out); err != nil {
					return err
				}
				continue
			}
			if err := l.assign(&l.cvs, s, nil); err != nil {
				return err
			}
		}
		prefix, ok := r.spell(style, r.pattern)
		if !ok {
			return exitcode.New(exitcode.Protocol, "filter rules are too modern for remote rsync.")
		}
		if text := prefix + r.pattern + r.slash(); out != nil && text != "" {
			*out = binary.LittleEndian.AppendUint32(*out, uint32(len(text)))
			*out = append(*out, text...)
		}
	}
	return nil
}

// endOf returns which end a rule is for. Under --delete-excluded that also
// concerns rules that name no side; but the rules in a dir-merge file may
// name theirs.
func (l *List) endOf(r *rule, sender bool) elision {
	sendersOnly, receiversOnly := remoteOnly, localOnly
	if sender {
		sendersOnly, receiversOnly = localOnly, remoteOnly
	}
	switch r.flags & sides {
	case sides:
		return bothEnds
	case senderSide:
		return sendersOnly
	case receiverSide:
		return receiversOnly
	}
	if l.cfg.DeleteExcluded && (!r.has(perDir) || r.has(noPrefixes)) {
		return sendersOnly
	}
	return bothEnds
}

// BatchRules returns the rules as the lines of the script that
// --write-batch leaves behind. A rule with a newline has no such line.
//
// rsync 3.5.0 batch.c:write_filter_rules.
func (l *List) BatchRules() ([]string, error) {
	var lines []string
	for _, r := range l.rules.rules {
		if strings.Contains(r.pattern, "\n") {
			return nil, exitcode.New(exitcode.Syntax,
				"cannot write a filter rule containing a newline to the batch replay script")
		}
		lines = append(lines, r.prefix()+r.pattern+r.slash())
	}
	return lines, nil
}
