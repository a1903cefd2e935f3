// Package report is where a run meets its user: messages, itemized lines,
// progress and statistics, in rsync's formats. Nothing else prints.
//
// The engine's roles hold a Log each, made by As, so that a message can name
// who speaks. On a client a message goes to standard output or standard error
// and to the log file; on a server it travels to the client, unless --stderr
// says otherwise. rsync 3.5.0 log.c.
package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Code classifies a message; the numbers are those of the wire (rsync.h:enum
// logcode).
type Code uint8

const (
	None        Code = 0
	ErrorXfer   Code = 1 // an error that makes the run end with code 23
	Info        Code = 2
	Error       Code = 3
	Warning     Code = 4
	ErrorSocket Code = 5
	LogFile     Code = 6 // to the log file only
	Client      Code = 7 // to the client only, never the log file
	ErrorUTF8   Code = 8 // text in the wire's character set
)

// StderrMode is --stderr.
type StderrMode uint8

const (
	StderrErrors StderrMode = iota // errors to our own stderr (default)
	StderrAll
	StderrClient // everything travels to the client
)

// Config says where messages go.
type Config struct {
	Server   bool
	Daemon   bool // serving a module
	Stderr   StderrMode
	Quiet    bool
	EightBit bool // -8: do not escape high bytes
	Charset  Charset
	Numbers  Numbers
	Info     InfoLevels
	Debug    DebugLevels
	Out, Err io.Writer
	// LogLine receives lines for the log file or syslog, without the time;
	// nil for none.
	LogLine func(code Code, text string)
	// Convert converts a message from the wire's character set, for --iconv.
	Convert func(string) string
}

// Log prints for one role. Its methods may be used by many goroutines.
type Log struct {
	*core
	who string
	via func(code Code, text string) bool
}

type core struct {
	cfg Config

	mu           sync.Mutex
	needsNewline bool
	counting     bool // the unfinished line is ListCount's
	live         bool // the line shows a SwarmView
	// held is the start of a line for standard error: with --stderr=all whole
	// lines go there, so that those of several programs do not mix.
	held string

	send      atomic.Pointer[func(code Code, text string) bool]
	xferError atomic.Bool
}

// New returns the Log of a run that has not got a role yet.
func New(cfg Config) *Log {
	who := "client"
	if cfg.Server {
		who = "server"
	}
	return &Log{core: &core{cfg: cfg}, who: who}
}

// As returns a Log for a role: "sender", "generator", "receiver", "Receiver"
// (receiving, before its roles start).
func (l *Log) As(who string) *Log { return &Log{core: l.core, who: who, via: l.via} }

// Via returns the same Log with a way of its own to the client in place of the
// one given to SendTo; nil changes nothing.
func (l *Log) Via(send func(code Code, text string) bool) *Log {
	if send == nil {
		return l
	}
	return &Log{core: l.core, who: l.who, via: send}
}

// Who returns the role's name.
func (l *Log) Who() string { return l.who }

// Discard returns a Log that prints nothing.
func Discard() *Log {
	return New(Config{Out: io.Discard, Err: io.Discard, Quiet: true})
}

// SendTo makes a server's messages travel to the client: send reports whether
// it took the message.
func (l *Log) SendTo(send func(code Code, text string) bool) { l.send.Store(&send) }

// Config returns the configuration, which callers must not change.
func (l *Log) Config() *Config { return &l.cfg }

// Info reports whether information of a kind is wanted at a level.
func (l *Log) Info(f InfoFlag, level uint8) bool { return l.cfg.Info[f] >= level }

// Debug reports whether debugging of a kind is wanted at a level.
func (l *Log) Debug(f DebugFlag, level uint8) bool { return l.cfg.Debug[f] >= level }

// XferError reports whether an ErrorXfer message was given.
func (l *Log) XferError() bool { return l.xferError.Load() }

// Printf gives a message. The text carries its own newline.
func (l *Log) Printf(code Code, format string, args ...any) {
	l.Write(code, fmt.Sprintf(format, args...))
}

// Syserr gives a message about a failed system call:
// "rsync: [role] TEXT: REASON (ERRNO)".
func (l *Log) Syserr(code Code, err error, format string, args ...any) {
	l.Write(code, "rsync: ["+l.who+"] "+fmt.Sprintf(format, args...)+": "+Reason(err)+"\n")
}

// Reason returns the text of a system error with its number as rsync prints
// it: "No such file or directory (2)".
func Reason(err error) string {
	if no := errnoOf(err); no != 0 {
		return fmt.Sprintf("%s (%d)", errnoText(no), int(no))
	}
	return err.Error()
}

// ErrorText returns the text of a system error without its number.
func ErrorText(err error) string {
	if no := errnoOf(err); no != 0 {
		return errnoText(no)
	}
	return err.Error()
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, fs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, fs.ErrPermission):
		return syscall.EACCES
	case errors.Is(err, fs.ErrExist):
		return syscall.EEXIST
	}
	return 0
}

