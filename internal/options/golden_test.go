package options

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
)

// The golden files are recorded from the real rsync and replayed without it:
// go test ./internal/options -update
var update = flag.Bool("update", false, "record testdata from /usr/bin/rsync, and the manual page")

const (
	oracle   = "/usr/bin/rsync"
	recordTo = "PRSYNC_TEST_RECORD" // where the test binary, as a remote shell, notes its arguments
)

func TestMain(m *testing.M) {
	if file := os.Getenv(recordTo); file != "" {
		os.Exit(recordArgs(file))
	}
	os.Exit(m.Run())
}

// recordArgs plays the remote shell: it notes the arguments, and behind an
// empty one those that come over the connection.
func recordArgs(file string) int {
	args := os.Args[3:] // behind the host and "rsync"
	if len(args) > 0 && args[len(args)-1] != "." && !slices.Contains(args, ".") {
		args = append(args, "")
		in := bufio.NewReader(os.Stdin)
		for first := true; ; first = false {
			s, err := in.ReadString(0)
			if err != nil || s == "\x00" {
				break
			}
			if !first {
				args = append(args, strings.TrimSuffix(s, "\x00"))
			}
		}
	}
	text, err := json.Marshal(args)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return 1
	}
	return 0
}

// record is one command line and what the real rsync made of it.
type record struct {
	env  []string // NAME=VALUE
	args []string
	sent []string // arguments for the server; "" marks where the secluded ones begin
	code int      // when there are none
	errs string   // the lines on standard error, without the last
}

// A record is three lines: "$ ENV… ARGS…", then "> ARGS…" or "! CODE TEXT".
func (r record) String() string {
	head := "$ " + quoteWords(append(slices.Clone(r.env), r.args...))
	if r.sent != nil {
		return head + "\n> " + quoteWords(r.sent) + "\n"
	}
	return fmt.Sprintf("%s\n! %d %s\n", head, r.code, strconv.Quote(r.errs))
}

func quoteWords(words []string) string {
	var out []string
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \"\\\n\t\r") {
			w = strconv.Quote(w)
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

func unquoteWords(t *testing.T, line string) []string {
	t.Helper()
	out := []string{}
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			out, line = append(out, word), rest
			continue
		}
		q, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("testdata: %v in %q", err, line)
		}
		word, _ := strconv.Unquote(q)
		out, line = append(out, word), line[len(q):]
	}
	return out
}

func isEnv(word string) bool {
	return strings.Contains(word, "=") && (strings.HasPrefix(word, "RSYNC_") || strings.HasPrefix(word, "POSIX"))
}

func readRecords(t *testing.T, name string) []record {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var out []record
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		var r record
		r.args = unquoteWords(t, lines[i][2:])
		for len(r.args) > 0 && isEnv(r.args[0]) {
			r.env, r.args = append(r.env, r.args[0]), r.args[1:]
		}
		if lines[i+1][0] == '>' {
			r.sent = unquoteWords(t, lines[i+1][2:])
		} else {
			w := unquoteWords(t, lines[i+1][2:])
			r.code, _ = strconv.Atoi(w[0])
			r.errs = w[1]
		}
		out = append(out, r)
	}
	return out
}

