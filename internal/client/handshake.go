package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
)

// Limits on what a daemon may send before the protocol proper: bytes of message
// of the day or module list, and challenges to a password.
const (
	maxPreamble   = 64 << 20
	maxChallenges = 16
)

// handshake is the exchange of lines with a daemon:
//
//	client                                   daemon
//	@RSYNCD: 32.0 sha512 sha256 …      ◄──►  @RSYNCD: 32.0 sha512 sha256 …
//	#early_input=N, N bytes             ──►
//	MODULE                              ──►
//	                                    ◄──  lines of the message of the day
//	                                    ◄──  @RSYNCD: AUTHREQD CHALLENGE
//	USER RESPONSE                       ──►
//	                                    ◄──  @RSYNCD: OK, @RSYNCD: EXIT or @ERROR…
//	arguments, each ended by NUL or newline, and an empty one
//	                                    ──►
type handshake struct {
	*Conn
	ctx      context.Context
	o        *options.Options
	env      *Env
	amSender bool
	user     string
	paths    []string
	say      func(line string)

	theirs rsyncproto.Greeting
}

// run reports whether the daemon ended the connection after a module list.
func (h *handshake) run() (listed bool, err error) {
	stop := context.AfterFunc(h.ctx, func() {
		h.In.Close() // unblocks
		h.Out.Close()
	})
	defer stop()
	defer h.deadline(0)
	if err := h.greet(); err != nil {
		return false, err
	}
	if err := h.earlyInput(); err != nil {
		return false, err
	}
	request := h.request()
	module, _, _ := strings.Cut(h.paths[0], "/")
	h.write(module + "\n")
	if listed, err = h.admission(); err != nil || listed {
		return listed, err
	}
	return false, h.send(request)
}

func startClient(format string, args ...any) error {
	return exitcode.New(exitcode.StartClient, format, args...)
}

// write ignores errors: what the other side said before it left is the better
// message, and if it said nothing the next read tells.
func (h *handshake) write(s string) { _, _ = io.WriteString(h.Out, s) }

