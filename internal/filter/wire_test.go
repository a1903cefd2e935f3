package filter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
)

var update = flag.Bool("update", false, "record testdata/send.txt anew from the rsync on the PATH")

// recordTo names the file that the test binary, run by rsync as its remote
// shell, leaves the rules in; with the protocol behind a colon.
const recordTo = "PRSYNC_FILTER_TEST_RECORD"

func TestMain(m *testing.M) {
	if to := os.Getenv(recordTo); to != "" {
		if err := recordServer(to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sendCases are client command lines; each is recorded for every protocol,
// as a pull and, where --delete or -m makes the receiver want rules, as a push.
var sendCases = [][]string{
	{},
	{"--exclude=foo"},
	{"--exclude=foo", "--delete"},
	{"--exclude=*.o", "--include=a/b/", "--exclude=/x", "--exclude=- y", "--exclude=+ z", "--delete"},
	{"--exclude=!", "--delete"},
	{"--include=- - odd", "--exclude=+ - odd", "--delete"},
	{"--filter=- foo/", "--filter=+ bar", "--delete"},
	{"--filter=H hid", "--filter=S shown", "--filter=P kept", "--filter=R risked", "--filter=-sr both", "--delete"},
	{"--filter=P kept", "--delete"},
	{"--filter=H hid", "--delete"},
	{"--filter=-p perish", "--delete"},
	{"--filter=-! */", "--delete"},
	{"--filter=-/ /abs", "--delete"},
	{"--filter=-x user.*", "--delete"},
	{"--filter=: .rules", "--delete"},
	{"--filter=:n- .rules", "--filter=:e dir/.more", "--filter=:w+ .w", "--filter=:sp .s", "--delete"},
	{"--filter=:C", "--filter=-C", "--delete"},
	{"-C", "--delete"},
	{"-C", "--exclude=mine"},
	{"-C", "--filter=:C", "--delete"},
	{"-F", "--delete"},
	{"-F", "-F", "--delete"},
	{"--delete-excluded", "--exclude=foo", "--filter=P kept", "--filter=H hid"},
	{"--delete-excluded", "--filter=: .rules", "--filter=:- .plain", "--filter=:s .s"},
	{"--delete-excluded", "-C"},
	{"-m", "--exclude=foo", "--filter=H hid"},
	{"--exclude=gone", "--filter=!", "--exclude=left", "--delete"},
	{"--filter=: .gone", "--filter=clear", "--filter=: .gone", "--delete"},
}

type sendCase struct {
	protocol int
	push     bool
	args     []string
}

func (c sendCase) String() string {
	way := "pull"
	if c.push {
		way = "push"
	}
	return fmt.Sprintf("%s %d %q", way, c.protocol, c.args)
}

func allSendCases() []sendCase {
	var all []sendCase
	for _, args := range sendCases {
		for _, protocol := range []int{27, 28, 29, 30, 31, 32} {
			if slices.Contains(args, "-m") && protocol < 29 {
				continue // refused by rsync
			}
			all = append(all, sendCase{protocol, false, args})
			list, s, err := sendCase{protocol, true, args}.list()
			if err == nil && list.receiverWants(s) {
				all = append(all, sendCase{protocol, true, args})
			}
		}
	}
	return all
}

// list builds the client's list for the case.
func (c sendCase) list() (*List, Session, error) {
	s := Session{Sender: c.push, Protocol: c.protocol}
	cfg := Config{Protocol: c.protocol}
	for _, a := range c.args {
		switch a {
		case "--delete-excluded":
			cfg.DeleteExcluded, s.Delete = true, true
		case "--delete":
			s.Delete = true
		case "-m":
			s.PruneEmptyDirs = true
		case "-C":
			s.CVS = true
		}
	}
	l := New(cfg)
	for _, a := range c.args {
		opt, text, _ := strings.Cut(a, "=")
		kind, ok := map[string]Kind{"--filter": Filter, "--exclude": ExcludeRule, "--include": IncludeRule, "-F": PerDirFilter}[opt]
		if !ok {
			continue
		}
		if err := l.AddArg(kind, text); err != nil {
			return nil, s, err
		}
	}
	return l, s, nil
}

// TestSend compares what a client sends with what rsync was recorded to send.
func TestSend(t *testing.T) {
	const golden = "testdata/send.txt"
	if *update {
		if err := os.WriteFile(golden, recordAll(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	recorded := make(map[string]string)
	for _, part := range strings.Split(string(data), "\n\n") {
		name, rules, _ := strings.Cut(strings.TrimSpace(part), "\n")
		recorded[name] = rules
	}
	for _, c := range allSendCases() {
		want, ok := recorded[c.String()]
		if !ok {
			t.Errorf("%s: not recorded", c)
			continue
		}
		l, s, err := c.list()
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		var out bytes.Buffer
		if err := l.Send(&out, s); err != nil {
			if got := fmt.Sprintf("exit %d", exitcode.Of(err, 0)); got != want {
				t.Errorf("%s: %s (%v), recorded %s", c, got, err, want)
			}
			continue
		}
		wire := out.Bytes()
		rules, err := readRules(&out)
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		if got := strings.Join(rules, "\n"); got != want {
			t.Errorf("%s sends:\n%s\nrecorded:\n%s", c, got, want)
		}
		testRecv(t, c, wire)
	}
}

// testRecv feeds what a client sends to a server: it must keep every rule and,
// if asked to, send the same on.
func testRecv(t *testing.T, c sendCase, wire []byte) {
	t.Helper()
	l := New(Config{Who: "server"})
	r := bytes.NewReader(wire)
	s := Session{Sender: !c.push, Protocol: c.protocol, Delete: true}
	if err := l.Recv(r, s); err != nil || r.Len() != 0 {
		t.Errorf("%s: Recv: %v, %d bytes left", c, err, r.Len())
		return
	}
	var again bytes.Buffer
	style := prefixStyle{sides: true, perishable: true, spelled: c.protocol >= 29}
	for _, rule := range l.rules.rules {
		p, _ := rule.spell(style, rule.pattern)
		text := p + rule.pattern + rule.slash()
		_ = binary.Write(&again, binary.LittleEndian, uint32(len(text)))
		again.WriteString(text)
	}
	again.Write([]byte{0, 0, 0, 0})
	if !bytes.Equal(again.Bytes(), wire) && !bytes.Contains(wire, []byte("\x01\x00\x00\x00!")) {
		t.Errorf("%s: %q came back as %q", c, wire, again.Bytes())
	}
}

func readRules(r io.Reader) (rules []string, err error) {
	for {
		var n uint32
		if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
			return rules, err
		}
		if n == 0 {
			return rules, nil
		}
		text := make([]byte, n)
		if _, err := io.ReadFull(r, text); err != nil {
			return rules, err
		}
		rules = append(rules, fmt.Sprintf("%q", text))
	}
}

// recordAll runs rsync for every case.
func recordAll(t *testing.T) []byte {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	for _, c := range allSendCases() {
		record := filepath.Join(dir, "record")
		_ = os.Remove(record)
		paths := []string{"host:src", dir + "/dst"}
		if c.push {
			paths = []string{dir, "host:dst"}
		}
		args := append([]string{"-r", fmt.Sprintf("--protocol=%d", c.protocol), "-e", self}, c.args...)
		cmd := exec.Command("rsync", append(args, paths...)...)
		cmd.Env = []string{fmt.Sprintf("%s=%s:%d", recordTo, record, c.protocol), "HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}
		text, err := cmd.CombinedOutput()
		fmt.Fprintln(&out, c)
		rules, readErr := os.ReadFile(record)
		switch {
		case readErr == nil:
			out.Write(rules)
		case cmd.ProcessState == nil || err == nil:
			t.Fatalf("%s: %v %s", c, err, text)
		default:
			fmt.Fprintf(&out, "exit %d\n", cmd.ProcessState.ExitCode())
		}
		fmt.Fprintln(&out)
	}
	return out.Bytes()
}

// recordServer speaks just enough of a server to be sent the rules: version,
// no compatibility flags, a checksum seed.
func recordServer(to string) error {
	to, version, _ := strings.Cut(to, ":")
	var protocol uint32
	if _, err := fmt.Sscan(version, &protocol); err != nil {
		return err
	}
	hello := binary.LittleEndian.AppendUint32(nil, protocol)
	if protocol >= 30 {
		hello = append(hello, 0)
	}
	if _, err := os.Stdout.Write(append(hello, 1, 0, 0, 0)); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.Discard(4); err != nil {
		return err
	}
	var plain io.Reader = in
	if head, err := in.Peek(4); err == nil && head[3] == 7 {
		plain = &demux{in: in}
	}
	rules, err := readRules(plain)
	if err != nil {
		return err
	}
	text := ""
	for _, r := range rules {
		text += r + "\n"
	}
	return os.WriteFile(to, []byte(text), 0o644)
}

// demux reads the data of a multiplexed stream that holds nothing else.
type demux struct {
	in   io.Reader
	left uint32
}

func (d *demux) Read(p []byte) (int, error) {
	for d.left == 0 {
		if err := binary.Read(d.in, binary.LittleEndian, &d.left); err != nil {
			return 0, err
		}
		if d.left>>24 != 7 {
			return 0, fmt.Errorf("message %#x amid the rules", d.left)
		}
		d.left &= 1<<24 - 1
	}
	n, err := d.in.Read(p[:min(len(p), int(d.left))])
	d.left -= uint32(n)
	return n, err
}
