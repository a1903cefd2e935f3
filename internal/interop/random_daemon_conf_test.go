package interop

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/daemon/conf"
)

// daemonFiles are beside the configuration of every case.
var daemonFiles = map[string]string{
	"secrets":       "# a comment\ntester:word\nalice:word\nbob:word:with:colons\ncarol:\n@daemon:group\n\ntester:second\n",
	"loose.secrets": "tester:word\nalice:word\n",
	"password":      "word\n",
	"motd":          "Welcome to chance.\n\tMind the \x01 gap\nno end of line",
	"early":         "said early\nand twice\n",
	"rules":         "# rules\n- *.o\n+ keep\nsecret\n\n; no comment here\n/d/e/\n",
	"names":         "*.c\nsp ace\n",
	"inc/a.conf":    "comment = from a\nread only = no\n[inca]\npath = RUNDIR/box/m\n",
	"inc/b.conf":    "[incb]\npath = RUNDIR/box/n\ncomment = from b\n",
	"inc/c.inc":     "max verbosity = 2\ntransfer logging = yes\n",
	"inc/d.inc":     "comment = merged\n",
	"inc/ignored":   "no such parameter = yes\n",
	"one.conf":      "# one\nnumeric ids = no\n[one]\npath = RUNDIR/box/m\n",
	"one.inc":       "ignore nonreadable = yes\n",
	"hook": "#!/bin/sh\n{ echo \"== $*\"; env | grep '^RSYNC_' | grep -v CONNECT_PROG | LC_ALL=C sort; pwd; } >>RUNDIR/hooks.log\n" +
		"case $1 in early) cat >>RUNDIR/hooks.log; echo >>RUNDIR/hooks.log;; esac\necho said by $1\nexit ${2:-0}\n",
	"hook-names": "#!/bin/sh\nwhile read cmd what; do echo \"$cmd $what\" >>RUNDIR/names.log\ncase $cmd in uid) echo user$what;; gid) echo group$what;;" +
		" usr) echo 1${what#user};; grp) echo 2${what#group};; *) echo;; esac; done\n",
}

// A valueDraw returns the text of a parameter's value.
type valueDraw func(r *rand.Rand) string

func values(all ...string) valueDraw { return func(r *rand.Rand) string { return pickOne(r, all...) } }

var truths = values("yes", "no", "true", "false", "1", "0", "YES", "No", "y", "on", "", "2", "unset", "-1", "yes please")

var numbers = values("0", "1", "2", "5", "-1", "", "007", "1k", "0x10", " 3", "99999999999", "x", "+1")

// globalsDrawn are the parameters that exist once.
var globalsDrawn = map[string]valueDraw{
	"motd file":            values("RUNDIR/motd", "RUNDIR/none", "", "RUNDIR/%NOTSET%", "RUNDIR/%WHICH%"),
	"socket options":       values("TCP_NODELAY", "SO_KEEPALIVE=1,TCP_NODELAY", "SO_SNDBUF=65536", "BOGUS", "IPTOS_LOWDELAY=3", ""),
	"listen backlog":       values("1", "5", "0", "-3", "100000", "x"),
	"proxy protocol":       values("no", "0", "false", "yes"),
	"proxy protocol hosts": values("127.0.0.1", "*", "", "10.0.0.0/8", "localhost", "127.0.0.0/8"),
	"daemon chroot":        values("/", ""),
	"daemon uid":           values("0", "root", "no-such-user", "", "daemon", "54321"),
	"daemon gid":           values("0", "root", "no-such-group", "", "daemon", "54322"),
}

// globalsNotDrawn are those that are set by how the daemon runs.
var globalsNotDrawn = map[string]string{
	"address":  "the daemon has to be reached: TestDaemonAddress",
	"port":     "the kernel chooses it",
	"pid file": "finds the daemon",
}

// hosts are lists of hosts.
var hosts = values("127.0.0.1", "127.0.0.0/8", "127.0.0.0/255.0.0.0", "localhost", "LOCALHOST", "*.local", "local*", "*", "10.0.0.0/8", "::1", "fe80::/10", "127.0.0.1/33",
	"127.0.0.1/", "/8", "127.1", "127", "0/0", "0.0.0.0/0", "10.1.2.3, 127.0.0.1", "no-such-host.invalid", "no-such-host.invalid 127.0.0.1", "UNDETERMINED", "unknown", "!127.0.0.1", "127.0.0.1/255.0.0",
	"127.0.0.1/8/8", "[::1]", "::/0", "::ffff:127.0.0.1", "0177.0.0.1", "127.0.0.1%lo", "127.0.0.1.", "runsc vm", "", " ", ",", "127.0.0.1\tlocalhost", "127.0.0.*", "[0-9]*", "127.0.0.1/-1", "127.0.0.1/0", "300.1.1.1", "1.2.3.4.5")

