package daemon

import (
	"context"
	"crypto/subtle"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/filter"
)

// LoadConfig reads the configuration as the daemon does: through links of
// trusted owners only. Errors carry file and line.
func LoadConfig(cfg Config) (*conf.File, error) { return newDaemon(cfg).load() }

// Gate applies the modules' rules of access to requests that reach them by
// another way than the daemon's protocol: HTTP, the swarm. It is safe for
// concurrent use.
type Gate struct {
	d    *daemon
	file *conf.File
	log  *Log

	mu    sync.Mutex
	hosts map[gateKey]gateAnswer
}

type gateKey struct{ module, addr string }

type gateAnswer struct {
	allowed bool
	until   time.Time
}

const (
	// gateMemory is how long an answer about a host holds: names are looked
	// up for it.
	gateMemory = 30 * time.Second
	maxGate    = 10000
)

// NewGate returns the gate of a configuration as loaded.
func NewGate(cfg Config, file *conf.File) *Gate {
	d := newDaemon(cfg)
	return &Gate{d: d, file: file, log: openLog(d.logTarget(file.Defaults), d.Now, true), hosts: map[gateKey]gateAnswer{}}
}

// Close ends the gate's log.
func (g *Gate) Close() error { return g.log.Close() }

// Module returns a module with the references to the environment resolved. A
// path or rule that depends on the connection cannot be: that is an error.
func (g *Gate) Module(name string) (*conf.Module, error) {
	raw := g.file.Module(name)
	if raw == nil {
		return nil, fmt.Errorf("no module %q in %s", name, g.file.Path)
	}
	m, err := raw.Expand(g.d.lookup)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	for _, s := range []string{m.Path, m.AuthUsers, m.SecretsFile, m.HostsAllow, m.HostsDeny, m.UID, m.GID, m.Filter, m.Include, m.IncludeFrom, m.Exclude, m.ExcludeFrom} {
		if strings.Contains(s, "%RSYNC_") {
			return nil, fmt.Errorf("module %s: %q differs from one rsync connection to the next, so it cannot be published by other ways", name, s)
		}
	}
	return m, nil
}

// AllowHost reports whether hosts allow and hosts deny of the module let the
// address in.
func (g *Gate) AllowHost(ctx context.Context, m *conf.Module, addr string) bool {
	if strings.TrimSpace(m.HostsAllow) == "" && strings.TrimSpace(m.HostsDeny) == "" {
		return true
	}
	key, now := gateKey{m.Name, addr}, g.d.Now()
	g.mu.Lock()
	known, ok := g.hosts[key]
	g.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.allowed
	}
	a := &access{ctx: ctx, resolver: g.d.Resolver, forward: m.ForwardLookup, log: g.log}
	host := undeterminedHost
	if m.ReverseLookup {
		host = a.reverse(addr)
	}
	allowed := a.allowed(m.HostsAllow, m.HostsDeny, addr, &host)
	if ctx.Err() != nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.hosts) >= maxGate {
		g.hosts = map[gateKey]gateAnswer{}
	}
	g.hosts[key] = gateAnswer{allowed, now.Add(gateMemory)}
	return allowed
}

// AllowUser reports whether auth users and the secrets file of the module let
// the user in; without auth users everyone is.
func (g *Gate) AllowUser(m *conf.Module, user, secret string) bool {
	if m.AuthUsers == "" {
		return true
	}
	rule, ok := findAuthRule(m.AuthUsers, user, g.d.Users)
	if !ok || rule.access == accessDeny {
		return false
	}
	c := &connection{d: g.d, log: g.log}
	return c.checkSecret(m, user, rule.group, func(want string) bool {
		return subtle.ConstantTimeCompare([]byte(want), []byte(secret)) == 1
	}) == ""
}

// Hidden returns what tells which paths of the module its clients cannot see:
// those that its filter rules exclude, and those that the user it runs as may
// not read. The function is for one goroutine; the last arguments are those of
// stat(2).
func (g *Gate) Hidden(m *conf.Module) (func(path string, dir bool, mode, uid, gid uint32) bool, error) {
	list, err := filter.ParseDaemon(filter.Config{Who: "server", Dir: "/", Open: openRules, Warn: g.log.Errorf},
		filter.DaemonRules{Filter: m.Filter, IncludeFrom: m.IncludeFrom, Include: m.Include, ExcludeFrom: m.ExcludeFrom, Exclude: m.Exclude})
	if err != nil {
		return nil, fmt.Errorf("filter rules of module %s: %w", m.Name, err)
	}
	root := os.Getuid() == 0
	id, _, err := moduleIdentity(m, root, g.d.Users)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	excluded := excluder(list)
	return func(path string, dir bool, mode, uid, gid uint32) bool {
		return excluded(path, dir) || root && !id.reads(dir, mode, uid, gid)
	}, nil
}

// reads reports whether the identity may read a file, or list and search a
// directory, by its mode alone.
func (id identity) reads(dir bool, mode, uid, gid uint32) bool {
	if !id.set || id.uid == 0 {
		return true
	}
	need := uint32(4)
	if dir {
		need = 5
	}
	if uint32(id.uid) == uid {
		return mode>>6&need == need
	}
	for _, g := range id.gids {
		if uint32(g) == gid {
			return mode>>3&need == need
		}
	}
	return mode&need == need
}
