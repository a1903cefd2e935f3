package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A daemonResult is all that is compared of a case.
type daemonResult struct {
	dir   string
	start *result   // of a daemon that listens
	steps []*result // of each action
	logs  map[string][]string
	tree  snapshot
}

// served is a daemon that is ready for clients.
type served struct {
	c      *daemonCase
	server string
	dir    string
	port   int // of one that listens
	held   int // what keeps the port for us
	pid    int
	front  *exec.Cmd
	ended  chan error // of front
}

// run runs the case once, in a directory of its own.
func (c *daemonCase) run(t *testing.T, p pair) *daemonResult {
	t.Helper()
	dir := c.prepare(t)
	if *keep == "" {
		defer removeTree(dir)
	}
	begin := time.Now()
	s := &served{c: c, server: p.server, dir: dir}
	r := &daemonResult{dir: dir, logs: map[string][]string{}}
	listens := c.by == byListener || c.by == byFront
	if listens {
		r.start = s.listen(t)
		defer unix.Close(s.held)
	}
	if !listens || s.pid != 0 {
		for _, a := range c.actions {
			if a.raw != nil {
				r.steps = append(r.steps, s.talk(t, a))
			} else {
				r.steps = append(r.steps, s.client(t, p.client, a))
			}
			s.settle(t)
		}
	}
	if s.pid != 0 {
		s.end(t)
	}
	r.tree = take(t, dir, begin)
	for _, name := range []string{"rsyncd.conf", "shell", "daemon.pid", "out.start", "err.start"} {
		delete(r.tree, name)
	}
	for name := range c.files { // the directory's own name is in them
		delete(r.tree, name)
	}
	delete(r.tree["."], "mtime")
	for name, e := range r.tree {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		delete(e, "content")
		delete(e, "size")
		delete(e, "blocks")
		text, err := os.ReadFile(filepath.Join(dir, name))
		check(t, err)
		r.logs[name] = slices.DeleteFunc(butRaces(s.lines(text)), func(l string) bool {
			return aboutConf.MatchString(l) || c.by == byShell && aboutRefusal.MatchString(l)
		})
	}
	for _, one := range append(r.steps, r.start) {
		if one != nil {
			one.stdout, one.stderr = butRaces(one.stdout), butRaces(one.stderr)
			if c.by == byShell {
				one.stderr = slices.DeleteFunc(one.stderr, aboutRefusal.MatchString)
			}
		}
	}
	return r
}

// listen starts a daemon that listens. Without s.pid it did not come so far.
func (s *served) listen(t *testing.T) *result {
	t.Helper()
	s.holdPort(t)
	argv := append([]string{s.server, "--daemon", "--config=rsyncd.conf", fmt.Sprintf("--port=%d", s.port), "--dparam=pidfile=" + s.dir + "/daemon.pid"}, s.words()...)
	argv[2] = "--config=" + s.dir + "/rsyncd.conf"
	if s.c.by == byFront {
		argv = append(argv, "--no-detach")
	}
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + s.dir, "LC_ALL=C", "TZ=UTC", "USER=tester"}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = s.dir, append(env, s.c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var files []*os.File
	for _, name := range []string{"out.start", "err.start"} { // a pipe would have to be waited for
		f, err := os.Create(filepath.Join(s.dir, name))
		check(t, err)
		defer f.Close()
		files = append(files, f)
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	check(t, cmd.Start())
	ended := make(chan error, 1)
	s.ended = ended
	go func() { ended <- cmd.Wait() }()
	r := &result{dir: s.dir}
	gone := false
	for until := time.Now().Add(*patience); ; time.Sleep(2 * time.Millisecond) {
		if listening(s.port) {
			if s.c.by == byListener {
				if !gone {
					<-ended
				}
				text, err := os.ReadFile(filepath.Join(s.dir, "daemon.pid"))
				check(t, err)
				s.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
				check(t, err)
			} else {
				s.pid, s.front = cmd.Process.Pid, cmd
			}
			break
		}
		if time.Now().After(until) {
			cmd.Process.Kill()
			r.stderr = append(r.stderr, "HUNG: neither listens nor ends")
			break
		}
		select {
		case <-ended:
			gone = true
			r.code = cmd.ProcessState.ExitCode()
		default:
		}
		if gone && (s.c.by == byFront || r.code != 0 || len(group(cmd.Process.Pid)) == 0 && !hasLeft(s.dir)) {
			break
		}
	}
	for i, name := range []string{"out.start", "err.start"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		check(t, err)
		if l := s.lines(text); i == 0 {
			r.stdout = l
		} else {
			r.stderr = append(r.stderr, l...)
		}
	}
	return r
}

// hasLeft reports whether a daemon that left its parent is alive.
func hasLeft(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "daemon.pid"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && syscall.Kill(pid, 0) == nil
}

// words are the arguments of the daemon that the case has drawn.
func (s *served) words() []string {
	words := slices.Concat(s.c.args...)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "RUNDIR", s.dir)
	}
	return words
}

