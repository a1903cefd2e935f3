package daemon

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/prsync/prsync/internal/daemon/conf"
)

// identity is the user and groups that a module runs as.
type identity struct {
	uid  int
	set  bool  // uid is to be set
	gids []int // the first is the main one; empty leaves groups alone
}

// moduleIdentity finds the user and groups of a module; root that is given
// none becomes nobody. problem is what to tell the client.
func moduleIdentity(m *conf.Module, root bool, users Users) (id identity, problem string, err error) {
	id.uid = os.Getuid()
	name := m.UID
	if name == "" && root {
		name = "nobody"
	}
	if name != "" {
		uid, ok := parseID(name, users.UID)
		if !ok {
			return id, "invalid uid " + name, fmt.Errorf("Invalid uid %s", name)
		}
		id.uid, id.set = uid, true
	}
	groups := list(m.GID)
	if len(groups) == 0 && root {
		groups = []string{"nobody"}
		if _, ok := users.GID("nobody"); !ok {
			groups[0] = "nogroup"
		}
	}
	for i, g := range groups {
		if i == 0 && g == "*" {
			all, err := users.GIDs(id.uid)
			if err != nil {
				return id, "getpwuid failed", fmt.Errorf("the groups of uid %d: %w", id.uid, err)
			}
			id.gids = append(id.gids, all...)
			continue
		}
		gid, ok := parseID(g, users.GID)
		if !ok {
			return id, "invalid gid " + g, fmt.Errorf("Invalid gid %s", g)
		}
		id.gids = append(id.gids, gid)
	}
	return id, "", nil
}

// assume becomes the identity. Nothing of the old one is kept: the calls change
// all threads of the process and the saved ids too.
func (id identity) assume() (problem string, err error) {
	if len(id.gids) > 0 {
		if err := syscall.Setgid(id.gids[0]); err != nil {
			return "setgid failed", fmt.Errorf("rsync: [%s] setgid %d failed: %s", unnamed, id.gids[0], errText(err))
		}
		if err := syscall.Setgroups(id.gids); err != nil {
			return "setgroups failed", fmt.Errorf("rsync: [%s] setgroups failed: %s", unnamed, errText(err))
		}
	}
	if id.set {
		if err := setUser(id.uid); err != nil {
			return "setuid failed", fmt.Errorf("rsync: [%s] setuid %d failed: %s", unnamed, id.uid, errText(err))
		}
	}
	return "", nil
}

var errUserKept = errors.New("the user of the process did not change")

func setUser(uid int) error {
	if err := syscall.Setuid(uid); err != nil {
		return err
	}
	if os.Getuid() != uid || os.Geteuid() != uid {
		return errUserKept
	}
	return nil
}
