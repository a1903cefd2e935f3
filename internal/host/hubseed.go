package host

import (
	"net/http"
	"path/filepath"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/host/statedir"
	"github.com/prsync/prsync/internal/p2p"
)

// A central host with "swarm listen" is a BitTorrent seed as well, for standard
// clients that use no web seeds. The tracker lists it to them alone: prsync
// peers ask for its pieces by HTTP, each for its share, which is what makes it
// send each piece about once. Whoever knows an info hash may connect, so that
// modules which not everybody may read are not seeded this way.

// newSeed returns the host's seeder, nil for none.
func (c *central) newSeed(client *http.Client) *seeder {
	g := &c.started.Global
	if g.SwarmListen == "" {
		return nil
	}
	if len(c.o.Engine) == 0 {
		c.o.Log.Warn("swarm listen has no effect: the program prsync-engine is neither beside this one nor in $PATH")
		return nil
	}
	return &seeder{
		ms: c.ms, host: c.url, http: client, argv: c.o.Engine, log: c.o.Log, base: c.o.Timing.Retry,
		wake: make(chan struct{}, 1), lost: map[content.InfoHash]bool{}, only: (*conf.Module).PublicByDefault,
		cfg: p2p.Config{Listen: g.SwarmListen, UploadLimit: g.Uplink, Sleep: true, SpillDir: filepath.Join(c.state, string(statedir.Central)), Logger: c.o.Log},
	}
}

// isSeed reports whether a peer is the host's own seed.
func (c *central) isSeed(peerID string) bool {
	if c.seeder == nil {
		return false
	}
	e := c.seeder.client()
	return e != nil && e.PeerID() == peerID
}
