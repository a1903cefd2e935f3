package flist

import (
	"bytes"
	"crypto/md5"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "record testdata/*.batch with rsync 3.5.0 (as root)")

// node is one entry of the tree that the recorded lists describe.
type node struct {
	name         string
	mode         uint32
	uid, gid     uint32
	size         int64
	sec          int64
	nsec         uint32
	link         string // symbolic link's target
	hard         string // name of the group's member that is made first
	major, minor uint32
	sum          string // of the content, for -c
}

var (
	longDir  = strings.Repeat("D", 200)
	longName = longDir + "/" + strings.Repeat("n", 200)
	longAttr = strings.Repeat("attr", 25)
)

// tree is sorted by nothing in particular: rsync sends what readdir gives.
var tree = []node{
	{name: ".", mode: unix.S_IFDIR | 0755, sec: 1_000_000_000},
	{name: "a", mode: unix.S_IFREG | 0664, size: 5, sec: 1_000_000_000, nsec: 5, sum: "hello"},
	{name: "empty", mode: unix.S_IFREG | 04711, uid: 1, gid: 12345, sec: 1_000_000_000},
	{name: "big", mode: unix.S_IFREG | 0600, size: 0x123456, sec: 1_000_000_001, nsec: 999_999_999},
	{name: "old", mode: unix.S_IFREG | 0644, sec: -1},
	{name: "far", mode: unix.S_IFREG | 0644, sec: 1<<32 + 5},
	{name: "d", mode: unix.S_IFDIR | 0750, uid: 1, sec: 1_100_000_000},
	{name: "d/x", mode: unix.S_IFLNK | 0777, size: 4, sec: 1_100_000_000, link: "../a"},
	{name: "d/fifo", mode: unix.S_IFIFO | 0640, sec: 1_100_000_001},
	{name: "dev-a", mode: unix.S_IFCHR | 0666, sec: 1_200_000_000, major: 1, minor: 3},
	{name: "dev-b", mode: unix.S_IFCHR | 0666, sec: 1_200_000_000, major: 1, minor: 300},
	{name: "dev-c", mode: unix.S_IFBLK | 0660, sec: 1_200_000_000, major: 259, minor: 70000},
	{name: "hl1", mode: unix.S_IFREG | 0444, size: 2, sec: 1_300_000_000, hard: "hl1", sum: "hl"},
	{name: "hl2", mode: unix.S_IFREG | 0444, size: 2, sec: 1_300_000_000, hard: "hl1", sum: "hl"},
	{name: "d/hl3", mode: unix.S_IFREG | 0444, size: 2, sec: 1_300_000_000, hard: "hl1", sum: "hl"},
	{name: "hldev1", mode: unix.S_IFCHR | 0600, sec: 1_300_000_000, hard: "hldev1", major: 10, minor: 229},
	{name: "hldev2", mode: unix.S_IFCHR | 0600, sec: 1_300_000_000, hard: "hldev1", major: 10, minor: 229},
	{name: "dev-d", mode: unix.S_IFCHR | 0600, sec: 1_300_000_000, major: 10, minor: 1},
	{name: longDir, mode: unix.S_IFDIR | 0755, sec: 1_100_000_000},
	{name: longName, mode: unix.S_IFREG | 0644, size: 1, sec: 1_100_000_000, sum: "n"},
}

// recording is one run of rsync whose batch file holds the list.
type recording struct {
	name      string
	protocols [2]int
	args      string
	params    Params // beyond what protocol and header tell
	without   string // an excluded name
	extras    bool   // ACLs, attributes, access times are compared
}

var recordings = []recording{
	{name: "plain", protocols: [2]int{27, 32}, args: "-rlptgoD --no-i-r", params: Params{UID: true, GID: true, Links: true, Devices: true, Specials: true}},
	{name: "numeric", protocols: [2]int{27, 32}, args: "-rlptgoD --numeric-ids --no-i-r", params: Params{UID: true, GID: true, Links: true, Devices: true, Specials: true, NumericIDs: true}},
	{name: "links", protocols: [2]int{27, 32}, args: "-rlptDHc --no-i-r --exclude=big", without: "big", params: Params{Links: true, Devices: true, Specials: true, HardLinks: true, Checksum: true, SumLen: 16}},
	{name: "files", protocols: [2]int{27, 32}, args: "-rt --no-i-r", params: Params{}},
	{name: "inc", protocols: [2]int{30, 32}, args: "-rlptgoDH", params: Params{UID: true, GID: true, Links: true, Devices: true, Specials: true, HardLinks: true}},
	{name: "extras", protocols: [2]int{30, 32}, args: "-rlptgoDHAXUc --no-i-r --exclude=big", without: "big", extras: true, params: Params{UID: true, GID: true, Links: true,
		Devices: true, Specials: true, HardLinks: true, ACLs: true, Xattrs: true, Atimes: true, Checksum: true, SumLen: 16}},
}

