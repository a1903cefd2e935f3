package interop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A daemonAction is what one client does: it runs, or says something of its own.
type daemonAction struct {
	options  [][]string
	operands []string
	env      []string
	raw      *string
}

func (a *daemonAction) String() string {
	if a.raw != nil {
		return fmt.Sprintf("says %.300q", *a.raw)
	}
	var words []string
	for _, o := range a.options {
		words = append(words, o...)
	}
	return fmt.Sprintf("%q %q", a.env, append(words, a.operands...))
}

// clientOptions are drawn for clients, beside those that say what is copied.
var clientOptions = [][]string{
	{"-v"}, {"-vv"}, {"-i"}, {"-ii"}, {"-n"}, {"-z"}, {"--delete"}, {"--delete-after"}, {"--delete-excluded"}, {"--exclude=*.c"}, {"--exclude=/d/"}, {"--include=*.o"}, {"--numeric-ids"}, {"-q"}, {"--stats"},
	{"--no-motd"}, {"-L"}, {"-k"}, {"-K"}, {"--safe-links"}, {"--copy-unsafe-links"}, {"--munge-links"}, {"-H"}, {"-R"}, {"--no-i-r"}, {"-c"}, {"-W"}, {"--no-W"}, {"-b"}, {"-b", "--backup-dir=bak"}, {"-b", "--backup-dir=../bak"}, {"-b", "--backup-dir=/bak"}, {"--partial-dir=.part"}, {"--partial-dir=secret"},
	{"--temp-dir=d"}, {"--temp-dir=../outside"}, {"--delay-updates"}, {"--inplace"}, {"--chmod=a+w"}, {"--iconv=utf8,latin1"}, {"--iconv=."}, {"--timeout=30"}, {"-M--fake-super"}, {"-M--no-such"}, {"-M--super"}, {"-M--log-file=x"}, {"-M--bwlimit=100000"}, {"-M-vvv"},
	{"-s"}, {"--old-args"}, {"--no-s"}, {"--list-only"}, {"--remove-source-files"}, {"--link-dest=../n"}, {"--copy-dest=/d"}, {"--compare-dest=d"}, {"--max-delete=1"}, {"--ignore-errors"}, {"--existing"}, {"-u"}, {"--size-only"}, {"--open-noatime"},
	{"--early-input=RUNDIR/early"}, {"--password-file=RUNDIR/password"}, {"--password-file=RUNDIR/none"}, {"--password-file=RUNDIR/loose.secrets"}, {"--log-file=RUNDIR/client.log"}, {"--info=all0"}, {"--info=name2,skip2"}, {"--out-format=%o %n %u %h %m %P"},
	{"--filter=- d"}, {"--filter=: .rules"}, {"-F"}, {"-C"}, {"--mkpath"}, {"--force"}, {"-y"}, {"-X"}, {"-A"}, {"-AX"}, {"--fake-super"}, {"-E"}, {"-O"}, {"-J"}, {"--usermap=*:1"}, {"--groupmap=*:1"}, {"--chown=1:2"}, {"--ignore-missing-args"}, {"--delete-missing-args"}, {"--append"}, {"--append-verify"},
	{"--compress-choice=zlib"}, {"--compress-choice=lz4"}, {"--checksum-choice=md5"}, {"--write-devices"}, {"--insecure-links"}, {"--trust-sender"}, {"-x"}, {"-m"}, {"--contimeout=30"}, {"--stop-after=10"}, {"-d"}, {"-8"}, {"--preallocate"}, {"-S"}, {"--fuzzy"}, {"--bwlimit=100m"},
}

const protect = "RSYNC_PROTECT_ARGS=1"

// remotePaths are what clients ask for in a module.
var remotePaths = []string{"", "", "/", "/", "/d", "/d/", "/d/e/f", "/..", "/../", "/../outside/", "/d/../..", "/d/../../outside", "/*", "/*.c", "/d/*", "/[a-b]*", "/nowhere", "/out/", "/out", "/in/", "/abs/", "/up/", "/secret", "/secret/", "/secret/s", "/sp ace", "/st*r", "/st\\*r", "/./d", "//d//", "/d/./e/",
	"/outf", "/inf", "/a.c", "/shut", "/.", "/../../../../../../no-etc/", "/d/e/../x.c", "/no/where/", "/*/", "/?.?", "/d/.hid", "/-dash", "/nowhere*", "/munged"}

