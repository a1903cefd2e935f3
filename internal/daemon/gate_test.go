package daemon

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/prsync/prsync/internal/daemon/conf"
)

func TestGate(t *testing.T) {
	dir := t.TempDir()
	secrets, file := filepath.Join(dir, "secrets"), filepath.Join(dir, "conf")
	os.WriteFile(secrets, []byte("ann:sesame\nbob:hush\n"), 0o600)
	os.WriteFile(file, []byte("log file = "+filepath.Join(dir, "log")+"\n[open]\npath = /srv\nexclude = /secret *.key\n"+
		"[near]\npath = /srv\nhosts allow = 127.0.0.0/8\n"+
		"[named]\npath = /srv\nauth users = ann bob:deny\nsecrets file = "+secrets+"\n"+
		"[home]\npath = /home/%RSYNC_USER_NAME%\n"), 0o644)
	cfg := Config{File: file}
	f, err := LoadConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g := NewGate(cfg, f)
	defer g.Close()
	module := func(name string) *conf.Module {
		m, err := g.Module(name)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, c := range []struct {
		module, addr string
		want         bool
	}{{"open", "192.0.2.1", true}, {"near", "127.0.0.1", true}, {"near", "192.0.2.1", false}, {"near", "192.0.2.1", false}} {
		if got := g.AllowHost(context.Background(), module(c.module), c.addr); got != c.want {
			t.Errorf("AllowHost(%s, %s) = %v", c.module, c.addr, got)
		}
	}
	for _, c := range []struct {
		user, secret string
		want         bool
	}{{"ann", "sesame", true}, {"ann", "hush", false}, {"bob", "hush", false}, {"eve", "", false}, {"", "", false}} {
		if got := g.AllowUser(module("named"), c.user, c.secret); got != c.want {
			t.Errorf("AllowUser(%s, %s) = %v", c.user, c.secret, got)
		}
	}
	if !g.AllowUser(module("open"), "", "") {
		t.Error("a module without auth users refuses a user")
	}
	if _, err := g.Module("home"); err == nil {
		t.Error("a path that depends on the connection passes")
	}
	hidden, err := g.Hidden(module("open"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"secret": true, "sub/secret": false, "a.key": true, "sub/b.key": true, "file": false} {
		if got := hidden(path, false, 0o644, 0, 0); got != want {
			t.Errorf("hidden(%s) = %v", path, got)
		}
	}
	nobody := identity{uid: 65534, set: true, gids: []int{65534}}
	for _, c := range []struct {
		dir            bool
		mode, uid, gid uint32
		want           bool
	}{
		{false, 0o644, 0, 0, true}, {false, 0o640, 0, 0, false}, {false, 0o640, 0, 65534, true}, {false, 0o604, 0, 65534, false},
		{true, 0o755, 0, 0, true}, {true, 0o744, 0, 0, false}, {false, 0o400, 65534, 0, true},
	} {
		if got := nobody.reads(c.dir, c.mode, c.uid, c.gid); got != c.want {
			t.Errorf("reads(%v, %o, %d, %d) = %v", c.dir, c.mode, c.uid, c.gid, got)
		}
	}
}