// holdPort takes a port that the kernel chooses, and keeps others from getting
// it: what binds it after us has to ask for its reuse, as daemons do.
func (s *served) holdPort(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	s.held = fd
	check(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	check(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	sa, err := unix.Getsockname(fd)
	check(t, err)
	s.port = sa.(*unix.SockaddrInet4).Port
}

// listening reports whether somebody accepts connections to a port.
func listening(port int) bool {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				return true
			}
		}
	}
	return false
}

// group returns the living processes of a group.
func group(id int) []int {
	var all []int
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		_, tail, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(tail); len(f) > 2 && f[2] == strconv.Itoa(id) && f[0] != "Z" {
			all = append(all, pid)
		}
	}
	return all
}

// settle waits until a daemon that listens has done with its clients.
func (s *served) settle(t *testing.T) {
	t.Helper()
	if s.pid == 0 {
		return
	}
	for until := time.Now().Add(*patience); len(group(s.pid)) > 1; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Errorf("%s: %s goes on without a client, in %s", s.c.name, s.server, s.dir)
			return
		}
	}
}

// end ends a daemon that listens.
func (s *served) end(t *testing.T) {
	t.Helper()
	syscall.Kill(s.pid, syscall.SIGTERM)
	for until := time.Now().Add(*patience); len(group(s.pid)) > 0; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Errorf("%s: %s does not end of SIGTERM", s.c.name, s.server)
			syscall.Kill(-s.pid, syscall.SIGKILL)
			return
		}
	}
	if s.front == nil {
		reap(s.pid)
	}
}

// lines are lines with what varies replaced.
func (s *served) lines(text []byte) []string {
	names := []string{s.dir, "RUNDIR", filepath.Base(s.dir), "RUN", prsync, "RSYNC", peer, "RSYNC", other, "RSYNC", lab, "LAB"}
	if s.port != 0 {
		names = append(names, strconv.Itoa(s.port), "PORT")
	}
	out := lines(string(text), strings.NewReplacer(names...))
	pids := map[string]string{}
	for i, l := range out {
		for _, v := range daemonVarying {
			l = v.pattern.ReplaceAllString(l, v.as)
		}
		if pid, ok := strings.CutPrefix(l, "RSYNC_PID="); ok { // one for all hooks of a connection
			if pids[pid] == "" {
				pids[pid] = fmt.Sprintf("PID-%d", len(pids)+1)
			}
			l = "RSYNC_PID=" + pids[pid]
		}
		out[i] = l
	}
	return out
}

// What differs from one run of the same daemon to the next.
var daemonVarying = []struct {
	pattern *regexp.Regexp
	as      string
}{
	{regexp.MustCompile(`\{\d+\}`), "{PID}"},
	{regexp.MustCompile(`\{\d{4}/\d\d/\d\d[- ]\d\d:\d\d:\d\d\}`), "{DATE}"},
	{regexp.MustCompile(`AUTHREQD \S+`), "AUTHREQD CHALLENGE"},
	{regexp.MustCompile(`^RSYNC_ARG\d+=`), "RSYNC_ARG="}, // wildcards find files in the order of the directory
	{regexp.MustCompile(`^(RSYNC_ARG=-\w*e[\d.]*i?LsfxCIvu)P$`), "$1"},
	{regexp.MustCompile(`^RSYNC_ARG=--iconv=.*`), "RSYNC_ARG=--iconv=SET"}, // a module has its own: rsync's client sends another one than over a remote shell
	{regexp.MustCompile(`rsync: \[Receiver\] getpwuid failed: Success \(0\)|the groups of uid \d+: no user has the id \d+`), "no such user"},
	{regexp.MustCompile(`early exec failed: No child processes \(10\)`), "early exec failed"},
	{regexp.MustCompile(`(DATE \[PID\] )rsync: \[Receiver\] early exec failed`), "${1}early exec failed"},
	{regexp.MustCompile(`^(DATE \[PID\] )?(?:rsync: didn't get server startup line$|@ERROR: (?:cannot read the filter rules of module .*|daemon security issue -- contact admin))`), "${1}RULES"}, // see docs/status.md
	{regexp.MustCompile(`on remote machine: -[^-].*: unknown option`), "on remote machine: -X: unknown option"},                                                                                   // the first that a wildcard has found
	{regexp.MustCompile(`rsyncd version \S+ starting`), "rsyncd version V starting"},
}

