package session

import (
	"errors"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto/flist"
	"github.com/prsync/prsync/internal/transfer"
)

// Publisher is what a host that publishes the transferred files brings to
// the sending side of a session.
type Publisher struct {
	Offer content.Offer
	// ContentID returns the content of a regular file, given the directory its
	// name is relative to, as an absolute path of the session; nil unless the
	// published generation has the file as it is.
	ContentID func(dir string, f *flist.File) *[32]byte
}

// SwarmOpener makes what a client that receives needs to use a swarm. The
// offer is nil when the other side made none; then the opener may know of a
// tracker itself. A nil configuration says that there is no swarm, and why.
type SwarmOpener func(offer *content.Offer) (cfg *transfer.SwarmConfig, why error)

// errNoOffer is why there is no swarm with a stock sender.
var errNoOffer = errors.New("the other side offers none, and there is no --swarm-tracker")

// useSwarm lets the receiving side use a swarm where that is wanted, possible
// and offered.
func (s *side) useSwarm() error {
	o := s.o
	if s.p.Server || s.p.Sender || s.p.local || o.Swarm.Mode == options.SwarmOff || o.DryRun || o.ListOnly {
		return nil
	}
	require := o.Swarm.Mode == options.SwarmRequire
	if opt := plainOption(o); opt != "" {
		if require {
			return exitcode.New(exitcode.Syntax, "--swarm=require cannot be used with %s, which never uses a swarm", opt)
		}
		return nil
	}
	var cfg *transfer.SwarmConfig
	why := errNoOffer
	if s.p.Swarm != nil {
		if cfg, why = s.p.Swarm(s.setup.Offer); cfg == nil && why == nil {
			why = errNoOffer
		}
	}
	if cfg == nil {
		if require {
			return exitcode.New(exitcode.SocketIO, "no swarm: %w (--swarm=require)", why)
		}
		if s.log.Info(report.InfoSwarm, 1) && !errors.Is(why, errNoOffer) {
			s.log.Printf(report.Info, "swarm: not used: %v\n", why)
		}
		return nil
	}
	if s.log.Debug(report.DebugSwarm, 1) {
		log := s.log.As("swarm")
		cfg.Debug = func(line string) { log.Printf(report.Info, "swarm: %s\n", line) }
	}
	cfg.MinSize, cfg.Require = o.Swarm.MinSize, require
	if s.p.Env.Terminal && (s.log.Info(report.InfoSwarm, 1) || s.log.Info(report.InfoProgress, 1)) {
		cfg.View = report.NewSwarmView(s.log)
		cfg.View.Foreground = s.p.Env.Foreground
	}
	s.c.Swarm = cfg
	return nil
}

// plainOption returns an option under which files never come by a swarm.
func plainOption(o *options.Options) string {
	switch {
	case o.Append != options.AppendNone:
		return "--append"
	case o.WriteDevices:
		return "--write-devices"
	case o.Inplace:
		return "--inplace"
	case o.Batch == options.BatchRead:
		return "--read-batch"
	case o.Batch != options.BatchNone:
		return "--write-batch"
	}
	return ""
}

// OffersSwarm reports whether a client with these options tells the other side
// that it understands an offer.
func OffersSwarm(o *options.Options, sender bool) bool {
	return !sender && o.Swarm.Mode != options.SwarmOff && !o.DryRun && !o.ListOnly && plainOption(o) == ""
}

// offer is what this side, as a server, offers.
func (p *Params) offer() *content.Offer {
	if p.Publish == nil || !p.Server || !p.Sender {
		return nil
	}
	return &p.Publish.Offer
}

// publish makes the sender tell content ids to a client that takes the offer.
func (s *side) publish() {
	if s.setup.Offer != nil && s.p.Publish != nil {
		s.snd.Publish = s.p.Publish.ContentID
	}
}
