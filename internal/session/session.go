// Package session runs one transfer on a connection that is ready for it:
// negotiation, filter rules, the roles, the statistics and the exit code. It
// composes the engine's configuration from the options.
//
//	client: Run(conn) ── negotiate ── filters ─┬─ sends:    list, answer, goodbye
//	server: Run(conn) ── negotiate ── filters ─┴─ receives: list, destination, generate
//	local:  both, over a pipe
//
// rsync 3.5.0 main.c:client_run, start_server.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prsync/prsync/internal/charset"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"github.com/prsync/prsync/internal/transfer"
)

// Env is what a session needs of the process.
type Env struct {
	Cwd    string // absolute
	Umask  uint32
	EUID   uint32
	PID    int
	Now    func() time.Time
	Getenv func(string) string
	Home   string
	Stdin  io.Reader
	Out    io.Writer
	Err    io.Writer
	Names  meta.NameSource
	// Foreground reports whether progress may be drawn.
	Foreground func() bool
	// AskProgress is set when the user asks where a client's transfer is; nil
	// where he cannot.
	AskProgress *atomic.Bool
	// Terminal reports that Out is one.
	Terminal bool
}

// Module is what a daemon adds to a session.
type Module struct {
	Name string
	// RemoteShell is set for a daemon that a remote shell started.
	RemoteShell bool
	Root        *fsroot.Root
	// Top is the path of what the engine takes for "/": empty behind a chroot.
	Top               string
	Filters           *filter.List
	Sanitize          bool
	Confine           bool
	InsecureLinks     bool   // "insecure links": any symlink is followed
	TempDir           string // "temp dir", which the module's rules may hide
	Chmod             meta.Chmod
	IgnoreNonreadable bool
	NumericIDs        bool
	MungeLinks        bool
	LogLine           func(code report.Code, text string)
	LogFormat         *report.Line
	Charset           string // "charset", "" for none
	// Forbidden says that the module may not be used in this direction.
	Forbidden  func() error // nil: it may
	Timeout    int          // to be told to the client, seconds
	NoCompress bool
	Err        error // to be told in place of a transfer
}

// Params describe one side of one transfer.
type Params struct {
	Opts *options.Options
	// ServerOpts are those of RunLocal's server where --remote-option makes
	// them others; nil for the same.
	ServerOpts *options.Options
	Server     bool
	Sender     bool // this side sends
	In         io.Reader
	Out        io.Writer
	// Close ends the connection at once.
	Close func()
	// Deadline lets reads of a server's connection fail from then on; those that
	// wait, too. Writes have some time more. Nil where there is no such thing.
	Deadline func(t time.Time) error
	// Remote is the peer's protocol version where a greeting told it.
	Remote   int
	Protocol int      // highest to offer; 0 is Opts.Protocol
	Args     []string // sources, or the destination
	Module   *Module
	Env      Env
	// Implied are the names asked for, of a client that receives.
	Implied *filter.Implied
	// LogLine receives the lines of the log file, nil for none.
	LogLine func(code report.Code, text string)
	// Wait waits for the remote shell and returns its status; Lost does so when
	// the connection is lost.
	Wait, Lost func() int
	// Kill ends the remote shell of a run that has failed.
	Kill func()
	// Publish is what a publishing server offers and tells, nil for nothing.
	Publish *Publisher
	// Swarm opens the swarm for a client that receives, nil for none.
	Swarm SwarmOpener
	// Learn takes note of contents for services of this machine, on the side
	// that receives; nil for none.
	Learn *transfer.Learn
	// Batch is the file of the batch options, of a client.
	Batch *Batch

	rules   *filter.List  // what Prepare has read
	names   io.ReadCloser // and opened
	local   bool
	ranges  *transfer.Ranges
	started time.Time
}

// side is one running session.
type side struct {
	ctx   context.Context
	p     *Params
	o     *options.Options
	log   *report.Log
	r     *wire.Reader
	w     *wire.Writer
	setup *rsyncproto.Setup
	c     *transfer.Config
	// charset is that of our names, nil where none are converted.
	charset *charset.Set
	snd     *transfer.Sender
	rcv     *transfer.Receiving

	mu       sync.Mutex
	timeout  int
	listed   atomic.Bool // a receiving side has its file list: from now on it keeps the peer waiting
	begun    atomic.Bool // a receiving side is generator and receiver by now
	parts    atomic.Bool // a server ends with a word to its client, even when it is ended by a signal
	stopped  atomic.Bool // which has happened
	lost     bool        // the other side is gone
	told     bool        // it knows that this side has failed
	reset    bool        // it had left data unread, as our last words to it show
	closing  *time.Timer // closes the connection after the generator's error
	killing  *time.Timer // and ends the remote shell
	abortErr error
	stop     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
}

