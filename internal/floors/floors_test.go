// Package floors keeps the house in order: imports only go down, and each
// library is used only where the design says. docs/design.md has the floors.
package floors

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/progtest"
)

const module = "github.com/prsync/prsync/"

// floors lists the rooms from the ground up. A package may import those of
// lower floors, and its own room.
var floors = [][]string{
	// F0
	{"internal/exitcode", "internal/fsroot", "internal/charset", "internal/locale", "internal/version", "internal/rsyncproto/wire",
		"internal/delta/checksum", "internal/delta/compress", "internal/filter/wildmatch", "internal/netlab", "internal/progtest"},
	// F1
	{"internal/content", "internal/filter", "internal/meta", "internal/report", "internal/delta"},
	{"internal/rsyncproto", "internal/rsyncproto/flist"},
	// F2: never each other
	{"internal/transfer", "internal/p2p", "internal/tracker", "internal/index"},
	// F3
	{"internal/options", "internal/daemon/conf"},
	{"internal/session", "internal/client", "internal/daemon"},
	{"internal/host"},
	// F4, F5
	{"internal/app"},
	{"cmd", "scripts"},
}

// libraries are used by these rooms alone.
var libraries = map[string][]string{
	"github.com/urfave/cli":            {"internal/app"},
	"github.com/anacrolix/torrent":     {"internal/p2p", "internal/content", "internal/tracker"},
	"github.com/schollz/progressbar":   {"internal/report"},
	"github.com/klauspost/compress":    {"internal/delta/compress"},
	"github.com/pierrec/lz4":           {"internal/delta/compress"},
	"golang.org/x/crypto/md4":          {"internal/delta/checksum"},
	"github.com/redis/go-redis":        {"internal/tracker/store"},
	"github.com/prometheus":            {"internal/tracker", "internal/host"},
	"golang.org/x/text":                {"internal/charset"},
	"github.com/anacrolix/torrent/dht": {},
}

// room returns the longest room that holds a package, and its floor.
func room(pkg string) (name string, floor int) {
	floor = -1
	for i, rooms := range floors {
		for _, r := range rooms {
			if (pkg == r || strings.HasPrefix(pkg, r+"/")) && len(r) > len(name) {
				name, floor = r, i
			}
		}
	}
	return name, floor
}

func TestImportsGoDown(t *testing.T) {
	if err := progtest.DependOnSources(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		if pkg == "internal/floors" || pkg == "internal/interop" {
			continue
		}
		seen++
		from, floor := room(pkg)
		if floor < 0 {
			t.Errorf("%s belongs to no room: add it to the floors here and in docs/design.md", pkg)
			continue
		}
		for _, imp := range words[1:] {
			checkLibrary(t, pkg, imp)
			if !strings.HasPrefix(imp, module) {
				continue
			}
			imp = strings.TrimPrefix(imp, module)
			to, below := room(imp)
			if to != from && below >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports only go down", pkg, floor, imp, below)
			}
		}
	}
	if seen < 20 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}

func checkLibrary(t *testing.T, pkg, imp string) {
	for lib, rooms := range libraries {
		if imp != lib && !strings.HasPrefix(imp, lib+"/") {
			continue
		}
		ok := false
		for _, r := range rooms {
			ok = ok || pkg == r || strings.HasPrefix(pkg, r+"/")
		}
		if !ok {
			t.Errorf("%s imports %s, which is confined to %v", pkg, imp, rooms)
		}
	}
}
