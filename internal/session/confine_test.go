package session

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// withModule runs a client and a server that serves dir as a module without
// chroot. One of the operands is "m::" and a path in the module. It returns
// what both print, and the client's error.
func withModule(t *testing.T, dir string, m Module, args ...string) (string, error) {
	t.Helper()
	penv := options.Env{Getenv: func(string) string { return "" }, ReadFile: os.ReadFile, Now: time.Now}
	o, operands, err := options.Parse(args, penv)
	if err != nil {
		t.Fatal(err)
	}
	if len(operands) != 2 {
		t.Fatalf("operands are %q", operands)
	}
	sends := strings.HasPrefix(operands[1], "m::")
	remote, local := operands[0], operands[1]
	if sends {
		remote, local = local, remote
	}
	remote = strings.TrimPrefix(remote, "m::")
	so, _, err := options.ParseServer(append(o.ServerArgs(sends, o.Protocol, "")[1:], ".", remote), penv)
	if err != nil {
		t.Fatal(err)
	}
	m.Name, m.Sanitize, m.Confine = "m", true, !m.InsecureLinks
	m.Root, err = fsroot.Open(dir, fsroot.Policy{FollowDirLinks: true, Confine: m.Confine, InsecureLinks: m.InsecureLinks})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Root.Close()
	toC, fromS := wire.Pipe()
	toS, fromC := wire.Pipe()
	closeAll := func() { toC.Close(); fromS.Close(); toS.Close(); fromC.Close() }
	defer closeAll()
	var out bytes.Buffer
	senv := Env{Cwd: "/", Umask: 022, EUID: uint32(os.Geteuid()), PID: 1, Now: time.Now, Getenv: penv.Getenv,
		Stdin: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Names: meta.NewSystemNames()}
	cenv := senv
	cenv.Out, cenv.Err = &out, &out
	server := Params{Opts: so, Server: true, Sender: !sends, In: toS, Out: fromS, Close: closeAll, Args: []string{remote}, Module: &m, Env: senv}
	client := Params{Opts: o, Sender: sends, In: toC, Out: fromC, Close: closeAll, Args: []string{local}, Env: cenv}
	done := make(chan error, 1)
	go func() {
		err := Run(context.Background(), server)
		fromS.Close()
		toS.Close()
		done <- err
	}()
	err = Run(context.Background(), client)
	if err != nil {
		closeAll()
	}
	<-done
	return out.String(), err
}