// aboutConf matches what is said of lines of a configuration that are of no use:
// ours names file and line, and finds more of them.
var aboutConf = regexp.MustCompile(`^DATE \[PID\] (?:params\.c:|Badly formed boolean in configuration file: |Global parameter |RUNDIR/\S+:\d+: |--dparam: )`)

// aboutRefusal matches what rsync's server has yet to say of options that it
// refuses, over a remote shell, when its client has ended.
var aboutRefusal = regexp.MustCompile(`^(?:DATE \[PID\] )?rsync error: requested action not supported \(code 4\) at PLACE \[sender\]`)

// aboutEnd matches what a daemon says to a client, or not, that has closed
// the connection.
var aboutEnd = regexp.MustCompile(`connection unexpectedly closed|^rsync error: error in rsync protocol data stream \(code 12\)`)

// client runs a client.
func (s *served) client(t *testing.T, program string, a *daemonAction) *result {
	t.Helper()
	argv := []string{program}
	for _, words := range a.options {
		argv = append(argv, words...)
	}
	argv = append(argv, a.operands...)
	host := "peer"
	env := slices.Concat(s.c.env, a.env)
	switch s.c.by {
	case byInetd:
		command := s.server + " --daemon --config=" + s.dir + "/rsyncd.conf"
		for _, w := range s.words() {
			command += " " + quote(w)
		}
		env = append(env, "RSYNC_CONNECT_PROG="+command)
	case byShell:
		s.writeShell(t)
		argv = append(argv, "-e", s.dir+"/shell")
	default:
		host = "127.0.0.1"
		argv = append(argv, fmt.Sprintf("--port=%d", s.port))
	}
	for i, w := range argv {
		argv[i] = strings.ReplaceAll(strings.ReplaceAll(w, "RUNDIR", s.dir), "HOST", host)
	}
	r := execute(t, s.dir, argv, env, []byte("typed\n"))
	r.stdout, r.stderr = s.again(r.stdout), s.again(r.stderr)
	return r
}

// again replaces what varies with daemons in lines.
func (s *served) again(all []string) []string {
	if len(all) == 0 {
		return nil
	}
	return s.lines([]byte(strings.Join(all, "\n")))
}

// writeShell makes the remote shell, of an account whose only command is the
// daemon.
func (s *served) writeShell(t *testing.T) {
	t.Helper()
	command := "#!/bin/sh\nexec " + s.server + " --server --daemon --config=" + s.dir + "/rsyncd.conf"
	for _, w := range s.words() {
		command += " " + quote(w)
	}
	check(t, os.WriteFile(filepath.Join(s.dir, "shell"), []byte(command+" .\n"), 0o755))
}

// talk says what an action says to the daemon, closes, and returns what came
// back.
func (s *served) talk(t *testing.T, a *daemonAction) *result {
	t.Helper()
	check(t, sources())
	r := &result{dir: s.dir, command: fmt.Sprintf("%q", cut80(*a.raw))}
	var conn interface {
		io.ReadWriter
		CloseWrite() error
	}
	var cmd *exec.Cmd
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + s.dir, "LC_ALL=C", "TZ=UTC", "USER=tester"}
	switch s.c.by {
	case byInetd, byShell:
		l, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer l.Close()
		ours, err := net.Dial("tcp", l.Addr().String())
		check(t, err)
		defer ours.Close()
		theirs, err := l.Accept()
		check(t, err)
		f, err := theirs.(*net.TCPConn).File()
		check(t, err)
		theirs.Close()
		argv := append([]string{s.server, "--daemon", "--config=" + s.dir + "/rsyncd.conf"}, s.words()...)
		if s.c.by == byShell {
			argv = append(append([]string{s.server, "--server", "--daemon", "--config=" + s.dir + "/rsyncd.conf"}, s.words()...), ".")
		}
		cmd = exec.Command(argv[0], argv[1:]...)
		cmd.Dir, cmd.Env, cmd.Stdin = s.dir, slices.Concat(env, s.c.env), f
		if s.c.by == byShell {
			cmd.Stdout = f
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		check(t, cmd.Start())
		f.Close()
		conn = ours.(*net.TCPConn)
	default:
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			r.stderr = append(r.stderr, "DIAL")
			return r
		}
		defer c.Close()
		conn = c.(*net.TCPConn)
	}
	conn.(net.Conn).SetDeadline(time.Now().Add(*patience))
	said := strings.ReplaceAll(strings.ReplaceAll(*a.raw, "RUNDIR", s.dir), "CR", "\r")
	if _, err := io.WriteString(conn, said); err == nil {
		conn.CloseWrite()
	}
	reply, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.stderr = append(r.stderr, "HUNG: the daemon does not close the connection")
		if cmd != nil {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
	r.stdout = slices.DeleteFunc(s.lines(legible(reply)), func(l string) bool {
		return l == "RULES" || strings.HasPrefix(l, "usage error;") || aboutEnd.MatchString(l)
	})
	if cmd != nil {
		cmd.Wait() // nobody is told the code of a connection's process: of rsync's it is mostly 255
		reap(cmd.Process.Pid)
	}
	return r
}

