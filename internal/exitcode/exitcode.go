// Package exitcode holds rsync's exit codes and maps errors to them.
//
// Scripts and cron jobs decide by these numbers, so they are part of the
// interface: rsync(1), section EXIT VALUES; rsync 3.5.0 errcode.h and
// log.c:rerr_names for the texts.
package exitcode

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Code is a process exit status as rsync(1) defines them.
type Code int

// The codes, in numerical order.
const (
	OK               Code = 0
	Syntax           Code = 1  // wrong usage
	Protocol         Code = 2  // protocol incompatibility
	FileSelect       Code = 3  // errors selecting input/output files or directories
	Unsupported      Code = 4  // requested action not supported
	StartClient      Code = 5  // error starting the client-server protocol
	SocketIO         Code = 10 // error in socket I/O
	FileIO           Code = 11 // error in file I/O
	StreamIO         Code = 12 // error in the protocol data stream
	Message          Code = 13 // errors with program diagnostics
	IPC              Code = 14 // error in IPC code
	Crashed          Code = 15 // sibling process crashed
	Terminated       Code = 16 // sibling process terminated abnormally
	Signal1          Code = 19 // status when sent SIGUSR1
	Signal           Code = 20 // status when sent SIGINT, SIGTERM, SIGHUP
	WaitChild        Code = 21 // some error returned by waitpid()
	Malloc           Code = 22 // error allocating core memory buffers
	Partial          Code = 23 // partial transfer due to error
	Vanished         Code = 24 // source files vanished before they could be transferred
	DelLimit         Code = 25 // --max-delete stopped deletions
	Timeout          Code = 30 // timeout in data send/receive
	ConTimeout       Code = 35 // timeout waiting for daemon connection
	RemoteShellFail  Code = 124
	RemoteShellKill  Code = 125
	RemoteShellStart Code = 126
	RemoteShellNone  Code = 127
)

var texts = map[Code]string{
	OK:               "success",
	Syntax:           "syntax or usage error",
	Protocol:         "protocol incompatibility",
	FileSelect:       "errors selecting input/output files, dirs",
	Unsupported:      "requested action not supported",
	StartClient:      "error starting client-server protocol",
	SocketIO:         "error in socket IO",
	FileIO:           "error in file IO",
	StreamIO:         "error in rsync protocol data stream",
	Message:          "errors with program diagnostics",
	IPC:              "error in IPC code",
	Crashed:          "sibling process crashed",
	Terminated:       "sibling process terminated abnormally",
	Signal1:          "received SIGUSR1",
	Signal:           "received SIGINT, SIGTERM, or SIGHUP",
	WaitChild:        "waitpid() failed",
	Malloc:           "error allocating core memory buffers",
	Partial:          "some files/attrs were not transferred (see previous errors)",
	Vanished:         "some files vanished before they could be transferred",
	DelLimit:         "the --max-delete limit stopped deletions",
	Timeout:          "timeout in data send/receive",
	ConTimeout:       "timeout waiting for daemon connection",
	RemoteShellFail:  "remote shell failed",
	RemoteShellKill:  "remote shell killed",
	RemoteShellStart: "remote command could not be run",
	RemoteShellNone:  "remote command not found",
}

// Text returns rsync's name of the code, as printed in
// "rsync error: TEXT (code N) at …"; "unexplained error" for any other.
func (c Code) Text() string {
	if s, ok := texts[c]; ok {
		return s
	}
	return "unexplained error"
}

// Error is an error that ends a run with a given exit code.
type Error struct {
	Code Code
	// Err is what happened; nil when the message was printed already
	// and only the code is left to report.
	Err error
	// At is where rsync would have ended the run, "" for the place of the code.
	At string
	// Who is which of rsync's processes meets the error, "" where that follows
	// from what is being done.
	Who string
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s (code %d)", e.Code.Text(), e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an Error with the code and a formatted message.
// The format may wrap another error with %w.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Silent returns an Error whose message was printed already.
func Silent(code Code) *Error { return &Error{Code: code} }

// Lines is a message of several lines, each of which is printed, and made
// printable, by itself.
type Lines []string

func (l Lines) Error() string { return strings.Join(l, "\n") }

// Messages returns the lines to be printed for an error: one unless it has Lines.
func Messages(err error) []string {
	var l Lines
	if errors.As(err, &l) {
		return l
	}
	return []string{err.Error()}
}

// Of maps any error to the code that the process exits with: nil is OK, an
// Error (wrapped at any depth) its own code, a cancelled context Signal, a
// context past its deadline Timeout, and everything else fallback.
func Of(err error, fallback Code) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Signal
	}
	return fallback
}