var rulesText = values("*.c", "- *.c", "+ *.c - *", "secret", "/secret/", "secret/***", "- secret", "*.o d/e", "!", "- /d/e/ + *", "d/**", "*", "+ */ - *", "/", "sp?ace", "st[*]r", "[!a]*",
	"-/ /d", "P *.c", "H *.o", "hide,! */", "merge RUNDIR/rules", ". RUNDIR/rules", "dir-merge .rules", "", "- a.c\tb.o", "..", "/m/secret")

var commands = func(stage string) valueDraw {
	return values("RUNDIR/hook "+stage, "RUNDIR/hook "+stage+" 3", "RUNDIR/hook "+stage+" 0 %RSYNC_MODULE_NAME%", "RUNDIR/hook "+stage+" 0 '%RSYNC_HOST_ADDR%' \"%RSYNC_USER_NAME%\"",
		"RUNDIR/hook "+stage+" 0 %RSYNC_REQUEST%", "RUNDIR/hook "+stage+" 0 %WHICH%", "", "exit 7", "kill -9 $$", "no-such-command-of-anybody", "echo one; echo two; false", "RUNDIR/hook "+stage)
}

var chmods = values("", "u+w", "Fg-w,Dg+s", "D755,F644", "bogus", "a+r", "go-rwx", "u=rwX,go=", "600", "F600,", "+X")

