package session

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
)

// command runs a local command line in this process and returns what it prints.
func command(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	getenv := func(name string) string {
		if name == "LC_ALL" {
			return "C.UTF-8"
		}
		return ""
	}
	o, operands, err := options.Parse(args, options.Env{Getenv: getenv, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	env := Env{
		Cwd: dir, Umask: 022, EUID: uint32(os.Geteuid()), PID: os.Getpid(), Now: time.Now, Getenv: getenv,
		Stdin: strings.NewReader(""), Out: &out, Err: &out, Names: meta.NewSystemNames(), Foreground: func() bool { return false },
	}
	batch, err := OpenBatch(o, &env, append([]string{"rsync"}, args...), operands)
	if err != nil {
		return out.String(), err
	}
	p := Params{Opts: o, Env: env, Batch: batch}
	dest := operands[len(operands)-1]
	if o.Batch == options.BatchRead {
		return out.String(), ReadBatch(context.Background(), p, dest)
	}
	p.Args = operands[:len(operands)-1]
	err = RunLocal(context.Background(), p, dest)
	return out.String(), err
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0644); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1600000000, 0)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strconv.Itoa(i) + "\n")
	}
	return b.String()
}

func TestBatchIsReplayed(t *testing.T) {
	for _, proto := range []string{"27", "28", "29", "30", "31", "32"} {
		for _, opts := range []string{"-r", "-rt --checksum", "-rtz --no-whole-file", "-rt --inplace", "-rt --append-verify", "-rtz --zl=9"} {
			dir := t.TempDir()
			put(t, dir+"/src/a", numbers(3000))
			put(t, dir+"/src/sub/b", "new")
			for _, d := range []string{"/one", "/two"} {
				put(t, dir+d+"/a", numbers(2000))
			}
			args := append(strings.Fields(opts), "--protocol="+proto)
			if out, err := command(t, dir, append(args, "--write-batch=bat", "src/", "one/")...); err != nil {
				t.Fatalf("%s, protocol %s: writing: %v\n%s", opts, proto, err, out)
			}
			// The options that shape the stream come from the batch, not all of
			// them from an old one.
			again := []string{"-rt"}
			if proto < "30" {
				again = strings.Fields(opts)
			}
			if out, err := command(t, dir, append(again, "--read-batch=bat", "two/")...); err != nil {
				t.Fatalf("%s, protocol %s: reading: %v\n%s", opts, proto, err, out)
			}
			for _, d := range []string{"/one", "/two"} {
				if got, _ := os.ReadFile(dir + d + "/a"); string(got) != numbers(3000) {
					t.Errorf("%s, protocol %s: %s/a has %d bytes", opts, proto, d, len(got))
				}
				if got, _ := os.ReadFile(dir + d + "/sub/b"); string(got) != "new" {
					t.Errorf("%s, protocol %s: %s/sub/b is %q", opts, proto, d, got)
				}
			}
		}
	}
}

