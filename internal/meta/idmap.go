package meta

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/prsync/prsync/internal/filter/wildmatch"
)

// NumericIDs is how names take part in the mapping of ids.
type NumericIDs int8

// Names are used; or only numbers, since the other end sends no names; or names
// come and are ignored (rsync 3.5.0 options.c: numeric_ids).
const (
	UseNames    NumericIDs = 0
	NumericOnly NumericIDs = 1
	IgnoreNames NumericIDs = -1
)

const (
	digits      = "0123456789"
	wildLetters = "*[?"
)

// IDMapOptions make an IDMap.
type IDMapOptions struct {
	UserMap, GroupMap string // --usermap, --groupmap: FROM:TO,…, or ""
	NumericIDs        NumericIDs
	Privilege         Privilege
	// NoID0Names is set where the sender does not send the names of id 0, which
	// are then taken to be root.
	NoID0Names bool
	// InGroups reports whether the process is in a group; nil asks the system.
	InGroups func(gid uint32) bool
}

// IDMap turns the ids of a sender into ids here, as the receiver's lists of
// rsync 3.5.0 uidlist.c do. It is for one goroutine at a time.
type IDMap struct {
	users, groups idSide
	ignoreNames   bool
}

type idSide struct {
	rules  []idRule
	known  map[uint32]mappedID
	lookup func(name string) (uint32, bool)
	// outside reports that a group may not be set.
	outside func(gid uint32) bool
}

type mappedID struct {
	id   uint32
	skip bool
}

// idRule is one FROM:TO.
type idRule struct {
	name    string // FROM is a name, or a pattern
	pattern bool
	lo, hi  uint32 // FROM is a range of ids, if name is ""
	to      uint32
}

// NewIDMap parses the maps. warnings are to be printed: names that do not exist
// here. The error is one of usage.
func NewIDMap(names NameSource, o IDMapOptions) (m *IDMap, warnings []string, err error) {
	m = &IDMap{ignoreNames: o.NumericIDs == IgnoreNames}
	inGroups := o.InGroups
	if inGroups == nil {
		inGroups = ownGroups()
	}
	m.users = idSide{known: make(map[uint32]mappedID), lookup: names.UserID}
	m.groups = idSide{known: make(map[uint32]mappedID), lookup: names.GroupID}
	if o.Privilege == Ordinary {
		m.groups.outside = func(gid uint32) bool { return !inGroups(gid) }
	}
	for _, side := range []struct {
		s          *idSide
		spec, what string
	}{{&m.users, o.UserMap, "user"}, {&m.groups, o.GroupMap, "group"}} {
		if side.spec == "" {
			continue
		}
		warn, err := side.s.parse(side.spec, side.what)
		if err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, warn...)
		if o.NoID0Names {
			name := "root"
			if o.NumericIDs != UseNames {
				name = ""
			}
			side.s.add(0, name)
		}
	}
	return m, warnings, nil
}

func (s *idSide) parse(spec, what string) (warnings []string, err error) {
	for item := range strings.SplitSeq(spec, ",") {
		from, to, ok := strings.Cut(item, ":")
		if !ok {
			return nil, fmt.Errorf("No colon found in --%smap: %s", what, item)
		}
		if to == "" {
			return nil, fmt.Errorf("No name found after colon --%smap: %s", what, item)
		}
		rule, err := parseFrom(from, what)
		if err != nil {
			return nil, err
		}
		if strings.Trim(to, digits) == "" {
			if rule.to, err = parseID(to); err != nil {
				return nil, err
			}
		} else if rule.to, ok = s.lookup(to); !ok {
			warnings = append(warnings, fmt.Sprintf("Unknown --%smap name on receiver: %s", what, to))
			continue
		}
		s.rules = append(s.rules, rule)
	}
	return warnings, nil
}

func parseFrom(from, what string) (rule idRule, err error) {
	if from == "" || from[0] < '0' || from[0] > '9' {
		rule.name, rule.pattern = from, strings.ContainsAny(from, wildLetters)
		if from == "" {
			rule.pattern = true // matches an id without a name
		}
		return rule, nil
	}
	lo, hi, isRange := strings.Cut(from, "-")
	if strings.Trim(from, digits+"-") != "" || isRange && (hi == "" || strings.Contains(hi, "-")) {
		return rule, fmt.Errorf("Invalid number in --%smap: %s", what, from)
	}
	if rule.lo, err = parseID(lo); err != nil {
		return rule, err
	}
	rule.hi = rule.lo
	if isRange {
		// A range up to 0 is the single id before it.
		if n, err := parseID(hi); err != nil {
			return rule, err
		} else if n != 0 {
			rule.hi = n
		}
	}
	return rule, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > math.MaxUint32 {
		return 0, fmt.Errorf("Invalid ID number: %s", s)
	}
	return uint32(n), nil
}

func (r *idRule) matches(id uint32, name string) bool {
	switch {
	case r.pattern:
		return wildmatch.Match(r.name, name)
	case r.name != "":
		return r.name == name
	}
	return r.lo <= id && id <= r.hi
}

// add maps an id whose name, or "", the sender told.
func (s *idSide) add(id uint32, name string) mappedID {
	m := mappedID{id: id}
	found := false
	for i := range s.rules {
		if s.rules[i].matches(id, name) {
			m.id, found = s.rules[i].to, true
			break
		}
	}
	if !found && name != "" && id != 0 {
		if local, ok := s.lookup(name); ok {
			m.id = local
		}
	}
	m.skip = s.outside != nil && s.outside(m.id)
	s.known[id] = m
	return m
}

func (s *idSide) match(id uint32) mappedID {
	if m, ok := s.known[id]; ok {
		return m
	}
	return s.add(id, "")
}

// User notes that the sender calls uid by that name and returns the id here
// (rsync 3.5.0 uidlist.c:recv_user_name). Without a name it is UID: what was
// noted before stays.
func (m *IDMap) User(uid uint32, name string) uint32 {
	if name == "" || m.ignoreNames {
		return m.UID(uid)
	}
	return m.users.add(uid, name).id
}

// Group is User for a group. skip says that the process is not in the group, so
// that an ordinary user leaves the group of a file alone.
func (m *IDMap) Group(gid uint32, name string) (id uint32, skip bool) {
	if name == "" || m.ignoreNames {
		return m.GID(gid)
	}
	g := m.groups.add(gid, name)
	return g.id, g.skip
}

// UID returns the id here of a sender's user (rsync 3.5.0 uidlist.c:match_uid).
func (m *IDMap) UID(uid uint32) uint32 { return m.users.match(uid).id }

// GID returns the id here of a sender's group, and whether to leave it alone.
func (m *IDMap) GID(gid uint32) (id uint32, skip bool) {
	g := m.groups.match(gid)
	return g.id, g.skip
}

// MapACL puts local ids in the place of the sender's in a received ACL.
func (m *IDMap) MapACL(a *ACL) {
	for i := range a.Named {
		if e := &a.Named[i]; e.IsUser {
			e.ID = m.UID(e.ID)
		} else {
			e.ID, _ = m.GID(e.ID)
		}
	}
}

// ownGroups looks the groups of the process up once.
func ownGroups() func(uint32) bool {
	set := map[uint32]bool{uint32(os.Getegid()): true}
	if list, err := os.Getgroups(); err == nil {
		for _, gid := range list {
			set[uint32(gid)] = true
		}
	}
	return func(gid uint32) bool { return set[gid] }
}