// Run runs one side. The error carries the exit code; nil is success.
func Run(ctx context.Context, p Params) error {
	s, err := newSide(&p)
	if err != nil {
		return err
	}
	err = s.run(ctx)
	if p.Server {
		return err
	}
	return s.finish(err)
}

// RunLocal copies from the sources in args to the last of them, both sides in
// this process.
func RunLocal(ctx context.Context, p Params, dest string) error {
	toR, fromS := wire.Pipe()
	toS, fromR := wire.Pipe()
	closeAll := func() {
		toR.Close()
		fromS.Close()
		toS.Close()
		fromR.Close()
	}
	defer closeAll()
	p.local, p.Sender = true, true
	p.In, p.Out = toS, Limit(fromS, p.Opts.Bwlimit)
	p.Close = func() {
		fromS.Close()
		toS.Close()
	}
	srv := p
	srv.Server, srv.Sender = true, false
	srv.In, srv.Out = toR, Limit(fromR, p.Opts.Bwlimit)
	srv.Close = func() {
		fromR.Close()
		toR.Close()
	}
	srv.Args = []string{dest}
	if p.ServerOpts != nil {
		srv.Opts = p.ServerOpts
	}
	if p.ServerOpts == nil { // else one side may have to see the bytes, and the other not know
		p.ranges = &transfer.Ranges{}
		defer p.ranges.Close()
	}
	srv.ranges = p.ranges

	cs, err := newSide(&p)
	if err != nil {
		return err
	}
	ss, err := newSide(&srv)
	if err != nil {
		return err
	}
	if err := copyAs(ss, cs); err != nil {
		return err
	}
	ss.c.Filters = cs.c.Filters.Clone()
	ss.c.MungeLinks, ss.c.Chmod = p.ServerOpts != nil && p.ServerOpts.MungeLinks, nil // each side needs its own
	done := make(chan error, 1)
	go func() {
		err := ss.run(ctx)
		fromR.Close()
		toR.Close()
		if p.ranges != nil {
			p.ranges.Close() // the sender may be waiting for room
		}
		done <- err
	}()
	p.Wait = func() int { return 0 }
	err = cs.run(ctx)
	if err != nil {
		closeAll()
	}
	serr := <-done
	return cs.finish(worse(err, serr))
}

// worse returns the error to end with: the client's own, unless that is only
// that the other side was gone, or there is none.
func worse(client, server error) error {
	switch {
	case client == nil:
		return server
	case server != nil && exitcode.Of(client, exitcode.StreamIO) == exitcode.StreamIO && isSilent(client):
		return server
	}
	return client
}

func isSilent(err error) bool {
	var e *exitcode.Error
	return errors.As(err, &e) && e.Err == nil
}

func newSide(p *Params) (*side, error) {
	s := &side{p: p, o: p.Opts, stop: make(chan struct{})}
	s.r, s.w = wire.NewReader(p.In), wire.NewWriter(p.Out)
	if err := s.openCharset(); err != nil {
		return nil, err
	}
	s.log = s.newLog()
	s.debugCharset()
	s.timeout = p.Opts.Timeout
	c, err := s.config()
	if err != nil {
		return nil, err
	}
	s.c = c
	return s, nil
}

