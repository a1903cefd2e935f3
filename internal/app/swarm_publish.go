package app

import (
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/index"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/session"
)

// publication is a module that the central host of this machine publishes, as
// a process that sends from it reads it.
type publication struct {
	url    string
	state  string // the host's state directory
	module statedir.Module
	reader *index.Reader
}

// openPublication looks the central hosts of this machine up in their state
// directories, and opens the index of the first that find knows. It returns
// nil when nothing is published.
func openPublication(dirs []string, find func(*statedir.Registry) (statedir.Module, bool)) *publication {
	for _, dir := range dirs {
		reg, err := statedir.Read(dir, statedir.Central)
		if err != nil || reg.URL == "" {
			continue
		}
		m, ok := find(reg)
		if !ok {
			continue
		}
		r, err := index.OpenReader(m.Index)
		if err != nil {
			continue
		}
		if r.Publishes() {
			return &publication{url: reg.URL, state: dir, module: m, reader: r}
		}
		r.Close()
	}
	return nil
}

// publisher returns what a session tells of the publication. rel maps a
// directory of the session to one of the module, "" for its top.
func (p *publication) publisher(rel func(dir string) (string, bool)) *session.Publisher {
	finder := p.reader.Finder()
	lastDir, lastRel, lastOK := "", "", false
	return &session.Publisher{
		Offer: content.Offer{URL: p.url, Module: p.module.Name, Generation: p.reader.Generation()},
		ContentID: func(dir string, f *flist.File) *[32]byte {
			if dir != lastDir {
				lastDir = dir
				lastRel, lastOK = rel(dir)
			}
			if !lastOK || f.Size == 0 {
				return nil
			}
			e, err := finder.Lookup(strings.TrimPrefix(path.Join("/", lastRel, f.Name()), "/"))
			if err != nil || !e.Retired.IsZero() || e.Size != f.Size || e.Mtime != f.Mtime*1e9+int64(f.Nsec) {
				return nil
			}
			return (*[32]byte)(&e.ID)
		},
	}
}

// takesOffer reports whether a client said that it understands an offer.
func takesOffer(o *options.Options) bool {
	return o.Sender && strings.ContainsRune(o.CapabilityString, rsyncproto.OfferLetter)
}

// stateDirVariable names the state directory of this machine's services where
// neither the configuration nor the default does.
const stateDirVariable = "PRSYNC_STATE_DIR"

// hostConfigs are where the services of this machine are configured.
var hostConfigs = []string{"/etc/prsyncd.conf", defaultConfig}

// stateDirs are where the services of this machine may keep their state. A
// daemon passes what its own configuration says; others look for one.
func (p *program) stateDirs(configured string) []string {
	if configured != "" {
		return []string{configured}
	}
	if d := p.getenv(stateDirVariable); d != "" {
		return []string{d}
	}
	var dirs []string
	for _, file := range hostConfigs {
		if f, err := conf.Load(file, conf.Options{}); err == nil {
			if d := f.Global.StateDir; d != "" {
				dirs = append(dirs, d)
			}
			break
		}
	}
	return append(dirs, statedir.Candidates(os.Geteuid(), p.getenv)...)
}

// publishedModule opens what is published of a daemon's module. It runs before
// the process goes into the module, from where the state cannot be reached.
func (p *program) publishedModule(s *daemon.Session) *publication {
	if !s.Module.SwarmEnabled() {
		return nil
	}
	full, err := filepath.EvalSymlinks(s.FullPath)
	if err != nil {
		return nil
	}
	pub := openPublication(p.stateDirs(s.Global.StateDir), func(r *statedir.Registry) (statedir.Module, bool) {
		m, ok := r.Module(s.Module.Name)
		return m, ok && m.Path == full
	})
	if pub != nil && s.User != "" {
		pub.admit(s.Addr)
	}
	return pub
}

// admit gives a client that has proved who it is a token for the host's HTTP
// side. Where that cannot be, the host will refuse it.
func (pub *publication) admit(client string) {
	key, err := statedir.TokenKey(pub.state)
	if err != nil {
		return
	}
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return
	}
	u, err := url.Parse(pub.url)
	if err != nil {
		return
	}
	u.User = url.UserPassword(content.TokenUser, content.NewToken(key, pub.module.Name, addr, time.Now().Add(content.TokenTime)))
	pub.url = u.String()
}

// modulePublisher is the publisher of a request to a daemon. inner is the
// module's directory as the session's paths have it.
func (pub *publication) modulePublisher() *session.Publisher {
	return pub.publisher(func(dir string) (string, bool) { return strings.Trim(dir, "/"), true })
}

// publishedPath opens what is published of the path that a remote shell's
// client asks for.
func (p *program) publishedPath(cwd string, operands []string) (*publication, *session.Publisher) {
	if len(operands) == 0 {
		return nil, nil
	}
	at := operands[0]
	if !filepath.IsAbs(at) {
		at = filepath.Join(cwd, at)
	}
	full, err := filepath.EvalSymlinks(at)
	if err != nil {
		if full, err = filepath.EvalSymlinks(filepath.Dir(at)); err != nil {
			return nil, nil
		}
	}
	pub := openPublication(p.stateDirs(""), func(r *statedir.Registry) (statedir.Module, bool) {
		m, _, ok := r.Find(full)
		return m, ok && !m.Restricted
	})
	if pub == nil {
		return nil, nil
	}
	return pub, pub.publisher(func(dir string) (string, bool) {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", false
		}
		rest, ok := strings.CutPrefix(real+"/", strings.TrimSuffix(pub.module.Path, "/")+"/")
		return strings.Trim(rest, "/"), ok
	})
}

func (p *publication) close() {
	if p != nil {
		p.reader.Close()
	}
}
