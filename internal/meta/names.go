package meta

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// NameSource tells names and ids of users and groups. A daemon's "name
// converter" is one, so is the system.
type NameSource interface {
	UserName(uid uint32) (name string, ok bool)
	GroupName(gid uint32) (name string, ok bool)
	UserID(name string) (uid uint32, ok bool)
	GroupID(name string) (gid uint32, ok bool)
}

// SystemNames looks names up in /etc/passwd and /etc/group, then, if
// /etc/nsswitch.conf names a source besides those files, with getent(1). It
// keeps every answer, also that there is none. It may be used by many goroutines.
type SystemNames struct {
	etc    string // "/etc"
	getent func(database, key string) (line string, ok bool)

	load   sync.Once
	users  nameTable
	groups nameTable
	home   map[string]uint32   // user name to primary group
	member map[string][]uint32 // user name to groups that list it
}

// NewSystemNames returns the names of this machine. Nothing is read before the
// first look-up, or Load.
func NewSystemNames() *SystemNames {
	return &SystemNames{etc: "/etc", getent: runGetent}
}

// Load reads the files now: a process that will chroot calls it before.
func (s *SystemNames) Load() { s.load.Do(s.read) }

// nameTable maps both ways. An absent name is "", an absent id is noID.
type nameTable struct {
	mu     sync.Mutex
	byID   map[uint32]string
	byName map[string]int64
	ask    func(key string) (line string, ok bool) // nil if the files are all there is
}

const noID = int64(-1)

// maxNameLine bounds a line of passwd or group: groups list their members.
const maxNameLine = 1 << 20

func (s *SystemNames) read() {
	s.home, s.member = make(map[string]uint32), make(map[string][]uint32)
	s.users.init()
	s.groups.init()
	eachLine(s.etc+"/passwd", func(f []string) {
		if _, ok := s.users.add(f); ok && len(f) > 3 {
			if gid, err := strconv.ParseUint(f[3], 10, 32); err == nil {
				if _, dup := s.home[f[0]]; !dup {
					s.home[f[0]] = uint32(gid)
				}
			}
		}
	})
	eachLine(s.etc+"/group", func(f []string) {
		gid, ok := s.groups.add(f)
		if !ok || len(f) < 4 {
			return
		}
		for name := range strings.SplitSeq(f[3], ",") {
			if name != "" {
				s.member[name] = append(s.member[name], gid)
			}
		}
	})
	sources := nsswitch(s.etc + "/nsswitch.conf")
	if s.getent == nil {
		return
	}
	if sources["passwd"] {
		s.users.ask = func(key string) (string, bool) { return s.getent("passwd", key) }
	}
	if sources["group"] {
		s.groups.ask = func(key string) (string, bool) { return s.getent("group", key) }
	}
}

// eachLine calls f with the fields of every line; a missing file has none.
func eachLine(path string, f func(fields []string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	sc := bufio.NewScanner(file)
	sc.Buffer(make([]byte, 0, 4096), maxNameLine)
	for sc.Scan() {
		if line := strings.TrimSpace(sc.Text()); line != "" && line[0] != '#' && line[0] != '+' && line[0] != '-' {
			f(strings.Split(line, ":"))
		}
	}
}

// nsswitch reports which databases have a source besides the files.
func nsswitch(path string) map[string]bool {
	more := make(map[string]bool)
	file, err := os.Open(path)
	if err != nil {
		return more
	}
	defer file.Close()
	b, _ := io.ReadAll(io.LimitReader(file, maxNameLine))
	for line := range strings.SplitSeq(string(b), "\n") {
		line, _, _ = strings.Cut(line, "#")
		db, list, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		for _, src := range strings.Fields(list) {
			if src != "files" && src[0] != '[' && src[len(src)-1] != ']' {
				more[strings.TrimSpace(db)] = true
			}
		}
	}
	return more
}

func (t *nameTable) init() {
	t.byID, t.byName = make(map[uint32]string), make(map[string]int64)
}

// add takes the fields NAME:PASSWORD:ID:…; the first line of a name or id counts.
func (t *nameTable) add(f []string) (id uint32, ok bool) {
	if len(f) < 3 || f[0] == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(f[2], 10, 32)
	if err != nil {
		return 0, false
	}
	id = uint32(n)
	if have, dup := t.byName[f[0]]; !dup || have == noID {
		t.byName[f[0]] = int64(id)
	}
	if have, dup := t.byID[id]; !dup || have == "" {
		t.byID[id] = f[0]
	}
	return id, true
}

func (t *nameTable) name(id uint32) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if name, known := t.byID[id]; known || t.ask == nil {
		return name, name != ""
	}
	t.byID[id] = ""
	if line, ok := t.ask(strconv.FormatUint(uint64(id), 10)); ok {
		t.add(strings.Split(line, ":"))
	}
	return t.byID[id], t.byID[id] != ""
}