// localsDrawn are the parameters of modules, which may stand before them as defaults.
var localsDrawn = map[string]valueDraw{
	"auth digest":        values("", "md5", "sha512", "md4", "sha256", "bogus", "SHA1", "sha1 md5"),
	"auth users":         values("tester", "tester:rw", "tester:ro", "tester:deny", "alice, bob", "*", "@daemon", "t*:ro", "alice bob:rw\tcarol:deny,*", "", " ", "@*", "tester:deny tester", "#tester", "tester:bogus", "tester:RO", "@daemon:deny *", ":rw", "alice:ro,tester:rw"),
	"charset":            values("", "utf-8", "latin1", "bogus-charset", "ISO-8859-15"),
	"comment":            values("plain", "", "with %WHICH% in it", "%RSYNC_MODULE_NAME%", "tab\there", "\xff\xfe", "100%", "a # b ; c", "\"quoted\"", "[x] = y", strings.Repeat("long ", 80)),
	"dont compress":      values("*", "", "*.c", "*.gz *.z"),
	"early exec":         commands("early"),
	"exclude":            rulesText,
	"exclude from":       values("RUNDIR/rules", "RUNDIR/names", "", "RUNDIR/none"),
	"fake super":         truths,
	"filter":             rulesText,
	"forward lookup":     truths,
	"gid":                values("0", "root", "daemon", "0 1", "0,1,2", "*", "* 7", "no-such-group", "", "54322", "-1", "@", "1x"),
	"hosts allow":        hosts,
	"hosts deny":         hosts,
	"ignore errors":      truths,
	"ignore nonreadable": truths,
	"include":            rulesText,
	"include from":       values("RUNDIR/rules", "RUNDIR/names", "", "RUNDIR/none"),
	"incoming chmod":     chmods,
	"insecure links":     truths,
	"list":               truths,
	"lock file":          values("RUNDIR/lock", "RUNDIR/none/lock", "RUNDIR", "RUNDIR/lock"),
	"log file":           values("RUNDIR/module.log", "RUNDIR/daemon.log", "RUNDIR/other-%RSYNC_MODULE_NAME%.log", "RUNDIR/none/x.log"),
	"log format": values("%o %h [%a] %m (%u) %f %l", "%i %n%L", "{%t} {%p} %o", "%m %P %u %h %a", "%f|%n", "%B %M %U:%G", "%C %f", "%10l|%-10l|%'l|%''l", "%%o %q %", "", "%o %",
		"%20f|%-20n|", "%l %c %o", "%X%Y%Z", "%1000f", strings.Repeat("%f ", 30), "\t%o \\n %f"),
	"max connections":  values("0", "1", "2", "-1", "", "x", "1000"),
	"max verbosity":    numbers,
	"munge symlinks":   truths,
	"name converter":   values("RUNDIR/hook-names", "", "false", "no-such-command-of-anybody"),
	"numeric ids":      truths,
	"open noatime":     truths,
	"outgoing chmod":   chmods,
	"path":             values("RUNDIR/box/m", "RUNDIR/box/n", "RUNDIR/box/m/", "RUNDIR/box/./m", "RUNDIR/./box/m", "RUNDIR/box/m/.", "RUNDIR//box//m", "RUNDIR/box/link", "RUNDIR/box/theirs", "RUNDIR/box/m/d", "RUNDIR/box/m/in", "RUNDIR/none", "RUNDIR/box/m/a.c", "", "box/m", "RUNDIR/box/%WHICH%", "RUNDIR/box/%RSYNC_USER_NAME%", "RUNDIR/box/n/../m", "RUNDIR/box/m/./d", "RUNDIR/box/./m/../n", "RUNDIR/box/n", "RUNDIR/box/out/../m"),
	"post-xfer exec":   commands("post"),
	"pre-xfer exec":    commands("pre"),
	"read only":        truths,
	"refuse options":   values("delete", "* !a !v", "c*", "checksum", "!*", "a", "archive", "log-file", "compress", "*", "delete-*", "iconv", "s", "xattrs acls", "no-such", "partial-dir temp-dir", "devices", "D", "inc-recursive", "info debug", "verbose", "", "  ", "* !archive* !verbose !compress*", "backup*", "z", "-v", "--delete", "server", "* !sender", "numeric-ids !numeric*", "dry-run n"),
	"reverse lookup":   truths,
	"secrets file":     values("RUNDIR/secrets", "RUNDIR/secrets", "RUNDIR/loose.secrets", "RUNDIR/none", "", "RUNDIR"),
	"strict modes":     truths,
	"syslog facility":  values("daemon", "local3", "5", "bogus", "", "LOCAL1", "-1"),
	"syslog tag":       values("rsyncd", "tag-%RSYNC_MODULE_NAME%", "", "a b"),
	"temp dir":         values("", "RUNDIR/box/tmp", "/tmp/", "tmp", "RUNDIR/none", "d", "/d"),
	"timeout":          values("0", "30", "-1", "x", "3600", ""),
	"transfer logging": truths,
	"uid":              values("0", "root", "daemon", "nobody", "no-such-user", "", "54321", "-1", "1x", "@"),
	"use chroot":       truths,
	"write only":       truths,
}

// localsNotDrawn are those that are left out, with the reason.
var localsNotDrawn = map[string]string{
	"name": "is what the section says",
}

// TestRandomDaemonTable holds the parameters that are drawn against rsync's.
func TestRandomDaemonTable(t *testing.T) {
	for _, p := range conf.Parameters() {
		known := globalsDrawn[p.Name] != nil || globalsNotDrawn[p.Name] != ""
		if !p.Global {
			known = localsDrawn[p.Name] != nil || localsNotDrawn[p.Name] != ""
		}
		if !p.Ours && !known {
			t.Errorf("%q is neither drawn nor left out for a reason", p.Name)
		}
	}
}

// line is a parameter with a value of chance, spelled in a way of chance.
func (c *daemonCase) line(r *rand.Rand, table map[string]valueDraw, without string) string {
	names := make([]string, 0, len(table))
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	name := names[r.IntN(len(names))]
	for without != "" && name == without {
		name = names[r.IntN(len(names))]
	}
	return spelled(r, name, table[name](r))
}

// spelled writes a parameter as people do.
func spelled(r *rand.Rand, name, value string) string {
	switch r.IntN(10) {
	case 0:
		name = strings.ToUpper(name)
	case 1:
		name = strings.ReplaceAll(name, " ", "")
	case 2:
		name = strings.ReplaceAll(name, " ", "  \t")
	case 3:
		name = strings.ReplaceAll(name, " ", " \\\n ")
	}
	equals := pickOne(r, " = ", " = ", " = ", "=", "\t=\t", " =   ")
	if r.IntN(10) == 0 && value != "" {
		i := r.IntN(len(value))
		value = value[:i] + pickOne(r, "\\\n", "\\  \n", "\\\n   ") + value[i:]
	}
	return pickOne(r, "", "", "", "  ", "\t") + name + equals + value + pickOne(r, "", "", "", " ", "\r", "  \t")
}