func (rec *recording) path(protocol int) string {
	return fmt.Sprintf("testdata/%s-%d.batch", rec.name, protocol)
}

// idTable are the names that the recorded lists come with.
type idTable struct{}

func (idTable) UserName(id uint32) string  { return map[uint32]string{0: "root", 1: "daemon"}[id] }
func (idTable) GroupName(id uint32) string { return map[uint32]string{0: "root", 1: "daemon"}[id] }

// header reads what precedes the data in a batch file
// (rsync 3.5.0 batch.c:write_stream_flags, io.c:start_write_batch).
func header(r *wire.Reader, p *Params) {
	r.Int()
	p.Protocol = int(r.Int())
	r.Protocol = p.Protocol
	if p.Protocol >= 30 {
		flags := r.Varint()
		p.IncRecurse = flags&1 != 0
		p.SafeErrors = flags&8 != 0 || p.Protocol >= 31
		p.VarintFlags = flags&(1<<7) != 0
		p.ID0Names = flags&(1<<8) != 0
	}
	r.Int()
}

// TestRecorded reads the lists that rsync wrote, compares every entry with the
// tree, and writes them again: the bytes must be the same.
func TestRecorded(t *testing.T) {
	if *update {
		record(t)
	}
	for i := range recordings {
		rec := &recordings[i]
		for protocol := rec.protocols[0]; protocol <= rec.protocols[1]; protocol++ {
			t.Run(fmt.Sprintf("%s-%d", rec.name, protocol), func(t *testing.T) { rec.check(t, protocol) })
		}
	}
}

func (rec *recording) check(t *testing.T, protocol int) {
	data, err := os.ReadFile(rec.path(protocol))
	if err != nil {
		t.Fatal(err)
	}
	p := rec.params
	r := wire.NewReader(bytes.NewReader(data))
	var tee bytes.Buffer
	header(r, &p)
	if p.Protocol != protocol {
		t.Fatalf("the file has protocol %d", p.Protocol)
	}
	r.Tee = &tee
	users, groups := map[uint32]string{}, map[uint32]string{}
	dec := NewDecoder(r, p, Policy{
		Who:     "test",
		UserID:  func(id uint32, name string) uint32 { users[id] = name; return id },
		GroupID: func(id uint32, name string) (uint32, bool) { groups[id] = name; return id, false },
	})
	l := &List{}
	if p.IncRecurse {
		l.Start = 1
	}
	if ioError, err := dec.List(l, nil); err != nil || ioError != 0 {
		t.Fatal(ioError, err)
	}
	if !p.IncRecurse {
		if err := dec.IDLists(); err != nil {
			t.Fatal(err)
		}
		rec.checkNames(t, &p, users, groups)
	}
	rec.compare(t, &p, l)
	if p.HardLinks && protocol < 30 {
		return // the device and inode numbers are not kept
	}

	var out bytes.Buffer
	w := wire.NewWriter(&out)
	w.Protocol = protocol
	enc := NewEncoder(w, p, idTable{})
	for _, f := range l.Files {
		if f.Flags&Linked != 0 {
			f.X.Dev, f.X.Ino = 7, uint64(f.X.Group)
		}
		enc.Entry(f, f.Name(), f.Link(), l.Start)
		if p.ACLs && !f.IsSymlink() {
			acl := *f.X.Access
			acl.Strip(f.Mode)
			def := f.X.Default
			if !f.IsDir() {
				def = nil
			}
			enc.ACL(f, &acl, def)
		}
		if p.Xattrs {
			enc.Xattrs(f.Xattrs())
		}
	}
	enc.End(0)
	if !p.IncRecurse && !p.NumericIDs {
		enc.IDLists()
	}
	w.Flush()
	if !bytes.Equal(out.Bytes(), tee.Bytes()) {
		at := 0
		for at < out.Len() && at < tee.Len() && out.Bytes()[at] == tee.Bytes()[at] {
			at++
		}
		t.Errorf("written again, byte %d differs:\n%q\nwant\n%q", at, out.Bytes()[at:min(at+60, out.Len())], tee.Bytes()[at:min(at+60, tee.Len())])
	}
	if dec.TotalSize != enc.TotalSize {
		t.Errorf("TotalSize %d, %d", dec.TotalSize, enc.TotalSize)
	}
}