func (c *daemonCase) drawAction(r *rand.Rand) *daemonAction {
	if r.IntN(4) == 0 {
		raw := c.drawTalk(r)
		return &daemonAction{raw: &raw}
	}
	a := &daemonAction{}
	module := c.modules[r.IntN(len(c.modules))].name
	if r.IntN(10) == 0 {
		module = pickOne(r, "nowhere", "M", "m ", "#list", "one", "inca", "incb", "a  b", "%WHICH%", "", "global", strings.Repeat("x", 2000))
	}
	user := ""
	if r.IntN(3) == 0 {
		user = pickOne(r, "tester", "alice", "bob", "carol", "dave", "daemon", "root", "", "#tester", "tester@x", "a b", "TESTER") + "@"
	}
	if r.IntN(8) != 0 {
		a.env = append(a.env, "RSYNC_PASSWORD="+pickOne(r, "word", "word", "word:with:colons", "wrong", "", "group", "second"))
	}
	if r.IntN(12) == 0 {
		a.env = append(a.env, protect)
	}
	at := func(path string) string {
		if r.IntN(2) == 0 {
			return user + "HOST::" + module + path
		}
		return "rsync://" + user + "HOST/" + module + path
	}
	if r.IntN(2) == 0 {
		a.options = append(a.options, []string{pickOne(r, "-a", "-a", "-r", "-rt", "-rl", "-rlpt")})
	} else {
		a.options = append(a.options, []string{"-a"})
	}
	for range r.IntN(5) {
		a.options = append(a.options, clientOptions[r.IntN(len(clientOptions))])
	}
	if r.IntN(2) == 0 {
		version := pickOne(r, 32, 31, 31, 30, 29, 28, 27)
		secluded := func(o []string) bool { return o[0] == "-s" }
		if slices.Contains(a.env, protect) || slices.ContainsFunc(a.options, secluded) {
			version = max(version, 30) // rsync's clients send what is secluded twice below
		}
		a.options = append(a.options, []string{fmt.Sprintf("--protocol=%d", version)})
	}
	path := remotePaths[r.IntN(len(remotePaths))]
	switch r.IntN(9) {
	case 0: // all modules
		a.options = a.options[:0]
		if r.IntN(2) == 0 {
			a.options = append(a.options, []string{pickOne(r, "--no-motd", "-v", "-q", "--protocol=29", "-r", "-n", "--list-only", "--early-input=RUNDIR/early")})
		}
		a.operands = []string{pickOne(r, "HOST::", "rsync://HOST", "rsync://HOST/", user+"HOST::", "rsync://"+user+"HOST/")}
	case 1: // what is in one
		a.operands = []string{at(path)}
	case 2, 3, 4:
		a.operands = []string{at(path), "to/"}
		if r.IntN(4) == 0 {
			a.operands = []string{at(path), "HOST::" + module + remotePaths[r.IntN(len(remotePaths))], "to/"}
		}
	default:
		a.operands = []string{pickOne(r, "src/", "src/", "src/d", "src/a.c", "src/in", "src/nowhere"), at(pickOne(r, path, "/", "/new/", "/new/deep/", "/a.c", "/new"))}
	}
	return a
}

// greetings are what a client may say first.
var greetings = []string{
	"@RSYNCD: 31.0\n", "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n", "@RSYNCD: 29\n", "@RSYNCD: 30.0\n", "@RSYNCD: 27\n", "@RSYNCD: 31.0 md5\n", "@RSYNCD: 31.0 md4 md5\n",
}

var badGreetings = []string{
	"", "@RSYNCD: 99\n", "@RSYNCD: 0\n", "@RSYNCD: 0.0\n", "@RSYNCD: 19\n", "@RSYNCD: 20.0\n", "@RSYNCD: 22\n", "@RSYNCD: 31\n", "@RSYNCD: 31.5\n", "@RSYNCD: 32.0\n", "@RSYNCD: 32.0 foo\n", "@RSYNCD:31.0\n", "@RSYNCD:  31.0\n",
	"GET / HTTP/1.0CR\nCR\n", "@RSYNCD: x\n", "@RSYNCD: 31.0", "\n", "\n\n\n", "@RSYNCD: 31.0 " + strings.Repeat("a", 2000) + "\n", strings.Repeat("x", 100_000), strings.Repeat("x", 1023) + "\n", "@RSYNCD: 31.0CR\n", " @RSYNCD: 31.0\n", "@RSYNCD: 31.\n", "@RSYNCD: 33.0 md5\n", "@RSYNCD: 40.0 md5\n#list\n",
	"@RSYNCD: 31.-1\n", "@RSYNCD: 0x1f.0\n", "@RSYNCD: 31 .0\n", "@RSYNCD: 31.0\x00\n", "#list\n", "m\n", "@rsyncd: 31.0\n", "@RSYNCD: 31.0x\n", "@RSYNCD: +31.0\n", "@RSYNCD: 32.0 \n", "@RSYNCD: 32.0  md5\n", "@RSYNCD: 28 md5\n", "@RSYNCD: 1.0\n#list\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2CR\n", "PROXY UNKNOWNCR\n", "PROXY TCP6 ::1 ::2 1 2CR\n@RSYNCD: 31.0\n#list\n",
	"PROXY TCP4 1.2.3.4 5.6.7.8 1 2CR\n@RSYNCD: 31.0\n#list\n", "PROXY TCP4 127.0.0.1 5.6.7.8 70000 2CR\n@RSYNCD: 31.0\n#list\n", "PROXY UNKNOWNCR\n@RSYNCD: 31.0\nm\n", "PROXY " + strings.Repeat("x", 200) + "CR\n",
	"CR\nCR\n\x00CR\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x7f\x00\x00\x01\x00\x01\x00\x02@RSYNCD: 31.0\n#list\n", "CR\nCR\n\x00CR\nQUIT\n\x20\x00\x00\x00@RSYNCD: 31.0\n#list\n", "CR\nCR\n\x00CR\nQUIT\n\x31\x11\x00\x0c",
}

