package options

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func text(t *testing.T, f func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestActions(t *testing.T) {
	for args, want := range map[string]Action{
		"--help": ActionHelp, "-h": ActionHelp, "-vh": ActionHelp, "--version": ActionVersion, "-V": ActionVersion, "-VV": ActionVersionJSON, "--version -V": ActionVersionJSON,
		"--info=help": ActionInfoHelp, "--debug=NAME,help": ActionTransfer, "--debug=cmd,HELP": ActionDebugHelp, "--daemon": ActionDaemon, "--daemon --help": ActionDaemonHelp,
		"--daemon -h": ActionDaemonHelp, "a b": ActionTransfer, "-h a b": ActionTransfer, "--server --daemon .": ActionDaemon, "--server -VV": ActionVersion,
	} {
		o, _, err := Parse(strings.Fields(args), testEnv())
		if args == "--debug=NAME,help" {
			if err == nil {
				t.Errorf("%s: no error", args)
			}
			continue
		}
		if err != nil || o.Action != want {
			t.Errorf("%s: %+v, %v; want action %d", args, o, err, want)
		}
	}
}

func TestDaemonOptions(t *testing.T) {
	d, err := ParseDaemon(strings.Fields("--daemon --address=::1 --bwlimit=100 --config=f --dparam=a=b -Mc=d -6 --no-detach --log-file=l --log-file-format=%n --port=0x10 --sockopts=s -vv"), testEnv())
	if err != nil {
		t.Fatal(err)
	}
	if d.Address != "::1" || d.Bwlimit != 102400 || d.Config != "f" || !slices.Equal(d.Dparam, []string{"a=b", "c=d"}) || d.Family != IPv6 || d.Detach ||
		d.LogFile != "l" || d.LogFileFormat != "%n" || d.Port != 16 || d.Sockopts != "s" || d.Verbose != 2 || d.Server {
		t.Errorf("got %+v", d)
	}
	if d, err = ParseDaemon(strings.Fields("--server --daemon ."), testEnv()); err != nil || !d.Server || !d.Detach || !slices.Equal(d.Operands, []string{"."}) {
		t.Errorf("over a remote shell: %+v, %v", d, err)
	}
}

func TestSwarmOptions(t *testing.T) {
	env := testEnv("PRSYNC_SWARM=require", "PRSYNC_SWARM_TRACKER=http://t:80/", "PRSYNC_SWARM_LINGER=2m", "PRSYNC_SWARM_UPLOAD_LIMIT=1m")
	o, _, err := Parse(strings.Fields("--swarm=off --swarm-min-size=1m --swarm-listen=:0 --swarm-stall=7 --swarm-download-limit=10 a b"), env)
	if err != nil {
		t.Fatal(err)
	}
	want := SwarmOptions{
		Mode: SwarmOff, Tracker: "http://t:80/", MinSize: 1 << 20, Listen: ":0", UploadLimit: 1 << 20,
		DownloadLimit: 10 << 10, Linger: 2 * time.Minute, Stall: 7 * time.Second,
	}
	if o.Swarm != want {
		t.Errorf("got %+v, want %+v", o.Swarm, want)
	}
	for _, c := range []string{"--swarm=x", "--swarm-tracker=ftp://x", "--swarm-tracker=x", "--swarm-listen=x", "--swarm-listen=:99999", "--swarm-stall=-1s", "--swarm-linger=soon", "--swarm-upload-limit=1b"} {
		if _, _, err := Parse([]string{c, "a", "b"}, testEnv()); err == nil || !strings.Contains(err.Error(), strings.Split(c, "=")[0]) {
			t.Errorf("%s: %v", c, err)
		}
	}
	_, _, err = Parse([]string{"a", "b"}, testEnv("PRSYNC_SWARM=x"))
	if err == nil || !strings.Contains(err.Error(), "PRSYNC_SWARM") {
		t.Errorf("a bad variable: %v", err)
	}
}

// TestEveryOptionIsVisible fails when an option changes no field of Options.
func TestEveryOptionIsVisible(t *testing.T) {
	dump := func(args ...string) string {
		o, _, err := Parse(append(args, "a", "b"), testEnv())
		if err != nil {
			t.Fatalf("%q: %v", args, err)
		}
		return dumpStruct(o)
	}
	values := map[string]string{
		"info": "name2", "debug": "cmd", "stderr": "all", "chmod": "a+x", "max-size": "1", "min-size": "1", "max-alloc": "2g", "block-size": "700", "checksum-choice": "md5",
		"compress-choice": "lz4", "outbuf": "L", "bwlimit": "10", "stop-after": "1", "stop-at": "23:59", "remote-option": "-x", "confine-root": "/x", "suffix": ".x",
		"swarm": "off", "swarm-tracker": "http://x", "swarm-listen": ":1", "swarm-min-size": "1", "swarm-upload-limit": "1", "swarm-download-limit": "1", "swarm-linger": "1", "swarm-stall": "1",
		"files-from": "x", "iconv": "x",
	}
	with := map[string][]string{ // beside another option, or undone first
		"delete": {"-r"}, "delete-before": {"-r"}, "delete-during": {"-r"}, "delete-delay": {"-r"}, "delete-after": {"-r"}, "delete-excluded": {"-r"},
		"log-file-format": {"--log-file=x"}, "motd": {"--no-motd"}, "inc-recursive": {"--no-inc-recursive"}, "implied-dirs": {"-R", "--no-implied-dirs"},
	}
	for _, r := range clientTable.rows {
		key := r.opt.key()
		switch key {
		case "help", "version", "server", "sender", "daemon", "config", "dparam", "detach", "crtimes":
			continue
		}
		if r.undo || r.long == "" && r.short == 0 {
			continue
		}
		arg := r.name()
		if r.takesArg() {
			value := values[key]
			if value == "" {
				value = "7"
			}
			if arg += "=" + value; r.long == "" {
				arg = r.name() + value
			}
		}
		before := with[key]
		if dump(append(slices.Clone(before), arg)...) == dump(before...) {
			t.Errorf("%s changes nothing", arg)
		}
	}
}

// dumpStruct shows the exported fields.
func dumpStruct(o *Options) string {
	b, _ := json.Marshal(o)
	return string(b)
}

// TestNegationsUndo checks that every no-row takes its option back.
func TestNegationsUndo(t *testing.T) {
	for _, r := range clientTable.rows {
		if !r.undo || r.opt.key() == "detach" || r.opt.key() == "crtimes" {
			continue
		}
		on := "--" + r.opt.key()
		if r.opt.key() == "D" {
			on = "-D"
		}
		first := clientTable.long[r.opt.key()]
		if first != nil && first.takesArg() {
			on += "=1"
		}
		once, _, err := Parse([]string{r.name(), "a", "b"}, testEnv())
		if err != nil {
			t.Fatalf("%s: %v", r.name(), err)
		}
		undone, _, err := Parse([]string{on, r.name(), "a", "b"}, testEnv())
		if err != nil {
			t.Fatalf("%s %s: %v", on, r.name(), err)
		}
		switch r.opt.key() {
		case "acls": // -A turns --perms on, which stays
			undone.Perms = false
		}
		if dumpStruct(once) != dumpStruct(undone) {
			t.Errorf("%s %s is not %s alone:\n%s\n%s", on, r.name(), r.name(), dumpStruct(undone), dumpStruct(once))
		}
	}
}

func TestRowCount(t *testing.T) {
	ours := 0
	for _, o := range swarmOptions {
		ours += 1 + len(strings.Fields(o.also)) + len(strings.Fields(o.off))
	}
	if len(clientTable.rows)-ours != 258 || ours != 8 {
		t.Errorf("%d rows of rsync and %d of ours; want 258 and 8", len(clientTable.rows)-ours, ours)
	}
	if len(clientTable.long)+3 != len(clientTable.rows) {
		t.Errorf("%d long names for %d rows: a name is there twice", len(clientTable.long), len(clientTable.rows))
	}
}

func TestHelpTexts(t *testing.T) {
	help := text(t, func(w io.Writer) error { return Help(w, testBuild) })
	for _, want := range []string{"protocol version 32\n", "\nUsage: prsync ", "--swarm-tracker=URL", "--daemon --help", "\nvolunteer "} {
		if !strings.Contains(help, want) {
			t.Errorf("--help lacks %q", want)
		}
	}
	for _, l := range strings.Split(help, "\n") {
		if len(l) > 96 {
			t.Errorf("long line: %s", l)
		}
	}
	if info := text(t, InfoHelp); !strings.Contains(info, "1) COPY,DEL,FLIST,MISC,NAME,STATS,SWARM,SYMSAFE\n") {
		t.Errorf("--info=help:\n%s", info)
	}
	if debug := text(t, DebugHelp); !strings.Contains(debug, "2) BIND,CONNECT,CMD,DEL,DELTASUM,DUP,FILTER,FLIST,ICONV\n") {
		t.Errorf("--debug=help:\n%s", debug)
	}
}

func TestVersionJSON(t *testing.T) {
	out := text(t, func(w io.Writer) error { return VersionJSON(w, testBuild) })
	var v struct {
		Program, Protocol string
		Capabilities      map[string]any
		ChecksumList      []string `json:"checksum_list"`
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if v.Program != "prsync" || v.Protocol != "32.0" || v.Capabilities["file_bits"] != 64.0 || v.Capabilities["secluded_args"] != "optional" ||
		v.Capabilities["ACL_at"] != false || v.Capabilities["crtimes"] != false || !slices.Equal(v.ChecksumList, []string{"xxh128", "xxh64", "md5"}) {
		t.Errorf("got %+v", v)
	}
	if regexp.MustCompile(`":(\S|  )`).MatchString(out) {
		t.Errorf("a colon without exactly one space:\n%s", out)
	}
	build := testBuild
	build.Program = "rsync"
	if out := text(t, func(w io.Writer) error { return Version(w, build) }); !strings.HasPrefix(out, "rsync  version 3.5.0  protocol version 32\n") {
		t.Errorf("called as rsync:\n%s", out)
	}
}

func TestCompletionsAreScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := text(t, func(w io.Writer) error {
			return Completion(w, shell, Command{Name: "serve", Options: []string{"--config"}}, Command{Name: "volunteer", Words: []string{"a", "b"}})
		})
		for _, want := range []string{"compress-choice", "zstd", "swarm", "volunteer"} {
			if !strings.Contains(script, want) {
				t.Errorf("%s: no %s", shell, want)
			}
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not installed; its script was not parsed", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	if err := Completion(io.Discard, "csh"); err == nil {
		t.Error("csh: no error")
	}
}

// TestManPage holds man/prsync.1 to the table: go test -update writes it.
func TestManPage(t *testing.T) {
	file := filepath.Join("..", "..", "man", "prsync.1")
	page := text(t, ManPage)
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page {
		t.Errorf("%s is not what the table says; run go test ./internal/options -run ManPage -update", file)
	}
	for _, o := range clientTable.options {
		if !o.hidden && !strings.Contains(page, manNames(o.spec)) {
			t.Errorf("no %s in the page", o.spec)
		}
	}
}

// TestBashCompletes asks bash itself.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	script := text(t, func(w io.Writer) error {
		return Completion(w, "bash", Command{Name: "serve", Options: []string{"--config", "--debug"}}, Command{Name: "completion", Words: []string{"bash", "zsh"}})
	})
	for _, tc := range []struct{ words, want string }{
		{"prsync se", "serve"},
		{"prsync serve --", "--config --debug"},
		{"prsync completion z", "zsh"},
		{"prsync -a --swarm = o", "off"},
		{"prsync --compress-choice = zl", "zlibx zlib"},
		{"prsync ./serve --no-verb", "--no-verbose"},
	} {
		cmd := exec.Command(bash, "--norc", "-c", script+"compopt() { :; }\n"+
			"COMP_WORDS=("+tc.words+"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _prsync; echo ${COMPREPLY[*]}")
		cmd.Dir = t.TempDir()
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); got != tc.want || err != nil {
			t.Errorf("%s: %q %v, want %q", tc.words, got, err, tc.want)
		}
	}
}