func (rec *recording) checkNames(t *testing.T, p *Params, users, groups map[uint32]string) {
	want := "map[]"
	if p.UID && !p.NumericIDs {
		want = "map[1:daemon]"
		if p.ID0Names {
			want = "map[0:root 1:daemon]"
		}
	}
	if got := fmt.Sprint(users); got != want {
		t.Errorf("users %s, want %s", got, want)
	}
	want = "map[]"
	if p.ID0Names && p.GID && !p.NumericIDs {
		want = "map[0:root]"
	}
	if got := fmt.Sprint(groups); got != want {
		t.Errorf("groups %s, want %s", got, want)
	}
}

// compare checks every entry of the list against the tree.
func (rec *recording) compare(t *testing.T, p *Params, l *List) {
	byName := map[string]*File{}
	for _, f := range l.Files {
		byName[f.Name()] = f
	}
	found := 0
	for _, n := range tree {
		f := byName[n.name]
		left := n.name == rec.without || n.link != "" && !p.Links ||
			IsDevice(n.mode) && !p.Devices || IsSpecial(n.mode) && !p.Specials || p.IncRecurse && strings.Contains(n.name, "/")
		// What is not preserved is listed all the same, and skipped later.
		if left && f == nil {
			continue
		}
		if f == nil {
			t.Errorf("%s is missing", n.name)
			continue
		}
		found++
		sec := n.sec
		if p.Protocol < 30 {
			sec = int64(uint32(sec))
		}
		size := n.size
		if f.IsDir() {
			size = f.Size
		}
		if f.Mode != n.mode || f.Size != size || f.Mtime != sec || p.Protocol >= 31 && f.Nsec != n.nsec {
			t.Errorf("%s: mode %o size %d time %d.%d", n.name, f.Mode, f.Size, f.Mtime, f.Nsec)
		}
		if p.UID && f.UID != n.uid || p.GID && f.GID != n.gid {
			t.Errorf("%s: owner %d, group %d", n.name, f.UID, f.GID)
		}
		if p.Links && f.Link() != n.link {
			t.Errorf("%s -> %q", n.name, f.Link())
		}
		if p.Devices && f.IsDevice() && (f.X.Major != n.major || f.X.Minor != n.minor) {
			t.Errorf("%s: device %d:%d", n.name, f.X.Major, f.X.Minor)
		}
		if p.Checksum && f.IsRegular() && p.Protocol >= 30 {
			if sum := md5.Sum([]byte(n.sum)); string(f.Sum()) != string(sum[:]) {
				t.Errorf("%s: sum %x", n.name, f.Sum())
			}
		}
		if p.HardLinks && !(p.Protocol < 28) && (f.Flags&Linked != 0) != (n.hard != "") {
			t.Errorf("%s: linked is %v", n.name, f.Flags&Linked != 0)
		}
		if n.hard != "" && f.Flags&Linked != 0 && f.X.Group != byName[n.hard].X.Group {
			t.Errorf("%s: group %d, %s has %d", n.name, f.X.Group, n.hard, byName[n.hard].X.Group)
		}
		if wantDepth := strings.Count(n.name, "/") + 1; n.name != "." && int(f.Depth) != wantDepth {
			t.Errorf("%s: depth %d", n.name, f.Depth)
		}
		if rec.extras {
			compareExtras(t, f)
		}
	}
	if found != len(l.Files) {
		t.Errorf("%d entries, %d are known", len(l.Files), found)
	}
	if top := byName["."]; top == nil || top.Depth != 0 || top.Flags&(TopDir|ContentDir) == 0 {
		t.Errorf("top directory: %+v", top)
	}
}

