package interop

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// A draw returns words of a command line that set an option. It may change the
// case that the option is for; nil means that the option does not suit it.
type draw func(r *rand.Rand, c *randomCase) []string

func flags(words ...string) draw {
	return func(r *rand.Rand, _ *randomCase) []string { return []string{pickOne(r, words...)} }
}

// with draws an argument for an option, one of them.
func with(name string, args ...string) draw {
	return func(r *rand.Rand, _ *randomCase) []string { return []string{name + "=" + pickOne(r, args...)} }
}

// onlyIn lets an option be drawn in some ways.
func onlyIn(d draw, in ...way) draw {
	return func(r *rand.Rand, c *randomCase) []string {
		for _, w := range in {
			if w == c.way {
				return d(r, c)
			}
		}
		return nil
	}
}

// since keeps an option from the protocols below: rsync's clients send what is
// secluded twice there.
func since(oldest int, d draw) draw {
	return func(r *rand.Rand, c *randomCase) []string {
		if c.protocol != 0 && c.protocol < oldest {
			return nil
		}
		return d(r, c)
	}
}

// plain draws one of --append and --sparse in a case: rsync leaves zeros of
// both.
func plain(d draw) draw {
	return func(r *rand.Rand, c *randomCase) []string {
		if c.plain {
			return nil
		}
		c.plain = true
		return d(r, c)
	}
}

func sizesOf(name string) draw {
	return with(name, "0", "1", "700", "701", "1k", "5000", "64KiB+1", "40000b-1", "1m", "2.5K")
}

// pattern draws one of a filter rule.
func pattern(r *rand.Rand) string {
	return pickOne(r, "*.c", "*.o", "a*", "/a", "b/", "*/", "/*/a*", "**/c", "name/*", "[a-c]?", "size/0*", "*~", ".*", "core", "change/***", "/change/", "sub", "*")
}

// altDest draws an alternate destination, which holds the source or an older
// copy of it.
func altDest(name string) draw {
	return func(r *rand.Rand, c *randomCase) []string {
		if c.alt != "" && c.alt != name {
			return nil
		}
		c.alt = name
		return []string{name + "=../" + pickOne(r, "ref", "ref", "old", "nowhere")}
	}
}