func cut80(s string) string { return s[:min(len(s), 80)] }

// runs matches text among the bytes of a stream.
var textRuns = regexp.MustCompile(`[ -~\n]{7,}`)

// legible is what a daemon says in lines, and the text among what follows.
func legible(reply []byte) []byte {
	const ok = "@RSYNCD: OK\n"
	i := bytes.Index(reply, []byte(ok))
	if i < 0 {
		return reply
	}
	i += len(ok)
	out := slices.Clone(reply[:i])
	for _, run := range textRuns.FindAll(reply[i:], -1) {
		if _, sums, found := bytes.Cut(run, []byte("md5 ")); found && len(sums) > 0 { // names of what can be agreed on
			continue
		}
		for line := range bytes.SplitSeq(run, []byte("\n")) {
			if len(line) >= 7 {
				out = append(append(out, line...), '\n')
			}
		}
	}
	return out
}

// compare returns how got differs.
func (want *daemonResult) compare(got *daemonResult, p pair) (diff []string) {
	if want.start != nil {
		// A listener of ours says this to whoever starts it, too, and not in the log alone.
		got.start.stderr = slices.DeleteFunc(got.start.stderr, func(l string) bool { return strings.HasPrefix(l, `"proxy protocol = true" but`) })
		diff = append(diff, want.start.differs("start", got.start)...)
	}
	for i, w := range want.steps {
		if i < len(got.steps) {
			diff = append(diff, w.differs(fmt.Sprintf("action %d", i+1), got.steps[i])...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.logs)) {
		if slices.ContainsFunc(want.logs[name], aboutUsage.MatchString) {
			continue
		}
		diff = append(diff, sameLines(name, want.logs[name], got.logs[name])...)
	}
	return append(diff, want.tree.compare(got.tree)...)
}

// aboutUsage matches what rsync tells whoever gives it arguments of no use, in a
// log too, and has words of its own here.
var aboutUsage = regexp.MustCompile(`Usage: rsync \[OPTION\]`)

// resetEarly matches what a client says whose words a daemon has not read that sends it
// away (from a proxy that is not trusted): rsync's daemon resets the connection, and a
// client that was slower to speak sees its end instead.
var resetEarly = regexp.MustCompile(`^rsync: \[(\w+)\] safe_read failed to read 1 bytes: Connection reset by peer \(104\)$`)

// evenReset gives such a client the words of the slower one.
func evenReset(r *result) *result {
	for _, line := range r.stderr {
		if m := resetEarly.FindStringSubmatch(line); m != nil {
			even := *r
			even.code = 5
			even.stderr = []string{"rsync: did not see server greeting", "rsync error: error starting client-server protocol (code 5) at PLACE [" + m[1] + "]"}
			return &even
		}
	}
	return r
}

func (want *result) differs(what string, got *result) (diff []string) {
	want, got = evenReset(want), evenReset(got)
	if slices.ContainsFunc(slices.Concat(want.stdout, want.stderr), aboutUsage.MatchString) {
		return nil
	}
	if got.code != want.code {
		diff = append(diff, fmt.Sprintf("%s: exit code %d, want %d", what, got.code, want.code))
	}
	diff = append(diff, sameLines(what+" stdout", want.stdout, got.stdout)...)
	return append(diff, sameLines(what+" stderr", want.stderr, got.stderr)...)
}
