package session

import (
	"errors"
	"io"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/transfer"
)

// listNames gives the file list's encoder the names it asks for.
type listNames struct {
	meta.NameSource
	none bool // a module's "numeric ids": only id 0 has a name
}

func (n listNames) UserName(uid uint32) string {
	if n.none && uid != 0 {
		return ""
	}
	s, _ := n.NameSource.UserName(uid)
	return s
}

func (n listNames) GroupName(gid uint32) string {
	if n.none && gid != 0 {
		return ""
	}
	s, _ := n.NameSource.GroupName(gid)
	return s
}

var _ flist.Names = listNames{}

// filterSession is what both ends agree on when rules are exchanged.
func (s *side) filterSession() filter.Session {
	return filter.Session{
		Sender: s.p.Sender, Local: s.p.local, Protocol: s.setup.Protocol,
		Delete: s.o.Delete != options.DeleteNone, PruneEmptyDirs: s.o.PruneEmptyDirs, CVS: s.o.CVSExclude,
	}
}

// generatorTells reports whether the generator's stream to the sender has
// messages in it: the sender of files to remove wants to know which arrived.
// rsync 3.5.0 options.c and compat.c:need_messages_from_generator.
func (s *side) generatorTells() bool {
	return s.setup.Protocol >= 30 || s.o.RemoveSourceFiles
}

// client is the client's half. rsync 3.5.0 main.c:client_run.
func (s *side) client() error {
	proto := s.setup.Protocol
	remoteList := s.o.FilesFromRemote
	if s.p.Sender {
		if proto >= 30 {
			s.w.StartMux()
		}
		if proto >= 31 || !remoteList {
			s.r.StartMux()
		}
		if err := s.c.Filters.Send(s.w, s.filterSession()); err != nil {
			return err
		}
		if remoteList {
			s.w.Flush()
			s.c.FilesFrom = s.wireNames()
		}
		if s.writesBatch() {
			s.w.Tee = s.p.Batch.begin(s)
			s.c.Batch = s.w.Tee
		}
		return s.send(func() {
			if proto < 31 && remoteList {
				s.r.StartMux()
			}
		})
	}
	if s.c.ReadBatch {
		if err := s.c.Filters.Send(nil, s.filterSession()); err != nil {
			return err
		}
		return s.receive()
	}
	s.r.StartMux()
	if s.generatorTells() {
		s.w.StartMux()
	}
	if err := s.c.Filters.Send(s.w, s.filterSession()); err != nil {
		return err
	}
	if err := s.forwardNames(); err != nil {
		return err
	}
	s.w.Flush()
	if s.writesBatch() {
		s.r.Tee = s.p.Batch.begin(s)
	}
	return s.receive()
}

// wireNames reads the names of --files-from that the other side sends.
func (s *side) wireNames() *filter.Names {
	n := filter.NewNames(byteReader{s.r}, true, true)
	if s.namesOnWire() {
		n.Convert = s.charset.Encode
	}
	return n
}

// byteReader keeps a bufio.Reader on top of it from reading ahead of the
// names: what follows them belongs to the transfer.
type byteReader struct{ r io.Reader }

func (b byteReader) Read(p []byte) (int, error) {
	if len(p) > 1 {
		p = p[:1]
	}
	return b.r.Read(p)
}

// server is the server's half. rsync 3.5.0 main.c:start_server.
func (s *side) server() error {
	proto := s.setup.Protocol
	s.w.StartMux()
	s.parts.Store(!s.endsSilently() && (proto >= 31 || !s.p.Sender))
	if m := s.p.Module; m != nil && m.Timeout > 0 && proto >= 31 {
		s.w.MsgInt(33, int32(m.Timeout))
	}
	if m := s.p.Module; m != nil {
		if m.Err != nil {
			return m.Err
		}
		if !s.p.Sender {
			if err := m.forbidden(); err != nil {
				return err
			}
		}
	}
	if proto >= 30 || s.p.Sender && s.generatorTells() {
		s.r.StartMux()
	}
	if err := s.c.Filters.Recv(s.r, s.filterSession()); err != nil {
		return err
	}
	if s.p.Sender {
		// A sender has taken what the client sends by now, so that they part in
		// good order; a receiver leaves it unread.
		if m := s.p.Module; m != nil {
			if err := m.forbidden(); err != nil {
				return err
			}
		}
		if s.o.FilesFrom == "-" {
			if proto < 31 {
				s.r.StopMux()
			}
			s.c.FilesFrom = s.wireNames()
		} else if s.o.FilesFrom != "" && s.c.FilesFrom == nil {
			if err := s.openNames(); err != nil {
				return err
			}
		}
		return s.send(func() {
			if s.o.FilesFrom == "-" && proto < 31 && s.generatorTells() {
				s.r.StartMux()
			}
		})
	}
	if err := s.forwardNames(); err != nil {
		return err
	}
	return s.receive()
}

