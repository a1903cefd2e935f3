package meta

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func etc(t *testing.T, nsswitch string, getent func(db, key string) (string, bool)) *SystemNames {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"passwd":        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\nann2:x:1000:100::/:\nbad\nworse:x:no:1::/:\n# ben:x:7:7::/:\n+nis::::::\nmax:x:4294967295:5::/:\n",
		"group":         "root:x:0:\nusers:x:100:\nwheel:x:10:ann,ben\naudio:x:11:ann\n",
		"nsswitch.conf": nsswitch,
	} {
		must(t, os.WriteFile(dir+"/"+name, []byte(content), 0644))
	}
	return &SystemNames{etc: dir, getent: getent}
}

func TestSystemNames(t *testing.T) {
	asked := 0
	s := etc(t, "passwd: files # sss\ngroup: files\n", func(db, key string) (string, bool) { asked++; return "", false })
	for name, want := range map[string]int64{"root": 0, "ann": 1000, "ann2": 1000, "max": 4294967295, "bad": -1, "worse": -1, "ben": -1, "+nis": -1, "": -1, "1000": -1} {
		if id, ok := s.UserID(name); ok != (want >= 0) || ok && id != uint32(want) {
			t.Errorf("UserID(%q) = %d, %v", name, id, ok)
		}
	}
	if name, ok := s.UserName(1000); name != "ann" || !ok {
		t.Errorf("UserName(1000) = %q: the first line counts", name)
	}
	if name, ok := s.GroupName(10); name != "wheel" || !ok {
		t.Errorf("GroupName(10) = %q", name)
	}
	if _, ok := s.GroupName(12345); ok {
		t.Error("an unknown group has a name")
	}
	if gids, ok := s.GroupsOf(1000); !ok || !slices.Equal(gids, []uint32{100, 10, 11}) {
		t.Errorf("GroupsOf(1000) = %v, %v", gids, ok)
	}
	if _, ok := s.GroupsOf(77); ok {
		t.Error("an unknown user has groups")
	}
	if asked != 0 {
		t.Errorf("getent was asked %d times, though the files are all there is", asked)
	}
}

func TestSystemNamesBeyondFiles(t *testing.T) {
	var asked []string
	s := etc(t, "passwd: files [NOTFOUND=continue] sss\ngroup: files systemd\n", func(db, key string) (string, bool) {
		asked = append(asked, db+" "+key)
		line, ok := map[string]string{
			"passwd zoe":     "zoe:*:5000:5001:Zoe:/home/zoe:/bin/sh",
			"passwd 5000":    "zoe:*:5000:5001:Zoe:/home/zoe:/bin/sh",
			"group 5001":     "staff:*:5001:",
			"initgroups zoe": "zoe                   5001 5002 5003",
		}[db+" "+key]
		return line, ok
	})
	for range 3 {
		if id, ok := s.UserID("zoe"); id != 5000 || !ok {
			t.Errorf("UserID(zoe) = %d, %v", id, ok)
		}
		if _, ok := s.UserID("nobody-at-all"); ok {
			t.Error("an unknown user has an id")
		}
		if name, ok := s.GroupName(5001); name != "staff" || !ok {
			t.Errorf("GroupName(5001) = %q, %v", name, ok)
		}
		if name, ok := s.UserName(0); name != "root" || !ok {
			t.Errorf("UserName(0) = %q", name)
		}
	}
	if gids, ok := s.GroupsOf(5000); !ok || !slices.Equal(gids, []uint32{5001, 5002, 5003}) {
		t.Errorf("GroupsOf(5000) = %v, %v", gids, ok)
	}
	// Names that would mean something else to getent are not asked for.
	for _, name := range []string{"", "-s", "5000", "a b", "a\nb", "a:b", "x,y", strings.Repeat("n", 256), "del\x7f"} {
		if _, ok := s.UserID(name); ok {
			t.Errorf("UserID(%q) found something", name)
		}
	}
	slices.Sort(asked)
	want := []string{"group 5001", "initgroups zoe", "passwd nobody-at-all", "passwd zoe", "passwd zoe"}
	if !cmp.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestSystemNamesHere(t *testing.T) {
	s := NewSystemNames()
	if name, ok := s.UserName(0); name != "root" || !ok {
		t.Errorf("uid 0 is %q", name)
	}
	if gids, ok := s.GroupsOf(0); !ok || gids[0] != 0 {
		t.Errorf("root is in %v", gids)
	}
}
