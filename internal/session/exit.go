package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// Reported is an error that the user has been told of, with rsync's last line:
// only the exit code is left to do.
type Reported struct{ Err error }

func (e *Reported) Error() string { return e.Err.Error() }

// Unwrap returns the error with the exit code.
func (e *Reported) Unwrap() error { return e.Err }

// ExitLine is the last line of a run that failed, as who would print it.
func ExitLine(err error, code exitcode.Code, who string) string {
	return exitcode.Line(err, code, who, options.RsyncVersion)
}

func (s *side) exitLine(err error, code exitcode.Code, who string) {
	to := report.Error
	if code == exitcode.Vanished {
		to = report.Warning
	}
	s.log.Printf(to, "%s\n", ExitLine(err, code, who))
}

// role is which of rsync's processes would end with err: a receiving side is
// two of them once the transfer has begun.
func (s *side) role(err error) string {
	if s.p.Sender || !s.begun.Load() {
		return s.who()
	}
	var e *exitcode.Error
	switch {
	case !errors.As(err, &e):
	case e.Who != "":
		return e.Who
	case e.Err != nil && strings.Contains(e.Err.Error(), "[receiver]"):
		return "receiver"
	}
	return "generator"
}

// finish tells the user of a client how the run has ended.
func (s *side) finish(err error) error {
	code := exitcode.Of(err, exitcode.StreamIO)
	var peer *PeerExit
	if errors.As(err, &peer) {
		// The peer has told the user why. A log file without statistics ends with
		// the last line, which the user sees then too.
		if s.o.LogFile != "" && !s.log.Info(report.InfoStats, 1) {
			if s.p.Sender {
				s.logTotals()
			}
			s.exitLine(err, code, s.role(err))
		}
		return &Reported{peer}
	}
	if code != exitcode.OK {
		var e *exitcode.Error
		if !errors.As(err, &e) || e.Err != nil {
			for _, text := range exitcode.Messages(err) {
				s.log.Printf(report.Error, "%s\n", text)
			}
		}
		if (code == exitcode.StreamIO || code == exitcode.SocketIO) && s.p.Lost != nil {
			// The remote shell's own status says more than a lost connection, but
			// for a death by a signal, in which rsync sees no status. A server's
			// comes after its end of the stream, and rsync misses it, unless a signal
			// ended it. The place stays that of the lost connection.
			if status := exitcode.Code(s.p.Lost()); status >= exitcode.RemoteShellFail || status == exitcode.Signal {
				at := exitcode.Place(err, code, s.p.Sender)
				code, err = status, (&exitcode.Error{Code: status, Err: err}).Placed(at)
			}
		} else {
			s.endShell(code)
		}
	}
	if s.o.LogFile != "" && (code == exitcode.OK && !s.log.Info(report.InfoStats, 1) || code != exitcode.OK && s.p.Sender) {
		s.logTotals()
	}
	if code == exitcode.OK {
		return nil
	}
	s.exitLine(err, code, s.role(err))
	return &Reported{err}
}

// tellPeer tells the other side that this one breaks off, so that it ends with
// our error rather than with a broken connection. A server's text and last line
// go to the client, unless that is what was lost.
// rsync 3.5.0 cleanup.c:_exit_cleanup.
func (s *side) tellPeer(err error) error {
	var told *Reported
	if errors.As(err, &told) {
		return err
	}
	code := exitcode.Of(err, exitcode.StreamIO)
	var peer *PeerExit
	switch {
	case s.refused():
		s.refuse(err, code)
		if s.p.Sender {
			return &Reported{err}
		}
		err = &Reported{err}
	case s.p.Server && !errors.As(err, &peer):
		s.serverError(err, code)
		err = &Reported{err}
	case s.p.Module != nil: // the client has told its user, our log is to know
		if s.p.Sender {
			s.logTotals()
		}
		s.log.Printf(report.LogFile, "%s\n", ExitLine(err, code, s.role(err)))
	}
	if s.endsSilently() {
		return err
	}
	if !s.told && s.answered(code) {
		s.w.MsgInt(wire.MsgErrorExit, int32(code))
		s.told = true
	}
	s.reset = errors.Is(s.w.Flush(), syscall.ECONNRESET)
	return err
}

// endsSilently reports whether what has not been sent yet is not sent any more:
// rsync's senders behind a remote shell, whose errors go to its own standard
// error, leave the client with a closed connection and so with code 12.
// rsync 3.5.0 io.c:noop_io_until_death.
func (s *side) endsSilently() bool {
	m := s.p.Module
	return s.p.Server && s.p.Sender && !s.p.local && s.o.Stderr != options.StderrClient && (m == nil || m.RemoteShell)
}