// negotiate agrees with the other side and starts the multiplexed streams.
func (s *side) negotiate() error {
	o, p := s.o, s.p
	proto := p.Protocol
	if proto == 0 {
		proto = o.Protocol
	}
	l := rsyncproto.Local{
		Server: p.Server, Sender: p.Sender, Protocol: proto, Remote: p.Remote,
		Capabilities:    o.CapabilityString,
		AllowIncRecurse: o.UseIncRecurse(p.Sender),
		LocalServer:     p.local,
		WriteBatch:      o.Batch == options.BatchWrite || o.Batch == options.BatchOnlyWrite,
		ReadBatch:       o.Batch == options.BatchRead,
		Iconv:           o.Iconv != "",
		Compress:        o.Compress, CompressChoice: o.CompressChoice,
		ChecksumChoice: o.ChecksumChoice, ChecksumList: o.ChecksumList, CompressList: o.CompressList,
		Seed:     o.ChecksumSeed,
		DrawSeed: func() int32 { return int32(p.Env.Now().Unix()) ^ int32(p.Env.PID<<6) },
		Offer:    p.offer(),
		Check:    s.checkProtocol,
	}
	if p.local {
		l.Capabilities = localCapabilities
		if o.UseIncRecurse(p.Sender) {
			l.Capabilities = "i" + l.Capabilities
		}
	}
	setup, err := rsyncproto.Negotiate(s.r, s.w, l)
	if err != nil {
		return s.streamError(err)
	}
	s.setup = setup
	// The totals of --stats begin where rsync 3.5.0 begins to buffer.
	s.r.Restart()
	s.w.Restart()
	if s.log.Debug(report.DebugProto, 1) {
		who := "Client"
		if p.Server {
			who = "Server"
		}
		s.log.Printf(report.Info, "(%s) Protocol versions: remote=%d, negotiated=%d\n", who, setup.Remote, setup.Protocol)
	}
	return s.finishConfig()
}

// localCapabilities are the letters of a client like this one.
const localCapabilities = "LsfxCIvu"

// streamError gives an error of the connection its exit code and text.
func (s *side) streamError(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	if s.abortErr != nil {
		err = s.abortErr
	}
	s.mu.Unlock()
	var e *exitcode.Error
	var bad *wire.ProtocolError
	switch {
	case errors.As(err, &e):
		return err
	case errors.As(err, &bad):
		return exitcode.New(exitcode.Protocol, "%s [%s]", bad.Text, s.who())
	case errors.Is(err, context.Canceled):
		return exitcode.Silent(exitcode.Signal)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		s.lost = true
		var read int64 // rsync counts from the end of the negotiation on
		if s.setup != nil {
			read = s.r.Total()
		}
		return exitcode.New(exitcode.StreamIO, "rsync: connection unexpectedly closed (%d bytes received so far) [%s]", read, s.who())
	case errors.Is(err, wire.ErrMuxTag):
		return exitcode.New(exitcode.StreamIO, "%w [%s]", err, s.who())
	case errors.Is(err, wire.ErrOverflow):
		return exitcode.New(exitcode.StreamIO, "%w", err)
	}
	return s.connError(err)
}

func (s *side) who() string {
	switch {
	case s.p.Sender:
		return "sender"
	case s.begun.Load():
		return "receiver"
	}
	return "Receiver"
}

// abort ends the connection because of err.
func (s *side) abort(err error) {
	s.stopWith(err)
	if s.p.Close != nil {
		s.p.Close()
	}
}

func (s *side) run(ctx context.Context) error {
	s.ctx, s.p.started = ctx, s.p.Env.Now()
	s.wg.Add(1)
	go s.watch(ctx)
	err := s.transfer()
	if err != nil {
		err = s.tellPeer(s.reason(s.lostWrites(err)))
		s.linger(err)
		err = s.seeOff(err)
	}
	s.once.Do(func() { close(s.stop) })
	s.wg.Wait()
	s.w.Flush()
	if s.writesBatch() {
		if cerr := s.p.Batch.Close(); err == nil {
			err = cerr
		}
	}
	if s.snd != nil {
		s.snd.Close()
	}
	if s.rcv != nil {
		s.rcv.Close()
	}
	if !s.p.Server {
		s.log.FinishLine()
	}
	broken := err
	if err == nil {
		err = s.result()
	}
	s.debugExit(broken, err)
	return err
}

// result is the exit code of a run that was not broken off.
func (s *side) result() error {
	var res transfer.Result
	if s.snd != nil {
		res = s.snd.Result()
	} else if s.rcv != nil {
		res = s.rcv.Result()
	}
	switch {
	case res.General() || s.log.XferError():
		return exitcode.Silent(exitcode.Partial)
	case res.Vanished():
		return exitcode.Silent(exitcode.Vanished)
	case res.DelLimit():
		return exitcode.Silent(exitcode.DelLimit)
	}
	return nil
}

// transfer is the whole conversation.
func (s *side) transfer() error {
	if err := s.negotiate(); err != nil {
		return err
	}
	if s.writesBatch() && !s.p.Server {
		if err := s.p.Batch.writeScript(s); err != nil {
			return err
		}
	}
	if !s.p.local { // else RunLocal does it for both
		if err := copyAs(s); err != nil {
			if s.p.Kill != nil {
				s.p.Kill() // it would tell of a lost connection
			}
			return err
		}
	}
	if s.p.Server {
		return s.server()
	}
	return s.client()
}

