package daemon

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/prsync/prsync/internal/meta"
)

// Users finds users and groups by name.
type Users interface {
	// UID returns the id of the user.
	UID(name string) (int, bool)
	// GID returns the id of the group.
	GID(name string) (int, bool)
	// GIDs returns the ids of all groups of the user with that id, the
	// user's own group first.
	GIDs(uid int) ([]int, error)
	// Group returns the name of the group.
	Group(gid int) (string, bool)
}

// systemUsers asks the system's databases, those that /etc/nsswitch.conf names
// besides the files too. Each question reads them anew: a daemon runs for months.
type systemUsers struct{}

func (systemUsers) UID(name string) (int, bool) {
	id, ok := meta.NewSystemNames().UserID(name)
	return int(id), ok
}

func (systemUsers) GID(name string) (int, bool) {
	id, ok := meta.NewSystemNames().GroupID(name)
	return int(id), ok
}

func (systemUsers) GIDs(uid int) ([]int, error) {
	all, ok := meta.NewSystemNames().GroupsOf(uint32(uid))
	if !ok {
		return nil, fmt.Errorf("no user has the id %d", uid)
	}
	gids := make([]int, len(all))
	for i, id := range all {
		gids[i] = int(id)
	}
	return gids, nil
}

func (systemUsers) Group(gid int) (string, bool) {
	return meta.NewSystemNames().GroupName(uint32(gid))
}

// parseID reads a number as an id, or asks find for a name.
func parseID(s string, find func(string) (int, bool)) (int, bool) {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseUint(s, 10, 32)
		return int(n), err == nil
	}
	return find(s)
}

// list splits a list of names at white space and commas; one that starts with
// a comma at commas only, so that names may hold spaces
// (rsync 3.5.0 util1.c:conf_strtok).
func list(s string) []string {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	if rest, ok := strings.CutPrefix(s, ","); ok {
		var out []string
		for _, e := range strings.Split(rest, ",") {
			if e = strings.Trim(e, " \t\n\v\f\r"); e != "" {
				out = append(out, e)
			}
		}
		return out
	}
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) })
}

// zoneName is the name of a network interface, for IPv6 link-local addresses.
func zoneName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return strconv.Itoa(index)
}