// refused reports whether the module's configuration forbids what the client
// asks for.
func (s *side) refused() bool { return s.p.Module != nil && s.p.Module.Err != nil }

// refusalTime is how long a client has to take in why it is refused. What it
// has sent meanwhile stays unread, so that it meets a broken connection next.
const refusalTime = 400 * time.Millisecond

// refuse tells the client why. rsync's sender leaves it at that, its receiver
// ends as after any other error. rsync 3.5.0 clientserver.c:rsync_module.
func (s *side) refuse(err error, code exitcode.Code) {
	var e *exitcode.Error
	if !errors.As(err, &e) || e.Err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") { // a hook may have printed several
			s.log.Printf(report.Error, "%s\n", line)
		}
	}
	s.w.Flush()
	t := time.NewTimer(refusalTime)
	defer t.Stop()
	select {
	case <-s.ctx.Done():
	case <-t.C:
	}
	to := report.Error
	if s.p.Sender {
		to = report.LogFile
		s.logTotals()
	}
	s.log.Printf(to, "%s\n", ExitLine(exitcode.Silent(code).Placed(exitcode.AtRefused), code, s.role(err)))
}

// tellsExit reports whether the other side is told of a code: some mean that it
// cannot be.
func tellsExit(code exitcode.Code) bool {
	switch code {
	case exitcode.OK, exitcode.SocketIO, exitcode.StreamIO, exitcode.Signal1, exitcode.Timeout:
		return false
	}
	return true
}

// answered reports whether the other side is told of a code, and answers.
func (s *side) answered(code exitcode.Code) bool {
	return tellsExit(code) && s.setup != nil && s.setup.Protocol >= 31 && s.w.Muxed()
}

// breakOff ends the connection because of the generator's error, while the
// receiver may still read. A server leaves it to the client to close it, a
// client to seeOff where the other side answers: a connection that is closed
// with data unread looks broken there, and drops what is under way.
func (s *side) breakOff(err error) {
	if s.w.Lost() != nil && s.p.Close != nil && !s.p.local {
		// The other side has gone: the receiver reads what it said before.
		s.closing = time.AfterFunc(lingerTime, s.p.Close)
		return
	}
	err = s.tellPeer(s.reason(err))
	s.mu.Lock()
	var told *Reported
	if s.abortErr == nil || errors.As(err, &told) {
		s.abortErr = err
	}
	s.mu.Unlock()
	switch limit, _ := s.lingers(err); {
	case s.p.Close == nil:
	case limit > 0:
		s.closing = time.AfterFunc(limit, s.p.Close)
	case !s.p.Server && !s.p.local && s.told && s.w.Lost() == nil:
		s.closing = time.AfterFunc(lingerTime, s.p.Close)
		if s.p.Kill != nil {
			s.killing = time.AfterFunc(shellGrace, s.p.Kill)
		}
	default:
		s.endShell(exitcode.Of(err, exitcode.StreamIO)) // before it meets a closed connection
		s.p.Close()
	}
}

// endShell ends the remote shell of a client that fails where nothing else
// tells the other side why. rsync 3.5.0 cleanup.c:_exit_cleanup.
func (s *side) endShell(code exitcode.Code) {
	if s.p.Kill != nil && code != exitcode.StreamIO && (s.setup == nil || s.setup.Protocol < 31) {
		s.p.Kill()
	}
}

// These bound how long a server waits for the client to take its error: one
// whose client answers it, and another.
const (
	lingerTime    = time.Minute
	oldLingerTime = 100 * time.Millisecond
)

// deafTime is how long a receiving server that is ended by a signal leaves unread
// what comes, before it closes the connection: the last of rsync's two processes
// ends 100 ms after the other, which has waited as long.
const deafTime = 2 * oldLingerTime

// lingers returns how long the client may take to end the connection after err,
// and whether it answers: closing the connection with data unread would throw
// away what was just sent. rsync 3.5.0 cleanup.c:_exit_cleanup.
func (s *side) lingers(err error) (limit time.Duration, answers bool) {
	code := exitcode.Of(err, exitcode.StreamIO)
	var peer *PeerExit
	switch {
	case !s.p.Server || s.p.local || s.lost || errors.As(err, &peer) || !tellsExit(code):
		return 0, false
	case code == exitcode.Signal && !s.stopped.Load():
		return 0, false
	case code == exitcode.Signal && !s.p.Sender: // rsync's generator has lost the receiver
		return deafTime, false
	case s.refused():
		return oldLingerTime, false
	case s.endsSilently():
		return 0, false
	case s.setup == nil || s.setup.Protocol < 31 || !s.w.Muxed() || !s.r.Muxed():
		return oldLingerTime, false
	}
	return lingerTime, true
}