// watch flushes messages, keeps the connection alive and notices when it is
// not.
func (s *side) watch(ctx context.Context) {
	defer s.wg.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	read, written := int64(-1), int64(-1)
	idleR, idleW := 0, 0
	for {
		select {
		case <-s.stop:
			return
		case <-ctx.Done():
			s.signalled(context.Cause(ctx))
			return
		case <-s.w.Wake():
			s.w.Flush()
			continue
		case <-tick.C:
		}
		s.mu.Lock()
		timeout := s.timeout
		s.mu.Unlock()
		if at := s.o.StopAt; !at.IsZero() && !s.p.Env.Now().Before(at) && !(s.p.local && s.p.Server) {
			s.log.Printf(report.Error, "stopping at requested limit\n")
			s.abort(exitcode.Silent(exitcode.Timeout).Placed(exitcode.AtStop))
			return
		}
		if timeout <= 0 {
			continue
		}
		if n := s.r.Total(); n != read {
			read, idleR = n, 0
		} else {
			idleR++
		}
		if n := s.w.Total(); n != written {
			written, idleW = n, 0
		} else {
			idleW++
		}
		if idleW >= max(1, (timeout+1)/2) && (s.p.Sender || s.listed.Load()) {
			s.w.KeepAlive()
		}
		if min(idleR, idleW) >= timeout && idleR >= timeout {
			s.log.Printf(report.Error, "[%s] io timeout after %d seconds -- exiting\n", s.who(), idleR)
			s.abort(exitcode.Silent(exitcode.Timeout))
			return
		}
	}
}

// message takes what arrives between the data.
func (s *side) message(code wire.Msg, b []byte) error {
	num := func() (int32, bool) {
		if len(b) != 4 {
			return 0, false
		}
		return int32(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24), true
	}
	invalid := func() error {
		return exitcode.New(exitcode.StreamIO, "invalid multi-message %d:%d [%s]", code, len(b), s.who())
	}
	switch code {
	case wire.MsgInfo, wire.MsgError, wire.MsgErrorXfer, wire.MsgWarning, wire.MsgErrorSocket, wire.MsgErrorUTF8, wire.MsgClient, wire.MsgLog:
		s.log.FromPeer(report.Code(code), string(b))
	case wire.MsgIOError:
		v, ok := num()
		if !ok {
			return invalid()
		}
		if s.snd != nil {
			s.snd.NoteIOErrors(v)
		} else if s.rcv != nil {
			s.rcv.NoteIOErrors(v)
		}
	case wire.MsgIOTimeout:
		v, ok := num()
		if !ok || s.p.Server {
			return invalid()
		}
		if v = min(v, 86400); v > 0 {
			s.mu.Lock()
			if s.timeout == 0 || s.timeout > int(v) {
				s.timeout = int(v)
			}
			s.mu.Unlock()
		}
	case wire.MsgDeleted:
		if s.snd == nil || s.p.Server {
			return nil
		}
		mode := uint32(0100000) // all that the message tells
		if n := len(b); n > 0 && b[n-1] == 0 {
			mode, b = 0040000, b[:n-1]
		}
		name := string(b)
		if s.charset != nil {
			name = s.charset.Encode(name)
		}
		s.c.LogDeleted(s.log.As("sender"), name, name, mode)
	case wire.MsgSuccess:
		v, ok := num()
		if !ok {
			return invalid()
		}
		if s.snd != nil {
			return s.snd.Success(v)
		}
	case wire.MsgNoSend:
		v, ok := num()
		if !ok {
			return invalid()
		}
		if s.rcv != nil {
			s.rcv.Message(code, v)
		}
	case wire.MsgErrorExit:
		v, ok := num()
		if len(b) == 0 {
			return exitcode.Silent(exitcode.Terminated) // rsync takes it for success
		}
		if !ok {
			return invalid()
		}
		return &PeerExit{exitcode.Silent(exitcode.Code(v & 0xFF)).Placed(exitcode.AtPeerExit)}
	case wire.MsgNoop, wire.MsgRedo, wire.MsgStats:
	default:
		return fmt.Errorf("%w %d", wire.ErrMuxTag, code)
	}
	return nil
}

// PeerExit is the other side's announced end: it has told the reason already.
type PeerExit struct{ Err error }

func (e *PeerExit) Error() string { return e.Err.Error() }

// Unwrap returns the error with the exit code.
func (e *PeerExit) Unwrap() error { return e.Err }
