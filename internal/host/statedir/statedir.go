// Package statedir knows where the central host and volunteers keep their
// state, for themselves and for the transfers of the same machine that use it.
//
//	DIR/central/modules.json       what is published, and at which URL
//	DIR/central/index/MODULE       index of a module
//	DIR/central/tracker            snapshots of the tracker
//	DIR/central/control.sock       where "prsync publish" asks
//	DIR/volunteer/modules.json     what is mirrored, and from which host
//	DIR/volunteer/index/MODULE     what of it is held, and its journal
//	DIR/volunteer/engine.sock      the swarm engine, for transfers
//	DIR/volunteer/announced.json   what the central host knows already
//
// It is imported by every run of prsync and stays small.
package statedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prsync/prsync/internal/fsroot"
)

// Role is one of the two services.
type Role string

// The services.
const (
	Central   Role = "central"
	Volunteer Role = "volunteer"
)

// System is the state directory of services that run as root.
const System = "/var/lib/prsync"

// Env is the variable that names the state directory of services without
// "state dir", and where transfers look first.
const Env = "PRSYNC_STATE_DIR"

// Default returns the state directory of a service without "state dir": $Env,
// else System for root, else below $XDG_STATE_HOME or the home directory.
func Default(euid int, getenv func(string) string) (string, error) {
	if d := getenv(Env); filepath.IsAbs(d) {
		return filepath.Clean(d), nil
	}
	if euid == 0 {
		return System, nil
	}
	if d := getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "prsync"), nil
	}
	if d := getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".local/state/prsync"), nil
	}
	return "", errors.New(`there is no place for state: set "state dir" in the configuration, or $HOME`)
}

// Candidates returns where a transfer looks for the services of its machine:
// $Env or the user's own state directory, then the system's.
func Candidates(euid int, getenv func(string) string) []string {
	dirs := []string{System}
	if d, err := Default(euid, getenv); err == nil && d != System {
		dirs = []string{d, System}
	}
	return dirs
}

// Index is the state directory of a module's index.
func Index(dir string, role Role, module string) string {
	return filepath.Join(dir, string(role), "index", escape(module))
}

// escape makes a file name of a module's name.
func escape(module string) string {
	var b strings.Builder
	for i := 0; i < len(module); i++ {
		c := module[i]
		if c == '/' || c == '%' || c < ' ' || c == '.' && i == 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Tracker is where the tracker's snapshots are.
func Tracker(dir string) string { return filepath.Join(dir, string(Central), "tracker") }

// Control is the socket of a running central host.
func Control(dir string) string { return filepath.Join(dir, string(Central), "control.sock") }

// Engine is the socket of a running volunteer's swarm engine.
func Engine(dir string) string { return filepath.Join(dir, string(Volunteer), "engine.sock") }

// Announced is where a volunteer keeps what its host acknowledged.
func Announced(dir string) string { return filepath.Join(dir, string(Volunteer), "announced.json") }

// Registry is what a running service tells other processes.
type Registry struct {
	// URL is the central host's: the service's own, or the one a volunteer
	// announces to. Without trailing slash.
	URL     string   `json:"url"`
	Modules []Module `json:"modules"`
}

// Module is one published or mirrored module.
type Module struct {
	Name string `json:"name"`
	Path string `json:"path"` // absolute, symlinks resolved
	// Index is the state directory of its index.
	Index string `json:"index"`
	// Restricted is set when not everybody may read the module.
	Restricted bool `json:"restricted,omitempty"`
}

func registry(dir string, role Role) string { return filepath.Join(dir, string(role), "modules.json") }

// Write replaces the registry of a service.
func Write(dir string, role Role, r *Registry) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return fsroot.ReplacePath(registry(dir, role), append(b, '\n'), 0o644)
}

// Read returns the registry of a service; the error wraps fs.ErrNotExist when
// none has run with the directory.
func Read(dir string, role Role) (*Registry, error) {
	b, err := os.ReadFile(registry(dir, role))
	if err != nil {
		return nil, err
	}
	var r Registry
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", registry(dir, role), err)
	}
	return &r, nil
}

// Find returns the module that an absolute path, symlinks resolved, lies in,
// and the path relative to it ("" for its root). Of nested modules the
// innermost is found.
func (r *Registry) Find(path string) (m Module, rel string, ok bool) {
	for _, c := range r.Modules {
		if len(c.Path) < len(m.Path) {
			continue
		}
		if path == c.Path {
			m, rel, ok = c, "", true
		} else if rest, in := strings.CutPrefix(path, strings.TrimSuffix(c.Path, "/")+"/"); in {
			m, rel, ok = c, rest, true
		}
	}
	return m, rel, ok
}

// Module returns the module of that name.
func (r *Registry) Module(name string) (Module, bool) {
	for _, m := range r.Modules {
		if m.Name == name {
			return m, true
		}
	}
	return Module{}, false
}
