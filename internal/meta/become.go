package meta

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Become makes the process, all its threads, run as USER or USER:GROUP
// (--copy-as). Without a group it gets those of the user. Names may be numbers.
// There is no way back. rsync 3.5.0 main.c:become_copy_as_user.
func Become(names *SystemNames, spec string) error {
	user, group, hasGroup := strings.Cut(spec, ":")
	uid, ok := idOf(user, names.UserID)
	if !ok {
		return fmt.Errorf("Invalid copy-as user: %s", user)
	}
	var gids []int
	if hasGroup {
		gid, ok := idOf(group, names.GroupID)
		if !ok {
			return fmt.Errorf("Invalid copy-as group: %s", group)
		}
		gids = []int{int(gid)}
	} else {
		all, ok := names.GroupsOf(uid)
		if !ok || len(all) == 0 {
			return fmt.Errorf("getpwuid failed: uid %d has no entry in the user database; name a group too (--copy-as=%s:GROUP)", uid, user)
		}
		for _, g := range all {
			gids = append(gids, int(g))
		}
	}
	if err := syscall.Setgid(gids[0]); err != nil {
		return fmt.Errorf("setgid failed: %w", err)
	}
	if err := syscall.Setgroups(gids); err != nil {
		return fmt.Errorf("setgroups failed: %w", err)
	}
	if err := syscall.Setuid(int(uid)); err != nil {
		return fmt.Errorf("setuid failed: %w", err)
	}
	return nil
}

// idOf resolves a name or number.
func idOf(name string, lookup func(string) (uint32, bool)) (uint32, bool) {
	if name == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), true
	}
	return lookup(name)
}