// tree makes the files of a test: "dir/", "name -> target" or a file that
// holds its own name.
func tree(t *testing.T, top string, entries ...string) string {
	t.Helper()
	for _, e := range entries {
		name, target, link := strings.Cut(e, " -> ")
		at := filepath.Join(top, name)
		err := os.MkdirAll(filepath.Dir(at), 0755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(strings.ReplaceAll(target, "TOP", top), at)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0755)
		default:
			err = os.WriteFile(at, []byte(name), 0644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// holds says what a file is: its contents, "-> target", "dir" or "none".
func holds(path string) string {
	st, err := os.Lstat(path)
	switch {
	case err != nil:
		return "none"
	case st.IsDir():
		return "dir"
	case st.Mode()&os.ModeSymlink != 0:
		target, _ := os.Readlink(path)
		return "-> " + target
	}
	b, _ := os.ReadFile(path)
	return string(b)
}

// A module's sender follows links to anything in the module, and nothing else.
func TestModuleLinks(t *testing.T) {
	for _, tt := range []struct{ args, name, want string }{
		{"-rL", "upfile", "mod/file"},
		{"-rL", "up/file", "mod/other/file"},
		{"-rL", "outfile", "none"},
		{"-rL", "out", "dir"}, // as rsync tells of it, without what is in it
		{"-rL", "out/file", "none"},
		{"-rlk", "up/file", "mod/other/file"},
		{"-rlk", "upfile", "-> ../file"},
		{"-rlk", "out", "dir"},
		{"-rlk", "out/file", "none"},
		{"-rlk", "outfile", "-> ../../outside/file"},
		{"-rlkX", "outfile", "-> ../../outside/file"}, // its own attributes, not the target's
		{"-rlkX", "dangling", "-> nowhere"},
		{"-rl", "out", "-> ../../outside"},
	} {
		top := tree(t, t.TempDir(), "mod/file", "mod/other/file", "outside/file", "mod/sub/real", "dst/",
			"mod/sub/dangling -> nowhere", "mod/sub/up -> ../other", "mod/sub/upfile -> ../file",
			"mod/sub/out -> ../../outside", "mod/sub/outfile -> ../../outside/file")
		out, err := withModule(t, top+"/mod", Module{}, tt.args, "m::sub/", top+"/dst/")
		if got := holds(top + "/dst/" + tt.name); got != tt.want {
			t.Errorf("%s: %s is %q, want %q (%v)\n%s", tt.args, tt.name, got, tt.want, err, out)
		}
		if got := holds(top + "/dst/real"); got != "mod/sub/real" {
			t.Errorf("%s: the rest did not arrive: %q", tt.args, got)
		}
	}
}

// An absolute --partial-dir counts from the module, and is made when missing.
func TestModulePartialDir(t *testing.T) {
	for _, tt := range []struct {
		dir  string
		made string // in the module, with what it is afterwards
		file string // what arrives
	}{
		{"/stage", "stage dir", "src/f"},
		{"/link/stage", "real/stage dir", "src/f"},
		{"/link", "link -> real", "src/f"},
		{"/missing/stage", "missing none", "old/f"},
		{"/out", "out -> TOP/outside", "old/f"},
		{"/f2", "f2 dir", "src/f"},
	} {
		top := tree(t, t.TempDir(), "src/f", "outside/f", "mod/real/", "mod/f2", "mod/link -> real", "old/f")
		tree(t, top, "mod/out -> "+top+"/outside")
		if err := os.Rename(top+"/old/f", top+"/mod/f"); err != nil {
			t.Fatal(err)
		}
		out, err := withModule(t, top+"/mod", Module{}, "-rI", "--delay-updates", "--partial-dir="+tt.dir, top+"/src/", "m::")
		if got := holds(top + "/mod/f"); got != tt.file {
			t.Errorf("%s: the file is %q, want %q (%v)\n%s", tt.dir, got, tt.file, err, out)
		}
		name, want, _ := strings.Cut(strings.ReplaceAll(tt.made, "TOP", top), " ")
		if got := holds(top + "/mod/" + name); got != want {
			t.Errorf("%s: %s is %q, want %q", tt.dir, name, got, want)
		}
		if got := holds(top + "/outside/f"); got != "outside/f" {
			t.Errorf("%s: the file outside is %q", tt.dir, got)
		}
	}
}

// "insecure links" gives the links back to the module, a client's option does
// not; and ".." stays in the module either way.
func TestModuleInsecureLinks(t *testing.T) {
	for _, tt := range []struct {
		args             []string
		file             string
		secure, insecure string
	}{
		{[]string{"-r", "m::out/", "TOP/dst/"}, "dst/file", "none", "outside/file"},
		{[]string{"-r", "--copy-dirlinks", "m::", "TOP/dst/"}, "dst/out/file", "none", "outside/file"},
		{[]string{"-rR", "m::out/file", "TOP/dst/"}, "dst/out/file", "none", "outside/file"},
		{[]string{"-r", "TOP/src/", "m::out/"}, "outside/new", "none", "src/new"},
		{[]string{"-r", "TOP/src/", "m::abs/"}, "outside/new", "none", "src/new"},
		{[]string{"-rK", "TOP/tree/", "m::"}, "outside/new2", "none", "tree/out/new2"},
		{[]string{"-r", "--insecure-links", "TOP/src/", "m::out/"}, "outside/new", "none", "src/new"},
		{[]string{"-r", "TOP/src/", "m::../outside/"}, "outside/new", "none", "none"},
		{[]string{"-r", "TOP/src/", "m::dir/../../outside/"}, "outside/new", "none", "none"},
		{[]string{"-r", "m::../outside/", "TOP/dst/"}, "dst/file", "none", "none"},
		{[]string{"-rb", "--backup-dir=../outside", "TOP/src/", "m::dir/"}, "outside/new", "none", "none"},
		{[]string{"-rb", "--backup-dir=../../outside", "TOP/src/", "m::dir/"}, "outside/new", "none", "none"},
	} {
		for _, insecure := range []bool{false, true} {
			top := tree(t, t.TempDir(), "src/new", "tree/out/new2", "outside/file", "mod/dir/new", "dst/", "mod/out -> ../outside")
			tree(t, top, "mod/abs -> "+top+"/outside")
			if err := os.Chtimes(top+"/mod/dir/new", time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			var args []string
			for _, a := range tt.args {
				args = append(args, strings.ReplaceAll(a, "TOP", top))
			}
			want := tt.secure
			if insecure {
				want = tt.insecure
			}
			out, err := withModule(t, top+"/mod", Module{InsecureLinks: insecure}, args...)
			if got := holds(filepath.Join(top, tt.file)); got != want {
				t.Errorf("%q with insecure links %v: %s is %q, want %q (%v)\n%s", tt.args, insecure, tt.file, got, want, err, out)
			}
		}
	}
}

// hiding are the rules of a module.
func hiding(t *testing.T, exclude ...string) *filter.List {
	l := filter.New(filter.Config{Who: "daemon", Dir: "/"})
	for _, rule := range exclude {
		if err := l.AddArg(filter.ExcludeRule, rule); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// What a module's rules hide cannot be named by an option either, however it
// is spelled.
func TestModuleRulesCoverOptions(t *testing.T) {
	for _, tt := range []struct {
		args     []string
		rejected bool
		file     string
		want     string
	}{
		{[]string{"-r", "--files-from=:secret/list", "m::pub", "TOP/dst/"}, true, "dst/a", "none"},
		{[]string{"-r", "--files-from=:pub/../secret/list", "m::pub", "TOP/dst/"}, true, "dst/a", "none"},
		{[]string{"-r", "--files-from=:pub/list", "m::pub", "TOP/dst/"}, false, "dst/a", "mod/pub/a"},
		{[]string{"-r", "--files-from=:secret/list", "TOP/src/", "m::pub/"}, true, "mod/pub/x", "none"},
		{[]string{"-r", "--link-dest=/secret", "TOP/src/", "m::pub/"}, true, "mod/pub/x", "none"},
		{[]string{"-r", "--link-dest=../secret", "TOP/src/", "m::pub/"}, true, "mod/pub/x", "none"},
		{[]string{"-r", "--copy-dest=../secret/sub", "TOP/src/", "m::pub/"}, true, "mod/pub/x", "none"},
		{[]string{"-r", "--temp-dir=/secret", "TOP/src/", "m::pub/"}, true, "mod/pub/x", "none"},
		{[]string{"-r", "--temp-dir=/own", "TOP/src/", "m::pub/"}, false, "mod/pub/x", "src/x"},
		{[]string{"-rb", "--backup-dir=../secret/bak", "TOP/src/", "m::pub/"}, true, "mod/pub/x", "none"},
		{[]string{"-r", "--delay-updates", "--partial-dir=secret", "TOP/src/", "m::"}, false, "mod/x", "src/x"},
		{[]string{"-r", "-f:_/secret/rules", "m::", "TOP/dst/"}, false, "dst/pub/a", "mod/pub/a"},
		{[]string{"-rF", "m::pub/", "TOP/dst/"}, false, "dst/skipped", "none"},
		{[]string{"-rF", "m::pub/", "TOP/dst/"}, false, "dst/a", "mod/pub/a"},
	} {
		top := tree(t, t.TempDir(), "src/x", "mod/secret/x", "mod/secret/sub/x", "mod/pub/a", "mod/pub/skipped", "mod/own/", "dst/")
		for name, text := range map[string]string{"secret/list": "a\nx\n", "pub/list": "a\n", "secret/rules": "- a\n", ".rsync-filter": "- skipped\n"} {
			if err := os.WriteFile(top+"/mod/"+name, []byte(text), 0644); err != nil {
				t.Fatal(err)
			}
		}
		var args []string
		for _, a := range tt.args {
			args = append(args, strings.ReplaceAll(a, "TOP", top))
		}
		out, err := withModule(t, top+"/mod", Module{Filters: hiding(t, "/secret", "/own"), TempDir: "/own"}, args...)
		if got := holds(filepath.Join(top, tt.file)); got != tt.want {
			t.Errorf("%q: %s is %q, want %q (%v)\n%s", tt.args, tt.file, got, tt.want, err, out)
		}
		if got := strings.Contains(out, "rejected by the server"); got != tt.rejected || got && exitcode.Of(err, 0) == 0 {
			t.Errorf("%q: rejected is %v, want %v (%v)\n%s", tt.args, got, tt.rejected, err, out)
		}
	}
}

// The directories of options, as they count in a module.
func TestModuleDirs(t *testing.T) {
	for _, tt := range []struct{ option, file, want string }{
		{"--backup-dir=bk", "mod/a/b/bk/f", "old"},
		{"--backup-dir=../bk", "mod/a/b/bk/f", "old"},
		{"--backup-dir=../../../../bk", "mod/a/b/bk/f", "old"},
		{"--backup-dir=/bk", "mod/bk/f", "old"},
		{"--backup-dir=/../bk", "mod/bk/f", "old"},
		{"--backup-dir=/a/link/bk", "mod/c/bk/f", "old"},
		{"--temp-dir=/c", "mod/a/b/f", "src/f"},
		{"--temp-dir=../../c", "mod/a/b/f", "old"}, // there is no mod/a/b/c
		{"--copy-dest=../link", "mod/a/b/only", "src/only"},
		{"--copy-dest=../../../c", "mod/a/b/only", "src/only"},
	} {
		top := tree(t, t.TempDir(), "src/f", "src/only", "mod/c/only", "mod/a/b/f", "mod/a/link -> ../c")
		if err := os.WriteFile(top+"/mod/a/b/f", []byte("old"), 0644); err != nil {
			t.Fatal(err)
		}
		out, err := withModule(t, top+"/mod", Module{}, "-rb", tt.option, top+"/src/", "m::a/b/")
		if got := holds(filepath.Join(top, tt.file)); got != tt.want {
			t.Errorf("%s: %s is %q, want %q (%v)\n%s", tt.option, tt.file, got, tt.want, err, out)
		}
		if strings.Contains(tt.option, "copy-dest") && strings.Contains(out, "does not exist") {
			t.Errorf("%s: %s", tt.option, out)
		}
	}
}