// drawTalk is what a client says that is no rsync.
func (c *daemonCase) drawTalk(r *rand.Rand) string {
	if r.IntN(3) == 0 {
		return badGreetings[r.IntN(len(badGreetings))]
	}
	hello := greetings[r.IntN(len(greetings))]
	module := c.modules[r.IntN(len(c.modules))].name
	if r.IntN(2) == 0 {
		return hello + pickOne(r, "", "#list\n", "\n", "#listx\n", "#list \n", " #list\n", "#LIST\n", "#\n", module+"\n", module, "nowhere\n", strings.Repeat("x", 5000)+"\n", strings.Repeat("x", 200_000), module+"\x00y\n", module+"CR\n", " "+module+"\n", module+"/\n", module+"/d\n",
			"#early_input=5\nabcde"+module+"\n", "#early_input=-1\n", "#early_input=\n", "#early_input=99999999\n", "#early_input=3\nab", "#early_input=3x\nabc"+module+"\n", "#early_input= 3\nabc#list\n", "#early_input=0\n", "#early_input=5120\n"+strings.Repeat("e", 5120)+module+"\n", "#early_input=5121\n", "#early_input=3\nabc#early_input=3\n", "#list\n#list\n", "%s%n\n", "\x01\x02\n", "#%s\n", "@ERROR\n")
	}
	answer := pickOne(r, "", "", "", "tester wrong\n", "tester\n", "\n", " x\n", "tester", "tester "+strings.Repeat("y", 5000)+"\n", "tester \n", "tester\x00 x\n", "\x01 x\n")
	args := pickOne(r,
		"--server\x00--sender\x00-r\x00.\x00M/\x00\x00", "--server\x00--sender\x00-logDtpre.iLsfxCIvu\x00.\x00M/\x00\x00", "--server\x00-logDtpre.iLsfxCIvu\x00.\x00M/\x00\x00",
		"--server\x00.\x00M/\x00\x00", "--sender\x00-r\x00.\x00M/\x00\x00", "\x00", "\x00\x00", ".\x00\x00", "--server\x00\x00", "--daemon\x00.\x00M\x00\x00", "--server\x00--daemon\x00.\x00\x00", "--server\x00--bogus\x00.\x00M/\x00\x00", "--server\x00--sender\x00-r\x00M/\x00\x00",
		"--server\x00--sender\x00-r\x00.\x00M/"+strings.Repeat("p", 9000)+"\x00\x00", "--server\x00--sender\x00-r\x00.\x00"+strings.Repeat("M/d\x00", 20_000)+"\x00", "--server\x00--sender\x00-s\x00.\x00\x00", "--server\x00--sender\x00-s\x00.\x00\x00rsync\x00-r\x00.\x00M/\x00\x00", "--server\x00--sender\x00-re.\x00.\x00M/../\x00\x00",
		"--server\x00--sender", "--server\x00--sender\x00--version\x00.\x00M\x00\x00", "--server\x00--sender\x00--help\x00.\x00M\x00\x00", "--server\x00--sender\x00-r\x00.\x00M/d M/secret\x00\x00", "--server\x00--sender\x00-r\x00.\x00other/d\x00\x00", "--server\x00--sender\x00-r\x00.\x00/no-etc\x00\x00", "--server\x00--sender\x00-r\x00.\x00\\M\\/d\x00\x00", "--server\x00--sender\x00-r\x00.\x00M/*\x00M/?.c\x00\x00",
		"--server\x00--sender\x00-rb\x00--backup-dir=/x\x00.\x00M/\x00\x00", "--server\x00--sender\x00-v\x00-v\x00-v\x00-v\x00-r\x00.\x00M/nowhere\x00\x00", "--server\x00--sender\x00--files-from=-\x00.\x00M/\x00\x00", "--server\x00--sender\x00--files-from=names\x00.\x00M/\x00\x00", "--server\x00--log-file=/x\x00-r\x00.\x00M/\x00\x00")
	args = strings.ReplaceAll(args, "M", module)
	if !strings.Contains(hello, " 3") {
		args = strings.ReplaceAll(args, "\x00", "\n")
	}
	return hello + module + "\n" + answer + args
}