func compareExtras(t *testing.T, f *File) {
	name := f.Name()
	if !f.IsDir() && f.X.Atime != f.Mtime+60 {
		t.Errorf("%s: access time %d", name, f.X.Atime)
	}
	wantAttrs := ""
	if name == "a" || name == "empty" {
		wantAttrs = fmt.Sprintf("user.long=%x(%d) user.short=v ", md5.Sum([]byte(longAttr)), len(longAttr))
	}
	got := ""
	for _, it := range f.Xattrs().Items {
		if it.Abbreviated() {
			got += fmt.Sprintf("%s=%x(%d) ", it.Name, it.Sum, it.Len)
		} else {
			got += fmt.Sprintf("%s=%s ", it.Name, it.Value)
		}
	}
	if got != wantAttrs {
		t.Errorf("%s: attributes %q, want %q", name, got, wantAttrs)
	}
	if f.IsSymlink() {
		return
	}
	switch name {
	case "a":
		if want := []meta.Ace{{ID: 1, Perm: 4, IsUser: true}, {ID: 12345, Perm: 6}}; fmt.Sprint(f.X.Access.Named) != fmt.Sprint(want) {
			t.Errorf("%s: named %v", name, f.X.Access.Named)
		}
	case "d":
		if d := f.X.Default; d.UserObj != 7 || d.GroupObj != 5 || d.OtherObj != 0 || len(d.Named) != 1 || d.Named[0] != (meta.Ace{ID: 1, Perm: 7, IsUser: true}) {
			t.Errorf("%s: default %+v", name, d)
		}
	default:
		if len(f.X.Access.Named) != 0 {
			t.Errorf("%s: access %+v", name, f.X.Access)
		}
	}
}

// record makes the tree and lets rsync write its lists.
func record(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range tree {
		p := filepath.Join(src, n.name)
		switch {
		case n.hard != "" && n.hard != n.name:
			must(os.Link(filepath.Join(src, n.hard), p))
			continue
		case n.mode&unix.S_IFMT == unix.S_IFDIR:
			must(os.MkdirAll(p, 0755))
		case n.link != "":
			must(os.Symlink(n.link, p))
		case n.mode&unix.S_IFMT == unix.S_IFREG:
			must(os.WriteFile(p, []byte(n.sum), 0600))
			if n.size > int64(len(n.sum)) {
				must(os.Truncate(p, n.size))
			}
		default:
			must(unix.Mknod(p, n.mode, int(unix.Mkdev(n.major, n.minor))))
		}
		must(os.Lchown(p, int(n.uid), int(n.gid)))
		if n.link == "" {
			must(unix.Chmod(p, n.mode&07777))
		}
	}
	for _, f := range []string{"a", "empty"} {
		must(unix.Setxattr(filepath.Join(src, f), "user.short", []byte("v"), 0))
		must(unix.Setxattr(filepath.Join(src, f), "user.long", []byte(longAttr), 0))
	}
	for _, args := range []string{"-m u:1:r,g:12345:rw a", "-d -m u::7,g::5,o::0,u:1:7 d"} {
		cmd := exec.Command("setfacl", strings.Fields(args)...)
		cmd.Dir = src
		must(cmd.Run())
	}
	times := func() {
		for i := len(tree) - 1; i >= 0; i-- {
			n := tree[i]
			ts := []unix.Timespec{{Sec: n.sec + 60}, {Sec: n.sec, Nsec: int64(n.nsec)}}
			must(unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(src, n.name), ts, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	for i := range recordings {
		rec := &recordings[i]
		for protocol := rec.protocols[0]; protocol <= rec.protocols[1]; protocol++ {
			times()
			out := filepath.Join(dir, "batch")
			args := append(strings.Fields(rec.args), fmt.Sprintf("--protocol=%d", protocol), "--only-write-batch="+out, src+"/", filepath.Join(dir, "dst")+"/")
			cmd := exec.Command("rsync", args...)
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, said)
			}
			data, err := os.ReadFile(out)
			must(err)
			// The list lies at the start; the rest is file data.
			must(os.MkdirAll("testdata", 0755))
			must(os.WriteFile(rec.path(protocol), data[:min(len(data), 4096)], 0644))
		}
	}
}