// linger waits until the client has closed the connection or answered with its
// own end. Where it does not answer, it is given the time to read. What it has
// sent meanwhile stays unread then, as with rsync.
// rsync 3.5.0 io.c:noop_io_until_death.
func (s *side) linger(err error) {
	limit, answers := s.lingers(err)
	if limit == 0 || s.p.Close == nil {
		return
	}
	if s.closing != nil {
		s.closing.Stop()
	}
	stop := s.ctx.Done()
	if s.stopped.Load() {
		stop = nil
	}
	if answers && s.stopped.Load() && s.p.Deadline(s.p.Env.Now().Add(limit)) == nil {
		s.r.Resume()
	}
	var answer *exitcode.Error
	switch {
	case s.r.Broken() && errors.As(s.r.Err(), &answer):
	case !answers:
		t := time.NewTimer(limit)
		defer t.Stop()
		select {
		case <-stop:
		case <-t.C:
		}
	case s.r.Broken():
		// What comes is not to be understood any more, an answer neither.
		defer time.AfterFunc(oldLingerTime, s.p.Close).Stop()
		io.Copy(io.Discard, s.p.In)
	default:
		defer time.AfterFunc(limit, s.p.Close).Stop()
		s.r.Drain()
	}
}

// shellGrace is how long a remote shell may go on once one side has told the
// other that it ends: rsync ends it at once.
const shellGrace = time.Second

// seeOff reads what follows an announced end: of this client until the other
// side answers, since leaving what it sends unread would look like a broken
// connection there; of the other side until it has closed the connection. A
// client says so if that was a reset, as it is when a daemon leaves data unread.
// A reset is all that rsync's sender notices in the middle of a file: it does not
// look at messages before there is more of them.
// rsync 3.5.0 io.c:noop_io_until_death, perform_io.
func (s *side) seeOff(err error) error {
	if s.p.Server || s.p.local || s.p.Close == nil {
		return err
	}
	if s.closing == nil {
		s.closing = time.AfterFunc(lingerTime, s.p.Close)
	}
	defer s.closing.Stop()
	if s.killing == nil && s.p.Kill != nil {
		s.killing = time.AfterFunc(shellGrace, s.p.Kill)
	}
	if s.killing != nil {
		defer s.killing.Stop()
	}
	var peer *PeerExit
	if !errors.As(err, &peer) {
		if s.told && s.w.Lost() == nil {
			s.r.Drain()
		}
		return err
	}
	var buf [1024]byte
	var rerr error
	for rerr == nil {
		_, rerr = s.p.In.Read(buf[:])
	}
	if !errors.Is(rerr, syscall.ECONNRESET) && !s.reset {
		return err
	}
	if s.snd != nil && s.snd.Sending() {
		return exitcode.New(exitcode.SocketIO, "rsync: [%s] read error: %s", s.who(), report.Reason(syscall.ECONNRESET)).Placed(exitcode.AtRead)
	}
	s.log.Printf(report.Error, "rsync: [%s] read error: %s\n", s.who(), report.Reason(syscall.ECONNRESET))
	return err
}

// signalGrace is how long the signal may take that comes with a lost connection:
// rsync's one thread meets it before the end of the stream that follows it.
const signalGrace = 250 * time.Millisecond

// reason is the error that a run has met, with its code and text. The signal of
// a client that ends its remote shell says more than the broken connection.
func (s *side) reason(err error) error {
	err = s.streamError(err)
	if !s.lost || !s.p.Server || s.p.local {
		return err
	}
	t := time.NewTimer(signalGrace)
	defer t.Stop()
	select {
	case <-s.ctx.Done():
		return s.streamError(context.Cause(s.ctx))
	case <-t.C:
		return err
	}
}

