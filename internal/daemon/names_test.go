package daemon

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestSystemUsers: users come from the files and, through getent, from
// whatever else the system asks.
func TestSystemUsers(t *testing.T) {
	var u Users = systemUsers{}
	if id, ok := u.UID("root"); !ok || id != 0 {
		t.Errorf("root is %d, %v", id, ok)
	}
	if id, ok := u.GID("root"); !ok || id != 0 {
		t.Errorf("group root is %d, %v", id, ok)
	}
	if name, ok := u.Group(0); !ok || name != "root" {
		t.Errorf("group 0 is %q, %v", name, ok)
	}
	if gids, err := u.GIDs(0); err != nil || len(gids) == 0 || gids[0] != 0 {
		t.Errorf("groups of root: %v, %v", gids, err)
	}
	if id, ok := u.UID("no-such-user"); ok {
		t.Errorf("no-such-user is %d", id)
	}
	if gids, err := u.GIDs(4_000_000_000); err == nil {
		t.Errorf("groups of nobody: %v", gids)
	}
}

// TestShellAddress holds what a remote shell tells of the client: nothing is not
// the address of whoever holds the other end of standard input.
func TestShellAddress(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want string
	}{
		{nil, "0.0.0.0"},
		{[]string{"SSH_CONNECTION=10.1.2.3 5 6 7"}, "10.1.2.3"},
		{[]string{"REMOTE_HOST=::1", "SSH_CLIENT=10.1.2.3 4 5"}, "::1"},
		{[]string{"REMOTE_HOST=localhost", "SSH_CLIENT=10.1.2.3 4 5"}, ""},
	} {
		if got := shellAddr(func(name string) (string, bool) { return lookup(tc.env, name) }); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.env, got, tc.want)
		}
	}
}

// TestDirectoryUsers needs a file system where nsswitch.conf can be replaced, so
// it plays in a mount namespace: a user that only getent knows.
func TestDirectoryUsers(t *testing.T) {
	const role = "PRSYNC_TEST_DIRECTORY_USERS"
	if os.Getenv(role) != "" {
		u := systemUsers{}
		id, ok := u.UID("mirror-in-ldap")
		gids, err := u.GIDs(id)
		gid, gok := u.GID("mirrors-in-ldap")
		if !ok || id != 61001 || err != nil || !slices.Contains(gids, 61002) || !gok || gid != 61002 {
			t.Errorf("%d %v, groups %v %v, %d %v", id, ok, gids, err, gid, gok)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for a mount namespace")
	}
	if _, err := os.Stat("/etc/nsswitch.conf"); err != nil {
		t.Skip("needs a file to mount over: ", err)
	}
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("needs a mount namespace: %v %s", err, out)
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf := write("nsswitch.conf", "passwd: files ldap\ngroup: files ldap\n", 0o644)
	write("getent", `#!/bin/sh
case "$1 $2" in
"passwd mirror-in-ldap"|"passwd 61001") echo mirror-in-ldap:x:61001:61002::/:/bin/sh;;
"group mirrors-in-ldap"|"group 61002") echo mirrors-in-ldap:x:61002:;;
"initgroups mirror-in-ldap") echo mirror-in-ldap 61002;;
*) exit 2;;
esac
`, 0o755)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", "sh", "-c", "mount --bind "+conf+" /etc/nsswitch.conf && exec "+self+" -test.run=TestDirectoryUsers")
	cmd.Env = append(os.Environ(), role+"=1", "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