// send is the life of a sending side.
func (s *side) send(afterList func()) error {
	if s.p.Server && s.log.Debug(report.DebugSend, 1) {
		s.log.Printf(report.Info, "server_sender starting pid=%d\n", s.p.Env.PID)
	}
	s.snd = transfer.NewSender(s.c, listNames{s.names(), s.p.Module != nil && s.p.Module.NumericIDs})
	s.publish()
	args := s.p.Args
	if s.p.Server && len(args) == 0 && (s.o.Recurse || s.o.Dirs || s.o.ListOnly) && s.c.FilesFrom == nil {
		args = []string{"."}
	}
	if s.c.FilesFrom == nil && len(args) == 0 && s.p.Server {
		return exitcode.New(exitcode.Syntax, "ERROR: do_server_sender called without args")
	}
	if err := s.snd.SendList(args); err != nil {
		return err
	}
	afterList()
	if s.p.Server && s.snd.Files() == 0 {
		err := s.w.Flush()
		s.logTotals()
		return err
	}
	if err := s.snd.Run(); err != nil {
		return err
	}
	s.log.As("sender").Heap()
	st := &s.snd.Stats
	st.Written, st.Read = s.w.Total(), s.r.Total()
	st.TotalSize = s.snd.TotalSize()
	if s.p.Server {
		proto := s.setup.Protocol
		s.w.Varlong30(st.Read, 3)
		s.w.Varlong30(st.Written, 3)
		s.w.Varlong30(st.TotalSize, 3)
		if proto >= 29 {
			s.w.Varlong30(st.FlistBuild, 3)
			s.w.Varlong30(st.FlistXfer, 3)
		}
		s.w.Flush()
	} else if s.writesBatch() {
		s.p.Batch.end(st, s.setup.Protocol)
	}
	if err := s.snd.Goodbye(); err != nil {
		return err
	}
	if s.p.Server {
		s.logTotals()
		return nil
	}
	return s.ended(st)
}

// receive is the life of a receiving side.
func (s *side) receive() error {
	if err := s.useSwarm(); err != nil {
		return err
	}
	if err := s.o.EmptyValues(); err != nil {
		return err
	}
	s.c.Begin = func() { s.begun.Store(true) }
	if s.p.local && s.log.Debug(report.DebugRecv, 1) {
		s.log.Printf(report.Info, "server_recv(2) starting pid=%d\n", s.p.Env.PID)
	}
	s.c.Learn = s.p.Learn
	rcv, err := transfer.NewReceiving(s.c)
	if err != nil {
		return err
	}
	s.rcv = rcv
	if err := rcv.ReadList(); err != nil {
		return err
	}
	st := &rcv.Stats
	if rcv.Files() == 0 && !s.p.Server {
		st.Written, st.Read = s.w.Total(), s.r.Total()
		return s.ended(st)
	}
	dest := ""
	if len(s.p.Args) > 0 {
		dest = s.p.Args[0]
	}
	if err := rcv.Destination(dest); err != nil {
		return err
	}
	if err := s.checkDestOptions(rcv.Dir()); err != nil {
		return err
	}
	s.listed.Store(true)
	if err := rcv.Run(); err != nil {
		return err
	}
	if s.p.Server {
		st.TotalSize = rcv.TotalSize()
		if s.result() == nil {
			s.logTotals()
		}
		return nil
	}
	return s.ended(st)
}

// logTotals is the line at the end of a log file. A sender's stands there for a
// run that failed too, and counts what passed after the summary.
func (s *side) logTotals() {
	if s.p.Server && (s.p.local || s.p.Module == nil && s.o.LogFile == "") {
		return
	}
	var st report.Stats
	switch {
	case s.snd != nil:
		st.TotalSize = s.snd.TotalSize()
		if st.Read == 0 && st.Written == 0 { // it has failed
			st.Read, st.Written = s.r.Total(), s.w.Total()
		}
	case s.rcv != nil:
		st = s.rcv.Stats
		st.Read, st.Written = s.rcv.Heard(), s.w.Total()
	}
	if s.p.Sender {
		st.Read, st.Written = s.r.Total(), s.w.Total()
	}
	s.log.Printf(report.LogFile, "sent %d bytes  received %d bytes  total size %d\n", st.Written, st.Read, st.TotalSize)
}

// ended waits for the other side and prints the summary.
func (s *side) ended(st *report.Stats) error {
	s.w.Flush()
	status := 0
	if s.p.Wait != nil {
		status = s.p.Wait()
	}
	note := ""
	switch {
	case s.o.Batch == options.BatchOnlyWrite:
		note = " (BATCH ONLY)"
	case s.o.DryRun:
		note = " (DRY RUN)"
	}
	s.log.FinishLine()
	elapsed := s.p.Env.Now().Truncate(time.Second).Sub(s.p.started.Truncate(time.Second))
	if s.rcv != nil {
		counts := s.rcv.SwarmCounts()
		s.log.SwarmSummary(&counts, s.o.HumanReadable)
	}
	s.log.Summary(st, s.o.HumanReadable, s.setup.Protocol, elapsed, note)
	if status != 0 {
		return exitcode.Silent(exitcode.Code(status))
	}
	return nil
}

// forwardNames sends a local --files-from list to the remote sender, while the
// file list comes back. rsync 3.5.0 io.c:start_filesfrom_forwarding.
func (s *side) forwardNames() error {
	o := s.o
	if o.FilesFrom == "" || s.p.Server && o.FilesFrom == "-" || !s.p.Server && o.FilesFromRemote || s.p.local {
		return nil
	}
	f, err := s.openNamesFile()
	if err != nil {
		return err
	}
	remux := s.setup.Protocol < 31 && s.w.Muxed()
	if remux {
		s.w.StopMux()
	}
	names := filter.NewNames(f, o.From0, false)
	names.Comments = true // they are forwarded as they stand
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		defer f.Close()
		for {
			name, err := names.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					s.abort(exitcode.New(exitcode.FileIO, "reading %s: %w", o.FilesFrom, err))
				}
				break
			}
			if s.p.Implied != nil {
				s.p.Implied.Add(name, false)
			}
			if s.namesOnWire() {
				name = s.charset.Decode(name)
			}
			if _, err := s.w.Write(append([]byte(name), 0)); err != nil {
				break
			}
		}
		s.w.Write([]byte{0})
		s.w.Flush()
		if remux {
			s.w.StartMux()
		}
	}()
	return nil
}

func (m *Module) forbidden() error {
	if m.Forbidden == nil {
		return nil
	}
	return m.Forbidden()
}
