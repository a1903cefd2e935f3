package meta

import (
	"strings"
	"testing"
)

// fakeNames are the names of a machine: users and groups alike.
type fakeNames map[string]uint32

func (f fakeNames) UserID(name string) (uint32, bool)  { id, ok := f[name]; return id, ok }
func (f fakeNames) GroupID(name string) (uint32, bool) { return f.UserID(name) }
func (f fakeNames) GroupName(id uint32) (string, bool) { return f.UserName(id) }
func (f fakeNames) UserName(id uint32) (string, bool) {
	for name, n := range f {
		if n == id {
			return name, true
		}
	}
	return "", false
}

var here = fakeNames{"root": 0, "ann": 500, "ben": 501, "daemon": 2, "wheel": 10}

func TestIDMap(t *testing.T) {
	type id struct {
		id   uint32
		name string
		want uint32
	}
	for _, tt := range []struct {
		what string
		o    IDMapOptions
		ids  []id
	}{
		{"by name", IDMapOptions{Privilege: Root}, []id{
			{1000, "ann", 500}, {1001, "unknown", 1001}, {1002, "", 1002}, {0, "ann", 0}, {4294967295, "ben", 501}}},
		{"names ignored", IDMapOptions{Privilege: Root, NumericIDs: IgnoreNames}, []id{{1000, "ann", 1000}}},
		{"--usermap by name", IDMapOptions{Privilege: Root, UserMap: "zoe:ann,ben:7,*:daemon"}, []id{
			{9, "zoe", 500}, {9, "ben", 7}, {0, "root", 2}, {1, "", 2}}},
		{"the first rule counts", IDMapOptions{Privilege: Root, UserMap: "a*:1,ann:2"}, []id{{9, "ann", 1}}},
		{"ranges", IDMapOptions{Privilege: Root, UserMap: "0-99:ben,1000:root,4294967295:3"}, []id{
			{0, "root", 501}, {99, "", 501}, {100, "", 100}, {1000, "ann", 0}, {4294967295, "", 3}}},
		{"an id without a name", IDMapOptions{Privilege: Root, UserMap: ":nobody-is-7"}, []id{{5, "", 5}}},
		{"nameless", IDMapOptions{Privilege: Root, UserMap: ":77"}, []id{{5, "", 77}, {6, "ann", 500}}},
		{"patterns", IDMapOptions{Privilege: Root, UserMap: "sys[0-9]?:4"}, []id{{5, "sys1x", 4}, {6, "sysx", 6}}},
	} {
		m, _, err := NewIDMap(here, tt.o)
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		g := tt.o
		g.GroupMap, g.UserMap = g.UserMap, ""
		mg, _, err := NewIDMap(here, g)
		must(t, err)
		for _, i := range tt.ids {
			if got := m.User(i.id, i.name); got != i.want {
				t.Errorf("%s: user %d(%s) is %d here, want %d", tt.what, i.id, i.name, got, i.want)
			}
			if got, again := m.UID(i.id), m.User(i.id, ""); got != i.want || again != i.want {
				t.Errorf("%s: %d is %d and %d afterwards, want %d", tt.what, i.id, got, again, i.want)
			}
			if got, skip := mg.Group(i.id, i.name); got != i.want || skip {
				t.Errorf("%s: group %d(%s) is %d here, skip %v, want %d", tt.what, i.id, i.name, got, skip, i.want)
			}
		}
	}
}

func TestIDMapOrdinaryGroups(t *testing.T) {
	in := func(gid uint32) bool { return gid == 10 }
	m, _, err := NewIDMap(here, IDMapOptions{Privilege: Ordinary, InGroups: in})
	must(t, err)
	if gid, skip := m.Group(99, "wheel"); gid != 10 || skip {
		t.Errorf("our group: %d, skip %v", gid, skip)
	}
	if gid, skip := m.Group(98, "daemon"); gid != 2 || !skip {
		t.Errorf("another group: %d, skip %v", gid, skip)
	}
	if _, skip := m.GID(500); !skip {
		t.Error("an unnamed group that is not ours is set")
	}
	for _, p := range []Privilege{FakeSuper, Root, Super} {
		m, _, err := NewIDMap(here, IDMapOptions{Privilege: p, InGroups: in})
		must(t, err)
		if _, skip := m.GID(500); skip {
			t.Errorf("privilege %d leaves a group alone", p)
		}
	}
}

func TestIDMapID0(t *testing.T) {
	m, _, err := NewIDMap(here, IDMapOptions{Privilege: Root, UserMap: "root:7", NoID0Names: true})
	must(t, err)
	if got := m.UID(0); got != 7 {
		t.Errorf("root of a sender that does not name it is %d", got)
	}
	m, _, err = NewIDMap(here, IDMapOptions{Privilege: Root, UserMap: "root:7", NoID0Names: true, NumericIDs: NumericOnly})
	must(t, err)
	if got := m.UID(0); got != 0 {
		t.Errorf("with --numeric-ids it is %d", got)
	}
}

func TestIDMapErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"ann":           "No colon found in --usermap: ann",
		"a:1,b":         "No colon found in --usermap: b",
		"ann:":          "No name found after colon --usermap: ann:",
		"1x:2":          "Invalid number in --usermap: 1x",
		"1-:2":          "Invalid number in --usermap: 1-",
		"1-2-3:2":       "Invalid number in --usermap: 1-2-3",
		"4294967296:1":  "Invalid ID number: 4294967296",
		"a:99999999999": "Invalid ID number: 99999999999",
	} {
		_, _, err := NewIDMap(here, IDMapOptions{UserMap: spec})
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", spec, err, want)
		}
	}
	_, warnings, err := NewIDMap(here, IDMapOptions{UserMap: "a:nowhere,b:ann", GroupMap: "*:none"})
	want := "Unknown --usermap name on receiver: nowhere\nUnknown --groupmap name on receiver: none"
	if got := strings.Join(warnings, "\n"); err != nil || got != want {
		t.Errorf("warnings %q, %v", got, err)
	}
}

func TestMapACL(t *testing.T) {
	m, _, err := NewIDMap(here, IDMapOptions{Privilege: Root, UserMap: "1:101", GroupMap: "1:201"})
	must(t, err)
	a := ACL{Named: []Ace{{ID: 1, IsUser: true}, {ID: 1}, {ID: 2}}}
	m.MapACL(&a)
	if a.Named[0].ID != 101 || a.Named[1].ID != 201 || a.Named[2].ID != 2 {
		t.Errorf("%+v", a.Named)
	}
}

func FuzzIDMap(f *testing.F) {
	for _, s := range []string{"a:1", "*:ann,1-5:2", "1-:2", ":", "0-0:5", "[a:1"} {
		f.Add(s, uint32(3), "ann")
	}
	f.Fuzz(func(t *testing.T, spec string, id uint32, name string) {
		m, _, err := NewIDMap(here, IDMapOptions{UserMap: spec, Privilege: Root})
		if err != nil {
			return
		}
		if a, b := m.User(id, name), m.UID(id); a != b {
			t.Fatalf("%d(%s) is first %d, then %d", id, name, a, b)
		}
	})
}