// ask runs the real rsync with this test binary as the remote shell.
func ask(t *testing.T, dir string, env, args []string) record {
	t.Helper()
	if i := slices.IndexFunc(args, isEnv); i == 0 {
		return ask(t, dir, append(env, args[0]), args[1:])
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sent := filepath.Join(dir, "sent")
	_ = os.Remove(sent)
	cmd := exec.Command(oracle, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + dir, recordTo + "=" + sent, "RSYNC_RSH=" + self}, env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	runErr := cmd.Run()
	r := record{env: env, args: args}
	if text, err := os.ReadFile(sent); err == nil {
		if err := json.Unmarshal(text, &r.sent); err != nil {
			t.Fatal(err)
		}
		return r
	}
	var exit *exec.ExitError
	if !errors.As(runErr, &exit) {
		t.Fatalf("%q: the oracle neither connected nor failed: %v\n%s", args, runErr, stderr.String())
	}
	if r.code = exit.ExitCode(); r.code != int(exitcode.Syntax) && r.code != int(exitcode.Unsupported) {
		t.Errorf("%q: not an error of the command line: %v\n%s", args, runErr, stderr.String())
	}
	lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	if len(lines) > 0 && strings.HasPrefix(lines[len(lines)-1], "rsync error: ") {
		lines = lines[:len(lines)-1]
	}
	r.errs = strings.Join(lines, "\n")
	if len(lines) > 30 {
		r.errs = "usage"
	}
	return r
}

func writeRecords(t *testing.T, name string, commands [][]string) {
	t.Helper()
	writeRecordsAt(t, t.TempDir(), name, commands)
}

// writeRecordsAt runs the commands with dir as home and working directory.
func writeRecordsAt(t *testing.T, dir, name string, commands [][]string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	seen := map[string]bool{}
	for _, args := range commands {
		if key := quoteWords(args); !seen[key] {
			seen[key] = true
			b.WriteString(ask(t, dir, nil, args).String())
		}
	}
	if err := os.WriteFile(filepath.Join("testdata", name), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func testEnv(vars ...string) Env {
	return Env{
		Getenv: func(name string) string {
			for _, v := range vars {
				if n, value, _ := strings.Cut(v, "="); n == name {
					return value
				}
			}
			return ""
		},
		Now: func() time.Time { return time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC) },
	}
}

// serverArgPool is what the combinations are made of.
var serverArgPool = strings.Fields(`
-v -vv -vvvvvvvvvvvv -q --info=name2 --info=all --info=none --info=progress2,stats0 --info=all2,name0 --debug=all
--info=copy,del2,misc2,skip3,remove4 --stderr=all --stderr=c --stderr=e --msgs2stderr --no-msgs2stderr
--no-motd -c --no-c -a -r --no-r -d --no-d --old-dirs --old-d -R --no-R --no-implied-dirs --no-i-r --no-inc-recursive
-b --backup-dir=.b --backup-dir=./././x --backup-dir=~/b --backup-dir=. --suffix=.bak --suffix=~ -u --inplace --append
--append-verify --mkpath -l --no-l -L -k -K -H -HH --copy-unsafe-links --safe-links --munge-links --insecure-links
--confine-root=/ -p --no-p -E --chmod=a+x,Du+s -A --no-A -X -XX -o -g --no-o --no-g -D --no-D --devices --specials
--no-specials --no-devices --copy-devices --write-devices --drop-D -t --no-t -U -UU --open-noatime -O -J --no-O
--super --no-super --fake-super -S --preallocate -n -W --no-W --cc=md5 --cc=xxh64,md5 --cc=none --cc=auto
--checksum-choice=AUTO,auto --checksum-choice=XXH3 -x -xx -B4096 --block-size=1k --block-size=700b --existing
--ignore-non-existing --ignore-existing --remove-source-files --remove-sent-files --del --delete --delete-before
--delete-during --delete-delay --delete-after --delete-excluded --ignore-missing-args --delete-missing-args
--ignore-errors --force --max-delete=5 --max-delete=0 --max-delete=-1 --max-size=1.5k --min-size=2mb --max-size=10-1
--max-alloc=2g --max-alloc=1g --max-alloc=1048576k --partial --partial-dir=.p --partial-dir=.~tmp~ --partial-dir=a/../b//c
--partial-dir=. --partial-dir= --delay-updates -m --numeric-ids --usermap=a:b,*:c --groupmap=0-9:x --chown=u:g --chown=:g
--chown=u --timeout=30 --no-timeout -I --size-only --modify-window=1 -@-1 --modify-window=0 -T/tmp/x --temp-dir=t -y -yy
--compare-dest=../a --copy-dest=/b --link-dest=c -z -zz --zc=zstd --zc=lz4 --zc=zlib --zc=zlibx --zc=none --zc=auto
--zc=ZSTD --old-compress --new-compress --no-z --zl=3 --compress-level=-5 --zt=4 --skip-compress=gz/bz2 --skip-compress=
-C -F -FF -f-_x --exclude=x* --include=y --from0 -0 --old-args --old-args --no-old-args -s --protect-args --no-s
--trust-sender --stats -8 -h --no-h --progress -P -i -ii --no-i -M--foo -M--log-file=/x\y -M-x* --out-format=%n
--out-format=%i%n --out-format=%o --out-format= --log-format=%b --log-file=/dev/null --log-file-format=%n --list-only
--bwlimit=1.5m --bwlimit=100 --bwlimit=0 --bwlimit=2g --no-bwlimit --fsync --iconv=. --iconv=utf-8,latin1 --no-iconv
--checksum-seed=7 --checksum-seed=-1 -4 -6 --qsort --protocol=29 --protocol=30 --protocol=28 --stop-after=5 --outbuf=L
--blocking-io --files-from=:list --files-from=- --files-from=host:/a*b --write-batch=wb --only-write-batch=owb --rsync-path=rsync
`)

var serverArgSpecials = [][]string{
	{"--suffix=a b*'\"$"}, {"--backup-dir", "x y[1]\\"}, {"-M--opt=a b", "--old-args"}, {"-M--opt=a b", "--old-args", "--old-args"},
	{"--link-dest=a b", "--link-dest=c\\*d", "--old-args"}, {"--usermap=", "-a"}, {"--groupmap="}, {"--temp-dir="}, {"-yy", "--link-dest=a", "--link-dest=b"},
	{"-avz", "-s", "--suffix=a b"}, {"-s", "--iconv=utf-8,latin1", "-M--x y"}, {"RSYNC_PROTECT_ARGS=1", "-a"}, {"RSYNC_PROTECT_ARGS=0", "-a"},
	{"RSYNC_OLD_ARGS=1", "-a", "--suffix=a b", "-M--x y"}, {"RSYNC_OLD_ARGS=2", "-a", "--suffix=a b", "-M--x y"}, {"RSYNC_OLD_ARGS=1", "-as"},
	{"RSYNC_PARTIAL_DIR=.pd", "-a"}, {"RSYNC_PARTIAL_DIR=.pd", "-aP"}, {"RSYNC_PARTIAL_DIR=.pd", "-a", "--partial-dir=."},
	{"RSYNC_ICONV=utf8", "-a"}, {"RSYNC_ICONV=utf8,latin1", "-a", "--no-iconv"}, {"RSYNC_ICONV=x", "--iconv=-"}, {"RSYNC_MAX_ALLOC=2g", "-a"},
	{"RSYNC_MAX_ALLOC=1g", "-a"}, {"-a", "--timeout", "0x10"}, {"-a", "--timeout=010"}, {"-azT/tmp"}, {"-T=/tmp"}, {"-aT", "-x"},
	{"--max-delete", "-3", "-a", "--del"}, {"--timeout="}, {"--timeout= 7"}, {"-vvvvv", "--info=skip0,stats0"},
	{"-@", "2"}, {"-@-0"}, {"--info=none", "-vv"}, {"--info=ALL4,NAME,DEL,COPY"}, {"--info=backup,copy,del,flist,misc,mount,name,nonreg,progress,remove,skip,stats,symsafe"},
	{"--info=name99"}, {"--info=,,name,,"}, {"-b", "-O"}, {"-b", "--backup-dir=x", "-O"}, {"-r", "--delete", "--no-r", "-d"},
}

func serverArgCommands() [][]string {
	var out [][]string
	both := func(options ...string) {
		env := []string{}
		for len(options) > 0 && isEnv(options[0]) {
			env, options = append(env, options[0]), options[1:]
		}
		head := append(env, options...)
		out = append(out, append(slices.Clone(head), "host:src", "dst"), append(slices.Clone(head), "src", "host:dst"))
	}
	for _, opt := range serverArgPool {
		both(opt)
		both("-a", opt)
		both(opt, "-rz")
	}
	for _, words := range serverArgSpecials {
		both(words...)
	}
	rnd := rand.New(rand.NewSource(350))
	for range 400 {
		var words []string
		for range 2 + rnd.Intn(5) {
			words = append(words, serverArgPool[rnd.Intn(len(serverArgPool))])
		}
		both(words...)
	}
	return out
}

// plain is a record's error as ours would tell it.
func ourError(err error) (int, string) {
	if errors.Is(err, ErrUsage) {
		return int(exitcode.Of(err, -1)), "usage"
	}
	return int(exitcode.Of(err, -1)), err.Error()
}

func TestServerArgs(t *testing.T) {
	if *update {
		writeRecords(t, "serverargs.txt", serverArgCommands())
	}
	records := readRecords(t, "serverargs.txt")
	sent := 0
	for _, r := range records {
		name := quoteWords(append(slices.Clone(r.env), r.args...))
		o, operands, err := Parse(r.args, testEnv(r.env...))
		if err != nil {
			if code, text := ourError(err); r.sent != nil || code != r.code || text != r.errs {
				t.Errorf("%s\n got %d %s\nwant %s", name, code, text, r)
			}
			continue
		}
		if r.sent == nil {
			t.Errorf("%s\n got no error\nwant %d %s", name, r.code, r.errs)
			continue
		}
		sent++
		_, pull := ParseHostspec(operands[0])
		peer := o.PeerArgs(!pull, o.Protocol, "")
		got := peer.Exposed
		if o.SecludedArgs {
			got = append(append(got, ""), peer.Secluded...)
		}
		got = append(got, ".")
		if pull {
			got = append(got, "src")
		} else {
			got = append(got, "dst")
		}
		if !slices.Equal(got, r.sent) {
			t.Errorf("%s\n got %s\nwant %s", name, quoteWords(got), quoteWords(r.sent))
		}
	}
	if len(records) < 500 || sent < 400 {
		t.Errorf("%d records, %d of them with arguments: testdata is not whole", len(records), sent)
	}
}

func TestSwarmOfferIsAppended(t *testing.T) {
	o, _, err := Parse([]string{"-a", "h:s", "d"}, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if got := o.ServerArgs(false, 32, "W")[2]; got != "-logDtpre.iLsfxCIvuW" {
		t.Errorf("letters with an offer: %s", got)
	}
	if got := o.ServerArgs(false, 29, "W")[2]; got != "-logDtpr" {
		t.Errorf("letters for protocol 29: %s", got)
	}
}

var errorCommands = [][]string{
	{"--flag", "--version"}, {"-FLAG", "--version"}, {"--no-such"}, {"--verb"}, {"-a", "--recursive=1"}, {"-r=1"}, {"--timeout"}, {"-T"},
	{"--timeout=abc"}, {"--timeout=1x"}, {"--timeout", "3.5"}, {"--timeout=0b1"}, {"--timeout=1_0"}, {"--timeout=08"}, {"--timeout=0o7"},
	{"--timeout=99999999999"}, {"--timeout=99999999999999999999999"}, {"--timeout=-99999999999"}, {"--timeout=--5"}, {"--timeout=0x"},
	{"--port=x"}, {"-az?"}, {"--no-archive"}, {"-a", "--no-a"}, {"--stderr=x"}, {"--stderr="}, {"--info=bogus"}, {"--info=2"}, {"--debug=foo3"},
	{"--info=name,bogus9"}, {"--suffix=a/b"}, {"--suffix="}, {"--backup-dir=."}, {"--backup-dir="}, {"--backup-dir=.", "--suffix=.x", "--delete"},
	{"--delete"}, {"--del"}, {"--delete-excluded"}, {"-a", "--delete-before", "--delete-after"}, {"-a", "--del", "--delete-after"},
	{"-a", "--delete-during", "--delete-delay", "--delete-before"}, {"--inplace", "--partial-dir=x"}, {"--append", "--partial-dir=x"},
	{"--inplace", "--delay-updates"}, {"--append", "--delay-updates"}, {"--inplace", "--delay-updates", "--partial-dir=x"}, {"--append", "-W"},
	{"--append-verify", "--cc=none"}, {"--write-devices", "--partial-dir=x"}, {"--fake-super", "-XX"}, {"--write-batch=a", "--read-batch=b"},
	{"--read-batch=b", "--files-from=x"}, {"--read-batch=b", "--remove-source-files"}, {"--read-batch=b", "--remove-sent-files"},
	{"--write-batch=" + strings.Repeat("x", 257)}, {"--temp-dir=" + strings.Repeat("x", 4086)}, {"--backup-dir=" + strings.Repeat("x", 3969)},
	{"--bwlimit=x"}, {"--bwlimit=100b"}, {"--bwlimit=511b"}, {"--max-size=x"}, {"--max-size=1x"}, {"--max-size=9999p"}, {"--max-size=8192p"},
	{"--max-size=-1"}, {"--max-size=1kx"}, {"--max-size=1k+2"}, {"--max-size=+1"}, {"--min-size=1kibb"}, {"--min-size=0-1"}, {"--max-size=1e3"},
	{"--max-alloc=5"}, {"--max-alloc=1023k"}, {"--max-alloc=8192p"}, {"RSYNC_MAX_ALLOC=12", "-a"},
	{"-B1g"}, {"-B131073"}, {"-B", "131072.5"}, {"--protocol=29", "-B1g"}, {"-B-5"}, {"--chmod=x"}, {"--chmod="}, {"--chmod=u+q"}, {"--chmod=DF+x"}, {"--chmod=8"},
	{"--chmod=10000"}, {"--chmod=u=rwx,"}, {"--chmod=u"}, {"--chmod=u755"}, {"--chmod=u+rg"}, {"--chmod=u+gr"}, {"--chmod=u+gg"}, {"--chmod=+x=r"},
	{"--usermap=a:b", "--usermap=c:d"}, {"--usermap=a:b", "--chown=u"}, {"--chown=u", "--usermap=a:b"}, {"--chown=u", "--chown=v"}, {"--chown=:g", "--groupmap=a:b"},
	{"--groupmap=a:b", "--groupmap=a:b"}, {"--groupmap=a:b", "--chown=:g"}, {"--chown=:g", "--chown=:h"}, {"--compare-dest=a", "--link-dest=b"}, {"--copy-dest=a", "--compare-dest=b"},
	append(slices.Repeat([]string{"--link-dest=x"}, 21), "-a"), {"-Mfoo"}, {"-M", ""}, {"--stop-after=x"}, {"--stop-after=0"}, {"--stop-after=-4"}, {"--stop-at=x"}, {"--stop-at=2001-01-01"},
	{"--stop-at=1-2-3-4"}, {"--stop-at=25:00"}, {"--stop-at=T12"}, {"--stop-at=13-40"}, {"--stop-at="}, {"--stop-at=-1"}, {"--stop-at=12:60"}, {"--stop-at=4-31"},
	{"--outbuf=x"}, {"--outbuf="}, {"--old-args", "-s"}, {"-s", "--old-args"}, {"--cc=foo"}, {"--cc=md5,foo"}, {"--cc=foo,md5"}, {"--cc="}, {"--cc=md5,"}, {"--zc=foo"}, {"--zc="},
	{"--confine-root=x"}, {"--confine-root="}, {"--confine-root=/", "--insecure-links"}, {"-N"}, {"--crtimes"}, {"-aN"}, {"--sender"}, {"--files-from=x", "a", "b", "c"},
	{"--files-from=h:-", "h:a", "b"}, {"--files-from=/nonexistent/x/y"}, {"--files-from="},
	{"--config=x"}, {"--detach"}, {"--no-detach", "-a"}, {"--daemon", "--foo"}, {"--daemon", "-a"}, {"--dparam=x"}, {"--daemon", "--dparam", "x"}, {"--daemon", "--port=x"}, {"--daemon", "--bwlimit=1k"},
	{"--server", "--foo", "."}, {"--server", "--timeout=x", "."}, {"--server", "-N", "."}, {"--server", "--sender", "-vN", "."},
	{"--server", "--files-from=h:x", ".", "x"}, {"--server"}, {"--server", "--cc=md77", ".", "x"}, {"RSYNC_CHECKSUM_LIST=xxh64", "--server", "--cc=md5", ".", "x"},
	{"RSYNC_COMPRESS_LIST=zlib & lz4", "--server", "--zc=zlib", ".", "x"}, {"--server", "--delete", ".", "x"},
}

// TestErrors compares message texts and exit codes with the real rsync's.
func TestErrors(t *testing.T) {
	if *update {
		var commands [][]string
		for _, c := range errorCommands {
			noOperands := slices.Contains(c, "--server") || slices.Contains(c, "--daemon") || slices.Contains(c, "b")
			if !noOperands {
				c = append(slices.Clone(c), "a", "b")
				if last := len(c) - 3; c[last] == "--timeout" || c[last] == "-T" {
					c = c[:last+1]
				}
			}
			commands = append(commands, c)
		}
		writeRecords(t, "errors.txt", append(commands, []string{}, []string{"-v"}))
	}
	for _, r := range readRecords(t, "errors.txt") {
		if strings.HasPrefix(r.errs, "rsync: failed to open files-from file /") {
			continue // who opens it says so
		}
		name := quoteWords(append(slices.Clone(r.env), r.args...))
		_, _, err := Parse(r.args, testEnv(r.env...))
		if err == nil {
			t.Errorf("%s\n got no error\nwant %d %s", name, r.code, r.errs)
			continue
		}
		if code, text := ourError(err); code != r.code || text != r.errs {
			t.Errorf("%s\n got %d %q\nwant %d %q", name, code, text, r.code, r.errs)
		}
	}
}

// TestHelpLines holds the left column of our help, and the names in it, to
// what the real rsync lists.
func TestHelpLines(t *testing.T) {
	const file = "testdata/help-names.txt"
	if *update {
		var names []string
		for _, args := range [][]string{{"--help"}, {"--daemon", "--help"}} {
			out, err := exec.Command(oracle, args...).Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range strings.Split(string(out), "\n") {
				if strings.HasPrefix(l, "-") {
					names = append(names, strings.TrimSpace(l[:24]))
				}
			}
		}
		if err := os.WriteFile(file, []byte(strings.Join(names, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var ours bytes.Buffer
	write := func(f func(io.Writer, BuildInfo) error) {
		if err := f(&ours, testBuild); err != nil {
			t.Fatal(err)
		}
	}
	write(Help)
	write(DaemonHelp)
	var got []string
	for _, l := range strings.Split(ours.String(), "\n") {
		if strings.HasPrefix(l, "-") && !strings.HasPrefix(l, "--swarm") {
			got = append(got, strings.TrimSpace(l[:24]))
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Fields(strings.ReplaceAll(string(text), " ", "_")); !slices.Equal(strings.Fields(strings.ReplaceAll(strings.Join(got, "\n"), " ", "_")), want) {
		t.Errorf("help lists\n%s\nwant\n%s", strings.Join(got, "\n"), text)
	}
}

var testBuild = BuildInfo{
	Version: "0.0.0", Checksums: []string{"xxh128", "xxh64", "(xxhash)", "md5"},
	Compressors: []string{"zstd", "none"}, AuthDigests: []string{"sha512"},
}
