package options

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/exitcode"
)

// refuseCases are "refuse options" of a module, and the options of a client
// that copies to it or, with "<", from it.
var refuseCases = []string{
	"|-a", "|--copy-devices <", "|-a --write-devices", "|-aM--log-file=x", "|-aM--insecure-links", "|-a --iconv=.", "|-M--crtimes", "|-M-N",
	"delete|-a --delete", "delete|-a --del", "delete|-a --delete-after", "delete|-a --delete-missing-args", "delete|-a --remove-source-files",
	"delete|-a --remove-source-files <", "delete|-a --delete <", "delete|-a", "del|-a --delete-during", "del|-a --del", "delete-during|-a --del", "delete-during|-a -M--del",
	"delete-during|-a --delete", "delete-during|-a --delete-delay", "delete-before|-a --delete", "delete-before delete-during|-a --delete", "delete*|-a --delete-after", "delete-*|-a --delete-excluded",
	"delete-excluded|-a --delete-excluded", "c|-ac", "checksum|-ac", "checksum|-aM--checksum", "*|-a", "*|-r", "*|-e.x", "*|-n", "* !a|-a", "* !a !v|-av", "* !a|-av", "* !archive|-a", "a|-r", "archive|-t",
	"a|-v", "a|-aM-a", "t|-M-a", "p !p|-a", "perms|-a", "p|-p", "compress|-az", "compress|-a --zc=zstd", "compress|-a --zl=3", "compress|-a --zc=none", "compress|-a -zz", "z|-a --zl=5", "compress|-a",
	"compress-threads|-M--zt=4 -a", "zt|-aM--compress-threads=4", "zc|-a --zc=zstd", "compress-choice|-a --zc=lz4", "new-compress|-azz", "inplace|-a --inplace", "inplace|-a --append", "inplace|-a --write-devices",
	"!write-devices inplace|-a --write-devices", "!write-devices|-a --write-devices", "!copy-devices|-a --copy-devices <", "!copy*|-a --copy-devices <", "partial|-a --partial", "partial|-aP", "partial|-aM-P", "progress|-M-P",
	"partial|-a --inplace", "partial|-a --partial-dir=x", "partial|-a --delay-updates", "partial|-a --partial-dir=.", "no-such-thing|-a", "no-iconv|-a", "existing|-a --ignore-non-existing", "ignore-non-existing|-a --existing",
	"owner group|-a", "o|-o", "[og]|-g", "?|-v", "?|-M--verbose", "no-*|-aM--no-g", "checksum-seed|-a --checksum-seed=5", "check*|-a --checksum-seed=5", "check*|-ac", "secluded-args|-as", "*|-s",
	"log-format|-ai", "out-format|-ai", "log-file|-a", "fuzzy|-ayy", "y|-ay", "timeout !timeout|-a --timeout=5", "! |-a", "super|-a --fake-super", "super|-a --super", "hard-links|-aH", "hard-*|-aH", "x*|-aX", "xattrs|-aXX",
	"devices|-a", "D|-a", "D|-r", "specials|-a --no-devices", "links|-l", "l|-aM-a", "info|-a --info=name2", "mkpath|-a --mkpath", "files-from|-a --files-from=:l <", "from0|-a --files-from=- <",
}

func splitRefuseCase(t *testing.T, c string) (words, args []string, pull bool) {
	t.Helper()
	left, right, ok := strings.Cut(c, "|")
	if !ok {
		t.Fatalf("bad case %q", c)
	}
	args = strings.Fields(right)
	if n := len(args) - 1; args[n] == "<" {
		args, pull = args[:n], true
	}
	return strings.Fields(left), args, pull
}

