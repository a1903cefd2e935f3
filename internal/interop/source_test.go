package interop

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// source is the tree that is sent: every inode type, hostile names, awkward
// sizes, times and modes. Each directory serves a part of the option table.
var source = sync.OnceValue(func() tree {
	var t tree
	sizes(&t)
	times(&t)
	modes(&t)
	names(&t)
	links(&t)
	hardLinks(&t)
	specials(&t)
	if takesAttributes() {
		attributes(&t)
	}
	filters(&t)
	changes(&t)
	types(&t)
	t.add(
		&node{path: "empty", kind: dir}, &node{path: "empty/e1", kind: dir}, &node{path: "empty/e1/e2", kind: dir},
		&node{path: "fuzzy", kind: dir}, &node{path: "fuzzy/report-2024-06.txt", kind: file, data: content(60, 40_000)},
	)
	deep := "deep"
	t.add(&node{path: deep, kind: dir})
	for i := range 12 {
		deep += fmt.Sprintf("/d%02d", i)
		t.add(&node{path: deep, kind: dir, mode: 0o711})
	}
	t.add(&node{path: deep + "/bottom", kind: file, data: []byte("bottom\n")})
	return t
})

func sizes(t *tree) {
	t.add(&node{path: "size", kind: dir})
	for _, n := range []int{0, 1, 699, 700, 701, 1 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1} {
		t.add(&node{path: fmt.Sprintf("size/%06d", n), kind: file, data: content(uint64(n), n)})
	}
	t.add(
		&node{path: "size/large", kind: file, data: content(1, 3<<20+17)},
		&node{path: "size/sparse", kind: file, hole: 2<<20 + 4096, data: content(2, 9_000)},
		&node{path: "size/zeros", kind: file, data: make([]byte, 300_000)},
	)
}

func times(t *tree) {
	t.add(&node{path: "time", kind: dir, sec: -3})
	for _, f := range []struct {
		name string
		sec  int64
		nsec int64
	}{
		{"1901", -1 << 31, 0},
		{"1969", -1, 500_000_000},
		{"epoch", 0, 1},
		{"2038", 1<<31 - 1, 999_999_999},
		{"2106", 1<<32 - 1, 0},
		{"2107", 1 << 32, 7},
		{"2200", 7_258_118_400, 250_000_000},
	} {
		t.add(&node{path: "time/" + f.name, kind: file, data: []byte(f.name + "\n"), sec: f.sec, nsec: f.nsec})
	}
}

func modes(t *tree) {
	t.add(
		&node{path: "mode", kind: dir, mode: 0o750, uid: 1, gid: 2},
		&node{path: "mode/0400", kind: file, mode: 0o400, uid: 1, gid: 1, data: []byte("x\n")},
		&node{path: "mode/0755", kind: file, mode: 0o755, uid: 54321, gid: 54322, data: []byte("#!\n")},
		&node{path: "mode/4755", kind: file, mode: 0o4755, uid: 2, gid: 3, data: []byte("#!\n")},
		&node{path: "mode/2711", kind: file, mode: 0o2711, gid: 54322, data: []byte("#!\n")},
		&node{path: "mode/1644", kind: file, mode: 0o1644, data: []byte("y\n")},
		&node{path: "mode/0666", kind: file, mode: 0o666, uid: 65534, gid: 65534, data: []byte("z\n")},
		&node{path: "mode/d2775", kind: dir, mode: 0o2775, gid: 4},
		&node{path: "mode/d2775/f", kind: file, gid: 4, data: []byte("in\n")},
		&node{path: "mode/d1777", kind: dir, mode: 0o1777},
		&node{path: "mode/d0700", kind: dir, mode: 0o700, uid: 54321},
		&node{path: "mode/d0555", kind: dir, mode: 0o555},
		&node{path: "mode/d0555/f", kind: file, mode: 0o444, data: []byte("ro\n")},
	)
	if root() {
		t.add(
			&node{path: "mode/0000", kind: file, mode: none, data: []byte("none\n")},
			&node{path: "mode/d0000", kind: dir, mode: none},
			&node{path: "mode/d0000/f", kind: file, data: []byte("hidden\n")},
		)
	}
}