// deadline bounds the wait for a line or a write; 0 lifts the bound.
func (h *handshake) deadline(seconds int) {
	var t time.Time
	if seconds > 0 {
		t = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	for _, end := range []any{h.In, h.Out} {
		if d, ok := end.(interface{ SetDeadline(time.Time) error }); ok {
			_ = d.SetDeadline(t)
		}
	}
}

// line reads a line of less than limit bytes; missing is the text when there is
// none.
func (h *handshake) line(limit int, missing string) (string, error) {
	h.deadline(h.o.Timeout)
	s, err := rsyncproto.ReadLine(h.In, limit)
	switch {
	case err == nil:
		return s, nil
	case h.ctx.Err() != nil:
		return "", canceled(h.ctx)
	case errors.Is(err, rsyncproto.ErrLine), errors.Is(err, io.EOF):
		return "", startClient("rsync: %s", missing)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", h.timedOut()
	}
	return "", failed(exitcode.StreamIO, h.amSender, err, "safe_read failed to read 1 bytes")
}

func (h *handshake) timedOut() error {
	return exitcode.New(exitcode.Timeout, "[%s] io timeout after %d seconds -- exiting", role(h.amSender), h.o.Timeout)
}

// greet exchanges greetings (rsync 3.5.0 clientserver.c:exchange_protocols).
func (h *handshake) greet() error {
	ours := rsyncproto.Greeting{Protocol: h.o.Protocol, Digests: rsyncproto.AuthDigests()}
	h.write(ours.String() + "\n")
	if debug(h.o, report.DebugNstr, 2) {
		h.env.trace("Client daemon auth checksum list (on client): " + strings.Join(ours.Digests, " "))
	}
	line, err := h.line(rsyncproto.MaxDaemonLine, "did not see server greeting")
	if err != nil {
		return err
	}
	h.theirs, err = rsyncproto.ParseGreeting(line)
	var omitted *rsyncproto.OmittedError
	switch {
	case errors.As(err, &omitted):
		return startClient("rsync: the server %v", omitted)
	case err != nil:
		return startClient("rsync: server sent \"%s\" rather than greeting", line)
	}
	h.Remote, h.Protocol = h.theirs.Protocol, ours.Agree(h.theirs)
	return nil
}

// admission reads lines until the daemon lets us in.
func (h *handshake) admission() (listed bool, err error) {
	challenges := 0
	for room := maxPreamble; room > 0; {
		line, err := h.line(rsyncproto.MaxDaemonLine, "didn't get server startup line")
		if err != nil {
			return false, err
		}
		room -= len(line) + 1
		challenge, isAuth := strings.CutPrefix(line, "@RSYNCD: AUTHREQD ")
		switch {
		case isAuth:
			if challenges++; challenges > maxChallenges {
				return false, startClient("rsync: the daemon asked for a password %d times", challenges)
			}
			if err := h.authenticate(challenge); err != nil {
				return false, err
			}
		case line == "@RSYNCD: OK":
			return false, nil
		case line == "@RSYNCD: EXIT":
			return true, nil
		case strings.HasPrefix(line, "@ERROR"):
			return false, startClient("%s", line)
		case h.o.Motd && h.say != nil:
			h.say(line)
		}
	}
	return false, startClient("rsync: the daemon sent more than %d MiB before the transfer", maxPreamble>>20)
}

// earlyInput sends the file of --early-input.
func (h *handshake) earlyInput() error {
	name := h.o.EarlyInput
	if name == "" {
		return nil
	}
	f, info, err := h.env.open(name)
	if err != nil {
		return failed(exitcode.StartClient, h.amSender, err, "failed to open "+name)
	}
	defer f.Close()
	size := info.Size()
	switch {
	case size > rsyncproto.MaxEarlyInput:
		return startClient("%s is > %d bytes.", name, rsyncproto.MaxEarlyInput)
	case size <= 0:
		return nil
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return startClient("Early EOF in %s", name)
	}
	h.write(fmt.Sprintf("#early_input=%d\n%s", size, data))
	return nil
}

// request returns the arguments for the daemon.
func (h *handshake) request() options.PeerArgs {
	args := h.o.PeerArgs(h.amSender, h.Protocol, h.env.Offer)
	paths := append([]string{"."}, daemonPaths(h.paths, h.o.OldArgs > 0)...)
	if h.o.SecludedArgs {
		args.Secluded = append(args.Secluded, paths...)
	} else {
		args.Exposed = append(args.Exposed, paths...)
	}
	if debug(h.o, report.DebugCmd, 1) {
		h.env.traceUnlogged(traceArgs("sending daemon args:", args.Exposed))
	}
	return args
}

func (h *handshake) send(args options.PeerArgs) error {
	text, err := daemonArgs(args.Exposed, h.Protocol)
	if err != nil {
		return err
	}
	h.deadline(h.o.Timeout)
	if _, err = io.WriteString(h.Out, text); err == nil && h.o.SecludedArgs {
		err = sendSecluded(h.Out, h.o, args.Secluded, h.env)
	}
	switch {
	case err == nil:
		return nil
	case h.ctx.Err() != nil:
		return canceled(h.ctx)
	case isGone(err):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return h.timedOut()
	}
	return failed(exitcode.StreamIO, h.amSender, err, fmt.Sprintf("safe_write failed to write %d bytes to socket", len(text)))
}

// open opens a file that the operator named, and looks at what was opened.
func (e *Env) open(name string) (io.ReadCloser, fs.FileInfo, error) {
	if e.OpenFile == nil {
		return nil, nil, fs.ErrNotExist
	}
	f, err := e.OpenFile(name)
	if err != nil {
		return nil, nil, err
	}
	s, ok := f.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		f.Close()
		return nil, nil, errors.New("its owner and mode cannot be told")
	}
	info, err := s.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