// drawn is how each option of the table is drawn. TestRandomTable holds it
// against the table: what is not here is in notDrawn, with the reason.
var drawn = map[string]draw{
	"verbose":             flags("-v", "-v", "-vv", "--no-v"),
	"info":                with("--info", "name", "name2", "del", "stats", "stats2", "misc2", "skip2", "copy", "backup,remove", "nonreg,symsafe", "all0", "none", "flist", "progress", "mount,motd0", "COPY,SKIP"),
	"stderr":              with("--stderr", "a", "e", "c"),
	"quiet":               flags("-q", "--no-q"),
	"no-motd":             flags("--no-motd"),
	"checksum":            flags("-c", "--checksum", "--no-c"),
	"archive":             flags("-a"),
	"no-OPTION":           flags("--no-l", "--no-p", "--no-t", "--no-g", "--no-o", "--no-D", "--no-devices", "--no-specials", "--no-H", "--no-r", "--no-R", "--no-perms"),
	"recursive":           flags("-r", "--recursive"),
	"inc-recursive":       flags("--i-r", "--inc-recursive"),
	"no-inc-recursive":    flags("--no-inc-recursive"),
	"no-i-r":              flags("--no-i-r"),
	"relative":            flags("-R", "--relative"),
	"no-implied-dirs":     flags("--no-implied-dirs", "--no-i-d"),
	"backup":              flags("-b", "--backup"),
	"backup-dir":          with("--backup-dir", "bak", "../bak", "bak/deep", "b//c", "."),
	"suffix":              with("--suffix", ".bak", "~", ".c", "", "-"),
	"update":              flags("-u", "--update"),
	"inplace":             flags("--inplace", "--no-inplace"),
	"append":              plain(flags("--append")),
	"append-verify":       plain(flags("--append-verify")),
	"dirs":                flags("-d", "--dirs", "--no-d"),
	"old-dirs":            flags("--old-dirs"),
	"old-d":               flags("--old-d"),
	"mkpath":              flags("--mkpath", "--no-mkpath"),
	"links":               flags("-l"),
	"copy-links":          flags("-L", "--copy-links"),
	"copy-unsafe-links":   flags("--copy-unsafe-links"),
	"safe-links":          flags("--safe-links"),
	"insecure-links":      flags("--insecure-links"),
	"confine-root":        onlyIn(with("--confine-root", "RUNDIR"), local, push, pull, daemonPull),
	"munge-links":         flags("--munge-links", "--no-munge-links"),
	"copy-dirlinks":       flags("-k", "--copy-dirlinks"),
	"keep-dirlinks":       flags("-K", "--keep-dirlinks"),
	"hard-links":          flags("-H", "--hard-links"),
	"perms":               flags("-p"),
	"executability":       flags("-E", "--executability"),
	"chmod":               with("--chmod", "u=rwX,go=", "D755,F644", "a+s", "F-w", "Dg+s", "o=g", "600", "ugo=rwX", "D+t,Fa+x", "u-r", "+X", "go-rwx", "F4711"),
	"acls":                flags("-A", "--acls"),
	"xattrs":              flags("-X", "--xattrs", "-XX"),
	"owner":               flags("-o"),
	"group":               flags("-g"),
	"devices":             flags("--devices"),
	"copy-devices":        devices(flags("--copy-devices")),
	"write-devices":       devices(flags("--write-devices", "--no-write-devices")),
	"specials":            flags("--specials"),
	"drop-D":              flags("--drop-D", "--no-drop-D"),
	"D":                   flags("-D"),
	"times":               flags("-t"),
	"atimes":              flags("-U", "--atimes", "-UU"),
	"open-noatime":        flags("--open-noatime", "--no-open-noatime"),
	"crtimes":             flags("-N", "--crtimes", "--no-crtimes"),
	"omit-dir-times":      flags("-O", "--omit-dir-times", "--no-O"),
	"omit-link-times":     flags("-J", "--omit-link-times", "--no-J"),
	"super":               flags("--super", "--no-super"),
	"fake-super":          flags("--fake-super", "-M--fake-super"),
	"sparse":              plain(flags("-S", "--sparse", "--no-sparse")),
	"preallocate":         flags("--preallocate"),
	"dry-run":             flags("-n", "--dry-run"),
	"whole-file":          flags("-W", "--whole-file"),
	"no-whole-file":       flags("--no-whole-file"),
	"no-W":                flags("--no-W"),
	"checksum-choice":     with("--checksum-choice", "md5", "md4", "sha1", "xxh64", "xxh3", "xxh128", "auto", "none", "md5,none", "sha1,md4", "bogus"),
	"one-file-system":     flags("-x", "-xx", "--no-x"),
	"block-size":          with("--block-size", "1", "700", "1024", "0", "131072", "1k", "131073"),
	"existing":            flags("--existing"),
	"ignore-non-existing": flags("--ignore-non-existing"),
	"ignore-existing":     flags("--ignore-existing"),
	"remove-source-files": flags("--remove-source-files"),
	"del":                 flags("--del"),
	"delete":              flags("--delete"),
	"delete-before":       flags("--delete-before"),
	"delete-during":       flags("--delete-during"),
	"delete-delay":        flags("--delete-delay"),
	"delete-after":        flags("--delete-after"),
	"delete-excluded":     flags("--delete-excluded"),
	"ignore-missing-args": flags("--ignore-missing-args"),
	"delete-missing-args": flags("--delete-missing-args"),
	"ignore-errors":       flags("--ignore-errors", "--no-ignore-errors"),
	"force":               flags("--force", "--no-force"),
	"max-delete":          with("--max-delete", "0", "1", "2", "5", "-1", "1000"),
	"max-size":            sizesOf("--max-size"),
	"min-size":            sizesOf("--min-size"),
	"max-alloc":           with("--max-alloc", "1g", "2000m", "64M"),
	"partial":             flags("--partial", "--no-partial"),
	"partial-dir":         with("--partial-dir", ".part", "p/q", "../part", ""),
	"delay-updates":       flags("--delay-updates", "--no-delay-updates"),
	"prune-empty-dirs":    flags("-m", "--prune-empty-dirs", "--no-m"),
	"numeric-ids":         flags("--numeric-ids", "--no-numeric-ids"),
	"usermap":             with("--usermap", "0:1", "1-9:54000", "*:7", "daemon:bin,*:0", "54321:nobody", "root:@", ":5"),
	"groupmap":            with("--groupmap", "0:1", "1-9:54000", "*:8", "daemon:bin,*:0", "no-such:4"),
	"chown":               with("--chown", "daemon:bin", "7", ":8", "54000:54001", "nobody:"),
	"timeout":             with("--timeout", "30", "0"),
	"contimeout":          onlyIn(with("--contimeout", "30"), daemonPush, daemonPull),
	"ignore-times":        flags("-I", "--ignore-times"),
	"size-only":           flags("--size-only"),
	"modify-window":       with("--modify-window", "0", "1", "2", "-1", "5000"),
	"temp-dir": func(r *rand.Rand, c *randomCase) []string {
		if c.way == daemonPush {
			return []string{"--temp-dir=" + pickOne(r, "/tmp")}
		}
		return []string{"--temp-dir=" + pickOne(r, "RUNDIR/tmp", "RUNDIR/nowhere")}
	},
	"fuzzy":            flags("-y", "-yy", "--fuzzy", "--no-fuzzy"),
	"compare-dest":     altDest("--compare-dest"),
	"copy-dest":        altDest("--copy-dest"),
	"link-dest":        altDest("--link-dest"),
	"compress":         flags("-z", "--compress", "-zz", "--no-z", "--old-compress", "--new-compress"),
	"compress-choice":  with("--compress-choice", "zstd", "lz4", "zlibx", "zlib", "none", "auto", "bogus"),
	"compress-level":   with("--compress-level", "0", "1", "3", "9", "22", "-5", "99"),
	"compress-threads": with("--compress-threads", "0", "1", "2"),
	"skip-compress":    with("--skip-compress", "", "c/o", "gz/[a-z]p", "txt"),
	"cvs-exclude":      flags("-C", "--cvs-exclude"),
	"filter": func(r *rand.Rand, _ *randomCase) []string {
		return []string{"--filter=" + pickOne(r, "- ", "+ ", "-! ", "-/ ", "-s ", "-r ", "-p ", "P ", "R ", "H ", "S ", "exclude ", "hide,! ", "+C ", "-p_") + pattern(r)}
	},
	"F":            flags("-F", "-FF", "--filter=: .rsync-filter", "--filter=:C", "--filter=:- .cvsignore", "--filter=. RUNDIR/rules", "--filter=:n- .more", "--filter=dir-merge,e .more", "--filter=!"),
	"exclude":      func(r *rand.Rand, _ *randomCase) []string { return []string{"--exclude=" + pattern(r)} },
	"include":      func(r *rand.Rand, _ *randomCase) []string { return []string{"--include=" + pattern(r)} },
	"exclude-from": with("--exclude-from", "RUNDIR/rules"),
	"include-from": with("--include-from", "RUNDIR/rules"),
	"files-from": func(r *rand.Rand, c *randomCase) []string {
		if len(c.from) > 1 || len(c.from) == 1 && c.from[0] != "" {
			return nil
		}
		if c.way == daemonPull { // rsync's daemon takes files for vanished
			return nil
		}
		if c.way == pull && r.IntN(2) == 0 {
			return []string{"--files-from=:RUNDIR/list"}
		}
		return []string{"--files-from=RUNDIR/list"}
	},
	"from0": func(_ *rand.Rand, c *randomCase) []string {
		c.nul = true
		return []string{"-0"}
	},
	"old-args":         flags("--old-args", "--no-old-args"),
	"secluded-args":    onlyIn(since(30, flags("-s", "--secluded-args", "--no-s")), push, pull, daemonPush, daemonPull),
	"trust-sender":     flags("--trust-sender"),
	"copy-as":          onlyIn(with("--copy-as", "no-such-user"), local, push, pull),
	"sockopts":         with("--sockopts", "SO_KEEPALIVE", "TCP_NODELAY"),
	"blocking-io":      flags("--blocking-io", "--no-blocking-io"),
	"outbuf":           with("--outbuf", "N", "L", "B"),
	"stats":            flags("--stats"),
	"8-bit-output":     flags("-8", "--no-8"),
	"human-readable":   flags("-h", "-hh", "--no-h"),
	"progress":         flags("--progress", "--no-progress"),
	"P":                flags("-P"),
	"itemize-changes":  flags("-i", "-ii", "--no-i"),
	"remote-option":    flags("-M--numeric-ids", "-M--no-super", "-M--bwlimit=90000", "-M--munge-links", "-M--no-such"),
	"out-format":       with("--out-format", "%i %n%L", "%o %f %l", "%C %n", "%B %U:%G %M %n", "%n", "", "%'l %''l %n", "%10n|%-10l|"),
	"log-file":         with("--log-file", "run.log"),
	"log-file-format":  with("--log-file-format", "%i %n%L", "%o %m %P %f", ""),
	"password-file":    onlyIn(with("--password-file", "RUNDIR/word"), daemonPush, daemonPull),
	"list-only":        flags("--list-only"),
	"bwlimit":          with("--bwlimit", "100m", "0", "50000"),
	"stop-after":       with("--stop-after", "10", "0"),
	"stop-at":          with("--stop-at", "2099-12-31T00:00", "2001-01-01"),
	"fsync":            flags("--fsync"),
	"write-batch":      with("--write-batch", "RUNDIR/batch"),
	"only-write-batch": with("--only-write-batch", "RUNDIR/batch"),
	"iconv":            with("--iconv", "utf8,latin1", ".", "-", "latin1,utf8", "utf8,ascii", "bogus,utf8"),
	"checksum-seed":    with("--checksum-seed", "1", "0", "32000", "-7"),
	"ipv4":             flags("-4"),
	"ipv6":             flags("-6"),
}