// hostile are names that shells, printf, wildcards and options take amiss.
var hostile = []string{
	"-dash", "--delete", "new\nline", "\n", "ta\tb", " lead", "trail ", "sp ace", "star*", "*", "que?", "[br]", "[!x]", "quo'te",
	`dbl"quote`, `back\slash`, `\#101`, `end\`, "$HOME", "`id`", "semi;colon", "amp&", "~tilde", "#hash", "%percent", "!bang", "{a,b}",
	"(paren)", "a:b", "a|b", "<lt>", "utf-\u00e9\u4e16", "\xff\xfe", "latin\xe9", "\x01ctl\x7f", "cr\rx", ".hidden", "..dots", "...", "+ plus", "- minus",
	strings.Repeat("n", 255), strings.Repeat("\u00e9", 127),
}

func names(t *tree) {
	t.add(&node{path: "name", kind: dir})
	for i, n := range hostile {
		t.add(&node{path: "name/" + n, kind: file, data: fmt.Appendf(nil, "%d\n", i)})
	}
	t.add(
		&node{path: "name/-dir *", kind: dir},
		&node{path: "name/-dir */in\n-side", kind: file, data: []byte("in\n")},
	)
}

func links(t *tree) {
	t.add(
		&node{path: "link", kind: dir},
		&node{path: "link/relative", kind: symlink, target: "../size/000700"},
		&node{path: "link/directory", kind: symlink, target: "../deep/d00"},
		&node{path: "link/dangling", kind: symlink, target: "nowhere"},
		&node{path: "link/absolute", kind: symlink, target: "/nonexistent/absolute"},
		&node{path: "link/unsafe", kind: symlink, target: "../../outside"},
		&node{path: "link/unsafe-there", kind: symlink, target: "../../beside/file"},
		&node{path: "link/unsafe-dir", kind: symlink, target: "../../beside"},
		&node{path: "link/loop", kind: symlink, target: "loop"},
		&node{path: "link/chain", kind: symlink, target: "relative"},
		&node{path: "link/long", kind: symlink, target: strings.Repeat("long/", 100) + "x"},
		&node{path: "link/hostile", kind: symlink, target: "../name/\xff\xfe"},
		&node{path: "link/owned", kind: symlink, target: "x\ny", uid: 7, gid: 8},
	)
}

func hardLinks(t *tree) {
	t.add(
		&node{path: "hard", kind: dir}, &node{path: "hard/sub", kind: dir}, &node{path: "zhard", kind: dir},
		&node{path: "hard/a", kind: file, data: content(31, 5000)},
		&node{path: "hard/b", kind: hard, target: "hard/a"},
		&node{path: "hard/sub/c", kind: hard, target: "hard/a"},
		&node{path: "zhard/d", kind: hard, target: "hard/a"},
		&node{path: "hard/two", kind: file, data: content(32, 100), mode: 0o600},
		&node{path: "zhard/two", kind: hard, target: "hard/two"},
		&node{path: "hard/nil", kind: file},
		&node{path: "hard/nil2", kind: hard, target: "hard/nil"},
		&node{path: "hard/sym", kind: symlink, target: "a"},
		&node{path: "hard/sym2", kind: hard, target: "hard/sym"},
		&node{path: "hard/pipe", kind: fifo},
		&node{path: "zhard/pipe", kind: hard, target: "hard/pipe"},
	)
}

func specials(t *tree) {
	t.add(
		&node{path: "special", kind: dir},
		&node{path: "special/fifo", kind: fifo, mode: 0o640},
		&node{path: "special/socket", kind: sock, mode: 0o755},
	)
	if root() {
		t.add(
			&node{path: "special/null", kind: char, rdev: unix.Mkdev(1, 3), mode: 0o666},
			&node{path: "special/large", kind: char, rdev: unix.Mkdev(511, 300_000), mode: 0o600},
			&node{path: "special/disk", kind: block, rdev: unix.Mkdev(7, 200), gid: 6, mode: 0o660},
			&node{path: "special/disk2", kind: block, rdev: unix.Mkdev(7, 201), mode: 0o660},
			&node{path: "special/disk3", kind: hard, target: "special/disk2"},
		)
	}
}

func attributes(t *tree) {
	acl := []ace{{1, 6, 0}, {2, 6, 7}, {2, 4, 54321}, {4, 4, 0}, {8, 5, 9}, {16, 7, 0}, {32, 4, 0}}
	few := []ace{{1, 7, 0}, {2, 7, 1}, {4, 5, 0}, {16, 7, 0}, {32, 1, 0}}
	t.add(
		&node{path: "acl", kind: dir, acl: few},
		&node{path: "acl/file", kind: file, data: []byte("a\n"), acl: acl},
		&node{path: "acl/same", kind: file, data: []byte("b\n"), acl: acl, mode: 0o600},
		&node{path: "acl/default", kind: dir, acl: acl, defacl: few},
		&node{path: "acl/default/in", kind: file, data: []byte("c\n")},
		&node{path: "acl/only-default", kind: dir, defacl: acl},
		&node{path: "xattr", kind: dir, xattrs: map[string]string{"user.on": "a directory", "user.long": string(content(10, 300))}},
		&node{path: "xattr/file", kind: file, data: []byte("a\n"), xattrs: map[string]string{"user.short": "v", "user.empty": "", "user.bin": "a\x00b\xff"}},
		&node{path: "xattr/same", kind: file, data: []byte("b\n"), xattrs: map[string]string{"user.short": "v", "user.empty": "", "user.bin": "a\x00b\xff"}},
		&node{path: "xattr/long", kind: file, data: []byte("c\n"), xattrs: map[string]string{"user.long": string(content(9, 2000)), "user.\xff name": "x", "user.rsync.user.worn": string(content(11, 100))}},
		&node{path: "xattr/both", kind: file, data: []byte("d\n"), acl: few, xattrs: map[string]string{"user.x": "y"}},
		&node{path: "xattr/linked", kind: file, data: []byte("e\n"), xattrs: map[string]string{"user.hard": "link"}},
		&node{path: "xattr/linked2", kind: hard, target: "xattr/linked"},
	)
	if root() {
		t.find("xattr/both").xattrs = map[string]string{"user.x": "y", "trusted.t": "root's"}
	}
}

func filters(t *tree) {
	t.add(&node{path: "filter", kind: dir}, &node{path: "filter/sub", kind: dir}, &node{path: "filter/CVS", kind: dir}, &node{path: "filter/.git", kind: dir},
		&node{path: "filter/tmp", kind: dir}, &node{path: "filter/only", kind: dir})
	for _, f := range [][2]string{
		{"a.c", "c\n"}, {"a.o", "o\n"}, {"core", "core\n"}, {"keep.o", "k\n"}, {"foo~", "~\n"}, {"x.bak", "b\n"},
		{".rsync-filter", "+ keep.o\n- *.o\n: .more\nP old.o\n"},
		{".cvsignore", "*.c !mine\n"},
		{".more", "- x.bak\n"},
		{"merge", "# a comment\n+ */\n- *.tmp\n"},
		{"sub/.rsync-filter", "- *.tmp\n"},
		{"sub/.more", "- y.*\n"},
		{"sub/x.tmp", "t\n"}, {"sub/y.txt", "y\n"}, {"sub/a.o", "o\n"}, {"sub/z", "z\n"},
		{"CVS/Root", "r\n"}, {".git/HEAD", "h\n"}, {"tmp/t", "t\n"}, {"only/a.o", "o\n"},
	} {
		t.add(&node{path: "filter/" + f[0], kind: file, data: []byte(f[1])})
	}
}

func changes(t *tree) {
	t.add(&node{path: "change", kind: dir, mode: 0o755})
	for i, name := range []string{
		"append", "append-bad", "content", "delta", "large", "longer", "missing", "newer", "owner", "perms", "readonly", "same", "shorter", "time", "times",
	} {
		t.add(&node{path: "change/" + name, kind: file, data: content(uint64(100+i), 20_000+i*137)})
	}
	t.find("change/delta").data = content(150, 400_000)
	t.find("change/large").data = content(151, 2<<20)
	t.find("change/append").data = content(152, 150_000)
	t.find("change/append-bad").data = content(153, 150_000)
}

// kinds are the entries whose type is another one in the destination; there
// the second letter says which.
var kinds = []string{"fd", "fl", "fp", "df", "dl", "lf", "ld", "ll", "pf", "pd", "pl", "fs"}

func types(t *tree) {
	t.add(&node{path: "type", kind: dir})
	all := kinds
	if root() {
		all = append(slices.Clip(all), "cc", "cb", "bf", "fc", "dc", "cl")
	}
	for i, k := range all {
		t.add(typed("type/"+k, k[0], i))
	}
	t.add(&node{path: "type/df/child", kind: file, data: []byte("child\n")}, &node{path: "type/dl/child", kind: file, data: []byte("child\n")})
}

func typed(path string, kind byte, i int) *node {
	n := &node{path: path, kind: kind}
	switch kind {
	case file:
		n.data = content(uint64(200+i), 900)
	case symlink:
		n.target = fmt.Sprintf("target-%d", i)
	case char, block:
		n.rdev = unix.Mkdev(4, uint32(60+i))
	}
	return n
}

// older is the destination: a copy of the source that has aged. Entries have
// changed in one respect each, are missing, in excess or of another type.
var older = sync.OnceValue(func() tree {
	t := source().clone()
	t.drop("change/missing", "fuzzy/report-2024-06.txt", "name/star*", "name/new\nline", "zhard", "size/000701", "time/2200", "deep/d00/d01/d02/d03/d04", "empty/e1/e2", "special/fifo")
	set := func(path string, change func(n *node)) { change(t.find(path)) }
	grow := func(b []byte, more string) []byte { return append(slices.Clone(b), more...) }

	set("change/content", func(n *node) { n.data = content(500, len(n.data)) }) // the quick check cannot see it
	set("change/longer", func(n *node) { n.data = grow(n.data, "more") })
	set("change/shorter", func(n *node) { n.data = n.data[:len(n.data)-1] })
	set("change/time", func(n *node) { n.sec -= 1000 })
	set("change/times", func(n *node) { n.nsec = 5 }) // within the second
	set("change/newer", func(n *node) { n.sec += 5000; n.data = grow(n.data, "newer") })
	set("change/owner", func(n *node) { n.uid, n.gid = 9, 9 })
	set("change/perms", func(n *node) { n.mode = 0o4711 })
	set("change/readonly", func(n *node) { n.mode = 0o444; n.sec -= 77; n.data = content(501, 9000) })
	set("change/append", func(n *node) { n.data = n.data[:70_001]; n.sec -= 9 })
	set("change/append-bad", func(n *node) {
		n.data = slices.Clone(n.data[:70_001])
		n.data[66] ^= 1
		n.sec -= 9
	})
	set("change/delta", func(n *node) {
		d := slices.Clone(n.data)
		for i := 0; i < len(d); i += 50_000 {
			d[i] ^= 0xff
		}
		n.data = slices.Concat(d[:100_000], []byte("inserted"), d[120_000:])
		n.sec -= 5
	})
	set("change/large", func(n *node) {
		n.data = slices.Concat(n.data[1<<20:], n.data[:1<<20])
		n.sec -= 5
	})
	set("size/large", func(n *node) { n.data = n.data[:2<<20]; n.sec -= 5 })
	set("size/sparse", func(n *node) { n.hole = 0; n.data = content(502, 1<<20); n.sec -= 5 })
	set("size/zeros", func(n *node) { n.data = content(503, 300_000); n.sec -= 5 })
	set("size/000001", func(n *node) { n.data = nil; n.sec -= 5 })
	set("mode/0755", func(n *node) { n.mode = 0o600 })
	set("mode/d2775", func(n *node) { n.mode = 0o700; n.gid = 0 })
	set("mode/4755", func(n *node) { n.mode = 0o755; n.data = []byte("older\n") })
	set("link/relative", func(n *node) { n.target = "elsewhere" })
	set("link/owned", func(n *node) { n.uid = 0; n.sec -= 5 })
	set("name/sp ace", func(n *node) { n.data = []byte("older\n") })
	set("name/\xff\xfe", func(n *node) { n.sec -= 4 })
	set("hard/b", func(n *node) { n.kind = file; n.target = ""; n.data = []byte("no link\n"); n.mode = 0o644 })
	set("hard/nil2", func(n *node) { n.target = "hard/two" })
	if root() {
		set("special/disk", func(n *node) { n.rdev = unix.Mkdev(7, 199) })
		set("special/null", func(n *node) { n.mode = 0o600 })
	}
	if takesAttributes() {
		set("acl/file", func(n *node) { n.acl = []ace{{1, 6, 0}, {2, 7, 8}, {4, 0, 0}, {16, 7, 0}, {32, 0, 0}} })
		set("acl/same", func(n *node) { n.acl = nil })
		set("acl/default", func(n *node) { n.defacl = nil })
		set("acl/only-default", func(n *node) { n.defacl = nil })
		set("xattr/file", func(n *node) { n.xattrs = map[string]string{"user.short": "other", "user.extra": "x"} })
		set("xattr/same", func(n *node) { n.data = []byte("older\n") })
		set("xattr", func(n *node) { n.xattrs = nil })
	}
	for _, k := range kinds {
		retype(&t, k)
	}
	if root() {
		for _, k := range []string{"cc", "cb", "bf", "fc", "dc", "cl"} {
			retype(&t, k)
		}
	}
	t.add(
		&node{path: "type/fd/in", kind: file, data: []byte("in the way\n")},
		&node{path: "type/ld/in", kind: file, data: []byte("in the way\n")},
		&node{path: "type/pd/in", kind: file, data: []byte("in the way\n")},
		&node{path: "elsewhere", kind: dir},
		&node{path: "fuzzy/report-2024-05.txt", kind: file, data: content(60, 39_000)},
		&node{path: "fuzzy/other.txt", kind: file, data: content(61, 39_000)},
		&node{path: "extra", kind: dir}, &node{path: "extra/d", kind: dir}, &node{path: "extra/d/f", kind: file, data: []byte("f\n")},
		&node{path: "extra/f", kind: file, data: []byte("f\n")}, &node{path: "extra/l", kind: symlink, target: "f"}, &node{path: "extra/p", kind: fifo},
		&node{path: "extra/ro", kind: dir, mode: 0o555}, &node{path: "extra/ro/f", kind: file, mode: 0o444, data: []byte("f\n")},
		&node{path: "name/-extra\n", kind: file, data: []byte("x\n")},
		&node{path: "filter/old.o", kind: file, data: []byte("o\n")}, &node{path: "filter/sub/old.tmp", kind: file, data: []byte("o\n")},
		&node{path: "filter/sub/old", kind: file, data: []byte("o\n")}, &node{path: "change/zz", kind: file, data: []byte("zz\n")},
		&node{path: "zz-extra", kind: file, data: []byte("zz\n")},
	)
	set("type/dl", func(n *node) { n.target = "../elsewhere" }) // what -K follows
	return t
})

func retype(t *tree, k string) {
	path := "type/" + k
	old := t.find(path)
	t.drop(path)
	n := typed(path, k[1], 50)
	n.sec, n.nsec = old.sec-50, old.nsec
	t.add(n)
}