// drawConf draws the configuration and the daemon's own arguments.
func (c *daemonCase) drawConf(r *rand.Rand) {
	add := func(lines ...string) { c.globals = append(c.globals, lines...) }
	add("log file = RUNDIR/daemon.log", "lock file = RUNDIR/lock")
	if root() && r.IntN(6) != 0 {
		add("uid = 0", "gid = 0")
	}
	if r.IntN(2) == 0 {
		add("use chroot = " + pickOne(r, "no", "no", "yes"))
	}
	if r.IntN(3) == 0 {
		add("read only = no")
	}
	for range r.IntN(3) {
		add(c.line(r, globalsDrawn, ""))
	}
	for range r.IntN(3) {
		add(c.line(r, localsDrawn, "log file"))
	}
	if r.IntN(4) == 0 {
		add(c.oddLine(r))
	}
	headers := []string{"[m]", "[m]", "[ m ]", "[m] trailing", "[a  b]", "[a b]", "[M]", "[n]", "[%WHICH%]", "[\xfcber]", "[" + strings.Repeat("x", 40) + "]", "[global]", "[in]", "[m.d-e_f]", "[a\\\nb]", "[n#1]"}
	for i := range 1 + r.IntN(3) {
		header := headers[r.IntN(len(headers))]
		if i == 0 && r.IntN(3) != 0 {
			header = "[m]"
		}
		m := &daemonModule{header: header}
		m.name = strings.Join(strings.Fields(strings.ReplaceAll(header[1:strings.IndexByte(header, ']')], "\\\n", "")), " ")
		if r.IntN(6) != 0 {
			m.lines = append(m.lines, "path = RUNDIR/box/"+pickOne(r, "m", "m", "n", "./m"))
		}
		if r.IntN(3) == 0 {
			m.lines = append(m.lines, "read only = no")
		}
		without := ""
		if header == "[global]" {
			without = "log file" // rsync has opened another one when it has complained of a line by then
		}
		for range r.IntN(7) {
			m.lines = append(m.lines, c.line(r, localsDrawn, without))
		}
		if r.IntN(8) == 0 {
			m.lines = append(m.lines, "auth users = "+localsDrawn["auth users"](r), "secrets file = RUNDIR/secrets")
		}
		if r.IntN(10) == 0 {
			m.lines = append(m.lines, c.oddLine(r))
		}
		c.modules = append(c.modules, m)
	}
	if r.IntN(3) == 0 {
		c.env = append(c.env, "WHICH="+pickOne(r, "m", "n", "", "../m"))
	}
	for range max(0, r.IntN(5)-2) {
		c.args = append(c.args, []string{pickOne(r, "--dparam=motdfile=RUNDIR/motd", "-Mreadonly=no", "--dparam=use chroot=no", "--dparam=comment=by hand", "--log-file-format=%i %n%L", "--log-file-format={%t} %o %f", "-v", "-vv",
			"--bwlimit=90000", "--dparam=transfer logging=yes", "--dparam=maxverbosity=3", "-4", "--no-detach", "--sockopts=TCP_NODELAY", "--temp-dir=/tmp", "--protocol=30", "--dparam=reverselookup=no")})
	}
}

// oddLine is what may stand in a configuration beside plain parameters. What
// makes it useless is left out: rsync listens all the same, and fails each
// client; we say so at the start. An unknown parameter is such an error here.
func (c *daemonCase) oddLine(r *rand.Rand) string {
	return pickOne(r, "# a comment = yes", "; another", "", "   ", "&include RUNDIR/inc", "&merge RUNDIR/inc", "&include RUNDIR/one.conf", "&merge RUNDIR/one.inc", "&include = RUNDIR/one.conf", "&INCLUDE RUNDIR/inc/",
		"no equals sign", "comment", "list = no\\\n", "# continued \\\nlist = no", "&merge RUNDIR/one.conf", "comment = last \\\n  words", "read only", "transfer logging = yes # really", "[global]", "max verbosity = 3", "&include RUNDIR/inc/b.conf", "path", fmt.Sprintf("comment = %s", strings.Repeat("c", 3000)))
}