// errnoText is strerror: as Go's text, but with the C library's capital.
func errnoText(e syscall.Errno) string {
	if s, ok := cErrors[e]; ok {
		return s
	}
	s := e.Error()
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		s = string(s[0]-32) + s[1:]
	}
	return s
}

// cErrors are the texts that differ from Go's by more than the first letter.
var cErrors = map[syscall.Errno]string{
	syscall.EIO:          "Input/output error",
	syscall.ENXIO:        "No such device or address",
	syscall.EXDEV:        "Invalid cross-device link",
	syscall.ENOTTY:       "Inappropriate ioctl for device",
	syscall.EOPNOTSUPP:   "Operation not supported",
	syscall.ENAMETOOLONG: "File name too long",
	syscall.EROFS:        "Read-only file system",
	syscall.EDOM:         "Numerical argument out of domain",
	syscall.ERANGE:       "Numerical result out of range",
}

// Write gives a message.
func (l *Log) Write(code Code, text string) { l.write(code, text, false) }

// FromPeer gives a message that the other side sent.
func (l *Log) FromPeer(code Code, text string) { l.write(code, text, true) }

func (l *Log) write(code Code, text string, fromPeer bool) {
	switch code {
	case None:
		return
	case ErrorSocket:
		code = Error
	case ErrorUTF8:
		fromPeer, code = !l.cfg.Server, Error
		if l.sent(ErrorUTF8, text) {
			if l.cfg.LogLine != nil {
				l.cfg.LogLine(code, text)
			}
			return
		}
	}
	if fromPeer && l.cfg.Convert != nil {
		text = l.cfg.Convert(text)
	}
	cfg := &l.cfg
	if cfg.Stderr == StderrAll && cfg.Daemon && code != Client {
		code = LogFile
	}
	if code == Client {
		code = Info
	} else {
		if cfg.LogLine != nil {
			cfg.LogLine(code, text)
		}
		if code == LogFile {
			return
		}
	}
	if code == ErrorXfer {
		l.xferError.Store(true)
	}
	if code == Info && cfg.Quiet {
		return
	}
	toErr := code != Info
	if l.travels(code) {
		if l.sent(code, text) || cfg.Daemon {
			return
		}
		toErr = true
	}
	l.print(toErr || cfg.Stderr == StderrAll, text)
}

// travels reports whether messages of a kind go to the other side.
func (l *Log) travels(code Code) bool {
	c := &l.cfg
	return c.Server && c.Stderr != StderrAll && (c.Stderr != StderrErrors || code == Info || c.Daemon)
}

// sent sends a message to the other side, if it is to go there and can.
func (l *Log) sent(code Code, text string) bool {
	if !l.travels(code) {
		return false
	}
	if l.via != nil {
		return l.via(code, text)
	}
	send := l.send.Load()
	return send != nil && (*send)(code, text)
}

func (c *core) print(toErr bool, text string) {
	w := c.cfg.Out
	if toErr {
		w = c.cfg.Err
	}
	if w == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	if c.live {
		c.live = false
		io.WriteString(c.cfg.Out, eraseLine)
	}
	if c.needsNewline {
		b.WriteByte('\n')
		c.needsNewline = false
	}
	end := ""
	if n := len(text); n > 0 && (text[n-1] == '\n' || text[n-1] == '\r') {
		end, text = text[n-1:], text[:n-1]
	}
	if strings.HasPrefix(text, "\r") {
		b.WriteByte('\r')
		text = text[1:]
	}
	escape(&b, text, c.cfg.escaping())
	b.WriteString(end)
	if text = b.String(); toErr && c.cfg.Stderr == StderrAll {
		text = c.held + text
		i := strings.LastIndexByte(text, '\n') + 1
		text, c.held = text[:i], text[i:]
	}
	io.WriteString(w, text)
}

// FileLogger returns a Config.LogLine that writes rsync's log file lines:
// "2026/11/23 12:00:00 [PID] TEXT".
func FileLogger(w io.Writer, pid int, now func() time.Time) func(Code, string) {
	var mu sync.Mutex
	return func(_ Code, text string) {
		line := fmt.Sprintf("%s [%d] %s", TimeString(now()), pid, EscapeLog(text))
		mu.Lock()
		defer mu.Unlock()
		io.WriteString(w, line)
	}
}