func TestOnlyWriteBatchLeavesDestination(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/src/a", "text")
	if out, err := command(t, dir, "-r", "--remove-source-files", "--only-write-batch=bat", "src/", "new/"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Stat(dir + "/new"); !os.IsNotExist(err) {
		t.Errorf("the destination was made: %v", err)
	}
	if _, err := os.Stat(dir + "/src/a"); err != nil {
		t.Errorf("the source was removed: %v", err)
	}
	if out, err := command(t, dir, "-r", "--read-batch=bat", "new/"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, _ := os.ReadFile(dir + "/new/a"); string(got) != "text" {
		t.Errorf("new/a is %q", got)
	}
}

func TestDamagedBatch(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/src/a", numbers(300))
	if out, err := command(t, dir, "-r", "--only-write-batch=bat", "src/", "x/"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	whole, err := os.ReadFile(dir + "/bat")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole)-40; n += 7 {
		put(t, dir+"/cut", string(whole[:n]))
		if _, err := command(t, dir, "-r", "--read-batch=cut", "y/"); err == nil {
			t.Errorf("a batch cut off at %d of %d bytes passes for whole", n, len(whole))
		}
	}
	if _, err := command(t, dir, "-r", "--read-batch=src", "y/"); exitcode.Of(err, 0) != exitcode.FileIO || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a directory as batch: %v", err)
	}
	if _, err := command(t, dir, "-r", "--write-batch=no/bat", "src/", "y/"); exitcode.Of(err, 0) != exitcode.FileSelect {
		t.Errorf("a batch in no directory: %v", err)
	}
}

func TestBatchFlags(t *testing.T) {
	b := &Batch{flags: 1<<0 | 1<<7 | 1<<8}
	o := options.New()
	o.Links = true
	o.HardLinks = 2
	var out bytes.Buffer
	log := report.New(report.Config{Out: &out, Err: io.Discard, Info: o.Info})
	if err := b.adopt(o, 32, log); err != nil {
		t.Fatal(err)
	}
	if !o.Recurse || !o.Dirs || !o.Compress || o.Links || o.HardLinks != 0 {
		t.Errorf("recurse %v, dirs %v, compress %v, links %v, hard links %d", o.Recurse, o.Dirs, o.Compress, o.Links, o.HardLinks)
	}
	if err := (&Batch{flags: 1 << iconvBit}).adopt(options.New(), 32, log); err == nil || !strings.HasPrefix(err.Error(), "Please specify the --iconv") {
		t.Errorf("a converted batch without --iconv: %v", err)
	}
}

func TestBatchScript(t *testing.T) {
	for _, tt := range []struct {
		argv, operands, rules []string
		protocol              int
		nulls                 bool
		want                  string
	}{
		{[]string{"rsync", "-a", "--write-batch=b", "src/", "host:d e/"}, []string{"src/", "host:d e/"}, nil, 32, false,
			"'rsync' '-a' --read-batch='b' ${1:-'d e/'}\n"},
		{[]string{"rsync", "-a", "--only-write-batch", "b", "s", "d"}, []string{"s", "d"}, nil, 32, false,
			"'rsync' '-a' --read-batch 'b' ${1:-'d'}\n"},
		{[]string{"rsync", "-f", "- *.o", "--exclude=x", "--include", "y", "-a", "s", "it's"}, []string{"s", "it's"}, []string{"- *.o", "- x", "+ y"}, 32, false,
			"'rsync' --filter='._-' '-a' ${1:-'it'\\''s'} <<'#E#'\n- *.o\n- x\n+ y\n#E#\n"},
		{[]string{"rsync", "-0", "--suffix=;rm", "--a`b=c", "s", "d"}, []string{"s", "d"}, []string{"- x"}, 28, true,
			"'rsync' --exclude-from='-' '-0' --suffix=';rm' '--a`b=c' ${1:-'d'} <<'#E#'\n- x\x00;\n#E#\n"},
	} {
		if got := batchScript(tt.argv, tt.operands, tt.rules, tt.protocol, tt.nulls); got != tt.want {
			t.Errorf("%q:\n%s\nwant\n%s", tt.argv, got, tt.want)
		}
	}
}

// TestIconv has a name that cannot be converted. In the list of a directory, as
// they come with recursion as it goes, it ends the run; see TestIconvEnds.
func TestIconv(t *testing.T) {
	for _, opts := range []string{"-r", "-r --no-inc-recursive", "-rtH --delete", "-r --protocol=29"} {
		dir := t.TempDir()
		// The two sets sort these names in different orders.
		for _, name := range []string{"é", "zù", "ÿ", "abc", "Ω"} {
			for _, sub := range []string{"", "züb/", "aéa/sub/", "zz/"} {
				if name != "Ω" || sub == "" || strings.HasPrefix(opts, "-r --") {
					put(t, dir+"/src/"+sub+name, sub+name)
				}
			}
		}
		args := append(strings.Fields(opts), "--iconv=utf8,latin1", "src/", "dst/")
		out, err := command(t, dir, args...)
		if exitcode.Of(err, 0) != exitcode.Partial || !strings.Contains(out, "cannot convert filename") {
			t.Errorf("%s: %v\n%s", opts, err, out)
		}
		for name, text := range map[string]string{"\xe9": "é", "z\xfcb/z\xf9": "züb/zù", "a\xe9a/sub/\xff": "aéa/sub/ÿ", "zz/abc": "zz/abc"} {
			if got, err := os.ReadFile(dir + "/dst/" + name); string(got) != text {
				t.Errorf("%s: %q holds %q, %v", opts, name, got, err)
			}
		}
	}
}

// TestIconvEnds has names that cannot be converted below directories: rsync
// 3.5.0 takes such an entry for one of another directory.
func TestIconvEnds(t *testing.T) {
	for _, name := range []string{"sub/Ω", "sub/Ω/in"} {
		dir := t.TempDir()
		put(t, dir+"/src/"+name, "")
		out, err := command(t, dir, "-r", "--iconv=utf8,latin1", "src/", "dst/")
		if exitcode.Of(err, 0) != exitcode.Unsupported || !strings.Contains(out, "ABORTING due to invalid path from sender: /\n") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
