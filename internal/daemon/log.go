package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/syslog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/fsroot"
)

// maxLogLine is the length at which a logged message is cut, as rsync does.
const maxLogLine = 2047

// Log writes to a log file or to syslog. It is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	now    func() time.Time
	pid    int
	path   string // "" is syslog
	file   *os.File
	sys    *syslog.Writer
	target logTarget
	// brief logs keep no file open between lines, so that a listener's log
	// can be rotated.
	brief bool
}

// logTarget says where a log goes.
type logTarget struct {
	file     string
	facility int
	tag      string
}

// openLog opens a log. A file that cannot be opened is said so in syslog,
// which is used in its place.
func openLog(t logTarget, now func() time.Time, brief bool) *Log {
	l := &Log{now: now, pid: os.Getpid(), target: t, path: t.file, brief: brief}
	// The time zone is read while the file system is still whole.
	_, _ = now().Zone()
	if t.file == "" {
		l.openSyslog()
		return l
	}
	f, err := openLogFile(t.file)
	if err != nil {
		l.path = ""
		l.openSyslog()
		l.Errorf("failed to open log-file %s: %s", t.file, errText(err))
		l.Printf("Ignoring \"log file\" setting.")
		return l
	}
	if brief {
		f.Close()
	} else {
		l.file = f
	}
	return l
}

func openLogFile(path string) (*os.File, error) {
	return fsroot.OwnerOpen(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644, fsroot.Policy{})
}

func (l *Log) openSyslog() {
	// Without a syslog there is nowhere left to say so.
	l.sys, _ = syslog.New(syslog.Priority(l.target.facility)|syslog.LOG_INFO, l.target.tag)
}

// Printf logs at the level of information.
func (l *Log) Printf(format string, args ...any) { l.write(false, fmt.Sprintf(format, args...)) }

// Errorf logs at the level of warnings.
func (l *Log) Errorf(format string, args ...any) { l.write(true, fmt.Sprintf(format, args...)) }

func (l *Log) write(warning bool, text string) {
	text = strings.TrimSuffix(text, "\n")
	if len(text) > maxLogLine {
		text = text[:maxLogLine]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path == "" {
		if l.sys == nil {
			return
		}
		if warning {
			l.sys.Warning(text)
		} else {
			l.sys.Info(text)
		}
		return
	}
	f := l.file
	if l.brief {
		var err error
		if f, err = openLogFile(l.path); err != nil {
			return
		}
		defer f.Close()
	}
	line := l.now().AppendFormat(nil, "2006/01/02 15:04:05")
	line = fmt.Appendf(line, " [%d] ", l.pid)
	line = append(appendEscaped(line, text), '\n')
	f.Write(line)
}

// Close ends the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sys != nil {
		l.sys.Close()
		l.sys = nil
	}
	if l.file != nil {
		return l.file.Close()
	}
	return nil
}

// appendEscaped appends text with the bytes that a terminal could act on as
// \#ooo: C0 but tab, C1, and a backslash that would look like an escape
// (rsync 3.5.0 log.c:filtered_fwrite).
func appendEscaped(b []byte, text string) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c < ' ' && c != '\t' || c >= 0x80 && c <= 0x9f || looksEscaped(text[i:]) {
			b = fmt.Appendf(b, `\#%03o`, c)
			continue
		}
		b = append(b, c)
	}
	return b
}

func looksEscaped(s string) bool {
	if len(s) < 5 || s[0] != '\\' || s[1] != '#' {
		return false
	}
	for _, c := range []byte(s[2:5]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// errText is an error as rsync prints one: "Permission denied (13)".
func errText(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		s := errno.Error()
		return fmt.Sprintf("%s%s (%d)", strings.ToUpper(s[:1]), s[1:], int(errno))
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