func (t *nameTable) id(name string) (uint32, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, known := t.byName[name]
	if !known && t.ask != nil && len(t.byName) < maxNames && askable(name) {
		t.byName[name] = noID
		if line, ok := t.ask(name); ok {
			t.add(strings.Split(line, ":"))
		}
		id, known = t.byName[name]
	}
	return uint32(id), known && id != noID
}

// maxNames bounds the look-ups that a peer can cause by inventing names.
const maxNames = 1 << 20

// askable refuses names that getent would take for an id, an option, or several.
func askable(name string) bool {
	if name == "" || len(name) > 255 || name[0] == '-' || strings.Trim(name, "0123456789") == "" {
		return false
	}
	for i := 0; i < len(name); i++ {
		if name[i] <= ' ' || name[i] == ':' || name[i] == ',' || name[i] == 0x7f {
			return false
		}
	}
	return true
}

// UserName returns the name of a user.
func (s *SystemNames) UserName(uid uint32) (string, bool) { s.Load(); return s.users.name(uid) }

// GroupName returns the name of a group.
func (s *SystemNames) GroupName(gid uint32) (string, bool) { s.Load(); return s.groups.name(gid) }

// UserID returns the id of a user.
func (s *SystemNames) UserID(name string) (uint32, bool) { s.Load(); return s.users.id(name) }

// GroupID returns the id of a group.
func (s *SystemNames) GroupID(name string) (uint32, bool) { s.Load(); return s.groups.id(name) }

// GroupsOf returns all groups of a user, the primary one first
// (rsync 3.5.0 uidlist.c:getallgroups): a daemon's "gid = *".
func (s *SystemNames) GroupsOf(uid uint32) (gids []uint32, ok bool) {
	name, ok := s.UserName(uid)
	if !ok {
		return nil, false
	}
	primary, ok := s.home[name]
	if !ok {
		if s.users.ask == nil || !askable(name) {
			return nil, false
		}
		line, _ := s.users.ask(name)
		f := strings.Split(line, ":")
		if len(f) < 4 {
			return nil, false
		}
		n, err := strconv.ParseUint(f[3], 10, 32)
		if err != nil {
			return nil, false
		}
		primary = uint32(n)
	}
	gids = append(gids, primary)
	more := s.member[name]
	if s.groups.ask != nil && askable(name) {
		if line, found := s.getent("initgroups", name); found {
			more = slices.Clone(more)
			_, list, _ := strings.Cut(line, " ")
			for word := range strings.FieldsSeq(list) {
				if n, err := strconv.ParseUint(word, 10, 32); err == nil {
					more = append(more, uint32(n))
				}
			}
		}
	}
	for _, gid := range more {
		if !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	return gids, true
}

// getentTimeout bounds one question to a directory service.
const getentTimeout = 20 * time.Second

func runGetent(database, key string) (string, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), getentTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "getent", database, key).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return line, err == nil && line != ""
}