// refuseOracle asks a real daemon, which serves the client's socket.
func refuseOracle(t *testing.T, dir string, c string) string {
	t.Helper()
	words, args, pull := splitRefuseCase(t, c)
	conf := fmt.Sprintf("use chroot = no\nlog file = %s/log\n[mod]\npath = %s/mod\nread only = no\nrefuse options = %s\n",
		dir, dir, strings.Join(words, " "))
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	if pull {
		args = append(args, "localhost::mod/", "out/")
	} else {
		args = append(args, "src/", "localhost::mod/")
	}
	cmd := exec.Command(oracle, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "RSYNC_CONNECT_PROG=" + oracle + " --daemon --config=" + dir + "/conf"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run() // the text tells
	for _, l := range strings.Split(stderr.String(), "\n") {
		if strings.Contains(l, "refuse") {
			return l
		}
	}
	return ""
}

// TestRefuse sends what our client would send through our server, and compares
// the answer with that of a real daemon.
func TestRefuse(t *testing.T) {
	file := filepath.Join("testdata", "refuse.txt")
	if *update {
		dir := t.TempDir()
		for _, d := range []string{"src", "mod", "out"} {
			if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var b strings.Builder
		for _, c := range refuseCases {
			fmt.Fprintf(&b, "%q %q\n", c, refuseOracle(t, dir, c))
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		w := unquoteWords(t, l)
		// C prints a name that -D does not have.
		w[1] = strings.ReplaceAll(w[1], "--(null) (-D)", "-D")
		if w[1] != "" {
			refused++
		}
		words, args, pull := splitRefuseCase(t, w[0])
		o, _, err := Parse(append(args, "a", "h::b"), testEnv())
		if err != nil {
			t.Fatalf("%s: %v", w[0], err)
		}
		refuse, _ := NewRefuse(append(words, "iconv"))
		sent := append(o.ServerArgs(!pull, 32, ""), ".", "mod/")
		got := ""
		server, _, err := ParseServer(sent, Env{Daemon: true, Refuse: refuse, Secluded: true})
		if err != nil {
			got = err.Error()
			if code := exitcode.Of(err, -1); code != exitcode.Unsupported {
				t.Errorf("%s: code %d", w[0], code)
			}
		}
		if got != w[1] {
			t.Errorf("%s (sent %q)\n got %q\nwant %q", w[0], sent, got, w[1])
		}
		if err != nil {
			// Check after the fact says the same, but for the time of --delete.
			if server, _, err = ParseServer(sent, Env{Daemon: true, Secluded: true}); err != nil {
				continue
			}
		}
		if err := refuse.Check(server); (err != nil) != (w[1] != "") || err != nil && err.Error() != w[1] {
			t.Errorf("%s: Check says %v, want %q", w[0], err, w[1])
		}
	}
	if refused < 40 {
		t.Errorf("only %d cases are refused", refused)
	}
}

func TestRefuseReportsUnmatchedWords(t *testing.T) {
	_, err := NewRefuse([]string{"delete", "nope", "del*", "no[pe"})
	want := "No match for refuse-options string \"nope\"\nNo match for refuse-options string \"no[pe\""
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestDaemonCapsAndForbids(t *testing.T) {
	o, _, err := ParseServer(strings.Fields("--server -z --compress-threads=256 --confine-root=/x . mod/"), Env{Daemon: true})
	if err != nil {
		t.Fatal(err)
	}
	if o.CompressThreads != 8 || o.ConfineRoot != "" {
		t.Errorf("threads %d, confined to %q", o.CompressThreads, o.ConfineRoot)
	}
	for _, arg := range []string{"--daemon", "--config=x", "--no-detach", "--dparam=a=b"} {
		_, _, err := ParseServer([]string{"--server", arg, ".", "mod/"}, Env{Daemon: true})
		if err == nil || err.Error() != "rsync: Attempt to hack rsync thwarted!" {
			t.Errorf("%s: %v", arg, err)
		}
	}
	// An old client's wish for no limit at all.
	_, _, err = ParseServer([]string{"--server", "--max-alloc=0", ".", "mod/"}, Env{Daemon: true})
	if err == nil || err.Error() != "rsync: max-alloc must be greater than zero" || exitcode.Of(err, -1) != exitcode.Unsupported {
		t.Errorf("--max-alloc=0: %v", err)
	}
}

// TestServerReadsWhatClientSends checks that the settings survive the way over
// the wire, for all recorded command lines.
func TestServerReadsWhatClientSends(t *testing.T) {
	for _, r := range readRecords(t, "serverargs.txt") {
		if r.sent == nil || slices.Contains(r.sent, "--use-qsort") {
			continue // rsync 3.5.0 itself does not know the latter
		}
		o, _, err := Parse(r.args, testEnv(r.env...))
		if err != nil || len(o.RemoteOptions) > 0 || o.OldArgs > 0 {
			continue
		}
		sent := slices.Clone(r.sent)
		if i := slices.Index(sent, ""); i >= 0 && o.SecludedArgs {
			sent = slices.Delete(sent, i, i+1)
		}
		var argv []string
		for _, w := range sent {
			argv = append(argv, unescape(w))
		}
		s, operands, err := ParseServer(argv, Env{Secluded: true})
		if err != nil {
			t.Errorf("%s: %v", quoteWords(r.sent), err)
			continue
		}
		push := !s.Sender
		type shared struct {
			recurse, relative, links, perms, times, owner, group, devices, specials, dry, checksum, sparse, acls, excluded bool
			xattrs, oneFS, blockSize, timeout, append                                                                      int
			bwlimit                                                                                                        int64
			suffix, backupDir                                                                                              string
		}
		see := func(o *Options) shared {
			return shared{
				o.Recurse, o.Relative, o.Links, o.Perms, o.Times, o.Owner, o.Group, o.Devices, o.Specials, o.DryRun, o.Checksum, o.Sparse, o.ACLs, push && o.DeleteExcluded,
				min(o.Xattrs, 2), min(o.OneFileSystem, 2), o.BlockSize, o.Timeout, int(o.Append), o.Bwlimit, o.Suffix, o.BackupDir,
			}
		}
		want := see(o)
		if got := see(s); got != want {
			t.Errorf("%s\n got %+v\nwant %+v", quoteWords(r.sent), got, want)
		}
		if push && (o.Delete != s.Delete || o.MaxDelete != s.MaxDelete || o.PartialDir != s.PartialDir || o.Fuzzy > 0 != (s.Fuzzy > 0)) {
			t.Errorf("%s: deletion or partial files differ", quoteWords(r.sent))
		}
		if len(operands) != 2 {
			t.Errorf("%s: operands %q", quoteWords(r.sent), operands)
		}
	}
}

// unescape does what the remote shell does to an argument.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