// devices lets a case read and write what devices hold: /dev/null alone.
func devices(d draw) draw {
	return func(r *rand.Rand, c *randomCase) []string {
		c.harmless = true
		return d(r, c)
	}
}

// notDrawn are the options that TestRandom leaves to others.
var notDrawn = map[string]string{
	"debug":       "what it prints is compared by TestDebug",
	"rsh":         "set by each way",
	"rsync-path":  "set by each way",
	"protocol":    "drawn for each case",
	"address":     "needs a network connection",
	"port":        "needs a network connection",
	"early-input": "needs a daemon with a hook",
	"read-batch":  "needs a batch: TestBatch",
	"version":     "internal/options",
	"help":        "internal/options",
}

// helpLine matches what precedes the description of an option in --help.
var helpLine = regexp.MustCompile(`^-[^ ,]*(?:, -[^ ,]*)*`)

// TestRandomTable holds the options that are drawn against those that --help
// shows.
func TestRandomTable(t *testing.T) {
	out, err := exec.Command(prsync, "--help").Output()
	check(t, err)
	seen := map[string]bool{}
	for sc := bufio.NewScanner(strings.NewReader(string(out))); sc.Scan(); {
		m := helpLine.FindString(sc.Text())
		if m == "" || strings.Contains(m, "--swarm") {
			continue
		}
		known := false
		for name := range strings.SplitSeq(m, ", ") {
			name, _, _ = strings.Cut(strings.TrimLeft(name, "-"), "=")
			known = known || drawn[name] != nil || notDrawn[name] != ""
			seen[name] = true
		}
		if !known {
			t.Errorf("%s is neither drawn nor left out for a reason", m)
		}
	}
	for name := range drawn {
		if !seen[name] {
			t.Errorf("%s is drawn and not in --help", name)
		}
	}
}

// listOf is a file for --files-from: some entries of the tree.
func listOf(r *rand.Rand, t tree) []string {
	var all []string
	for range 1 + r.IntN(6) {
		if len(t) == 0 || r.IntN(8) == 0 {
			all = append(all, pickOne(r, "nowhere", "no/where", ".", "./"))
			continue
		}
		n := t[r.IntN(len(t))]
		name := n.path
		switch r.IntN(5) {
		case 0:
			name = path.Dir(name) + "/./" + path.Base(name)
		case 1:
			name = "./" + name
		case 2:
			if n.kind == dir {
				name += "/"
			}
		}
		all = append(all, name)
	}
	return all
}

func (c *randomCase) String() string {
	return fmt.Sprintf("%s, protocol %d: %q", c.way, c.protocol, c.more)
}