// signalled ends a run because of a signal. A server whose client takes messages
// tells it the reason; what it has begun to write goes out whole before.
// Otherwise the connection is closed: a client that ends its remote shell may
// still be writing to it. rsync 3.5.0 rsync.c:sig_int, io.c:handle_kill_signal.
func (s *side) signalled(cause error) {
	if s.p.Server && exitcode.Of(cause, exitcode.Signal) == exitcode.Signal1 {
		t := time.NewTimer(oldLingerTime)
		defer t.Stop()
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
	}
	if s.p.Deadline != nil && s.parts.Load() && exitcode.Of(cause, exitcode.Signal) == exitcode.Signal {
		s.stopped.Store(true)
		s.stopWith(cause)
		s.w.Stop(cause)
		if s.p.Deadline(time.Unix(1, 0)) == nil {
			return
		}
	}
	s.abort(cause)
}

// stopWith makes err the reason that the run ends for.
func (s *side) stopWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.abortErr == nil {
		s.abortErr = err
	}
}

// serverError prints a server's error and its last line.
func (s *side) serverError(err error, code exitcode.Code) {
	say := func(text string) { s.log.Printf(report.Error, "%s\n", text) }
	if s.lost {
		switch {
		case s.p.local:
			return // the client has told why it ended
		case s.p.Env.Err != nil:
			say = func(text string) { fmt.Fprintln(s.p.Env.Err, text) }
		}
	}
	var e *exitcode.Error
	if !errors.As(err, &e) || e.Err != nil {
		for _, text := range exitcode.Messages(err) {
			say(text)
		}
	}
	if s.p.Sender {
		s.logTotals()
	}
	say(ExitLine(err, code, s.role(err)))
}

// lostWrites reads, after a write has failed or the receiver of a local copy
// takes no more files, what the other side has said before it went. rsync 3.5.0 io.c:drain_multiplex_messages.
func (s *side) lostWrites(err error) error {
	if s.w.Lost() == nil && !errors.Is(err, io.ErrClosedPipe) || s.r.Err() != nil {
		return err
	}
	if s.p.Close != nil {
		defer time.AfterFunc(lingerTime, s.p.Close).Stop()
	}
	s.r.Drain()
	var peer *PeerExit
	if errors.As(s.r.Err(), &peer) {
		return peer
	}
	return err
}

// connError gives an error of the connection itself rsync's text and code.
// rsync 3.5.0 io.c:perform_io.
func (s *side) connError(err error) error {
	op := ""
	var ne *net.OpError
	var pe *fs.PathError
	var se *os.SyscallError
	switch {
	case errors.As(err, &ne):
		op = ne.Op
	case errors.As(err, &pe):
		op = pe.Op
	case errors.As(err, &se): // of a daemon's connection
		op = se.Syscall
	}
	var no syscall.Errno
	if op != "read" && op != "write" || !errors.As(err, &no) {
		return exitcode.New(exitcode.StreamIO, "rsync: [%s] %w", s.who(), err)
	}
	s.lost = true
	if op == "read" && s.setup == nil {
		// While versions and flags are exchanged, rsync reads without its
		// buffers. io.c:safe_read.
		n := 4
		if s.p.Remote >= 30 {
			n = 1
		}
		return exitcode.New(exitcode.StreamIO, "rsync: [%s] safe_read failed to read %d bytes: %s", s.who(), n, report.Reason(no))
	}
	at := exitcode.AtWrite
	if op == "read" {
		at = exitcode.AtRead
	}
	return exitcode.New(exitcode.SocketIO, "rsync: [%s] %s error: %s", s.who(), op, report.Reason(no)).Placed(at)
}

// debugExit gives the lines of --debug=EXIT. broken is what broke the run off.
// rsync 3.5.0 cleanup.c:_exit_cleanup.
func (s *side) debugExit(broken, result error) {
	if s.p.Server || !s.log.Debug(report.DebugExit, 1) {
		return
	}
	who := "generator"
	if s.p.Sender {
		who = "sender"
	}
	first := exitcode.Of(broken, exitcode.StreamIO)
	file, line, _ := strings.Cut(strings.TrimSuffix(exitcode.Place(broken, first, s.p.Sender), ")"), "(")
	if s.log.Debug(report.DebugExit, 2) {
		s.log.Printf(report.Info, "[%s] _exit_cleanup(code=%d, file=%s, line=%s): entered\n", who, first, file, line)
	}
	dry := ""
	if s.o.DryRun {
		dry = " (DRY RUN)"
	}
	s.log.Printf(report.Info, "[%s] _exit_cleanup(code=%d, file=%s, line=%s): about to call exit(%d)%s\n",
		who, first, file, line, exitcode.Of(result, exitcode.StreamIO), dry)
}
