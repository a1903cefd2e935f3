package p2p

import (
	"log/slog"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/ipc"
)

// Config are the settings of an engine and of its client. The zero value
// works: any port, no limits, DefaultStall, no lingering.
type Config struct {
	// Listen is where BitTorrent connections are accepted: "ADDR:PORT",
	// ":PORT", or empty for a port of the system's choice.
	Listen string
	// UploadLimit and DownloadLimit are in bytes per second; 0 is unlimited.
	UploadLimit, DownloadLimit int64
	// Stall is how long a content may make no progress before its Want fails;
	// 0 means DefaultStall.
	Stall time.Duration
	// Linger is how long Close goes on seeding what was fetched.
	Linger time.Duration
	// SpillDir takes a nameless temporary file for the parts of pieces that
	// nobody asked for; empty means the system's temporary directory.
	SpillDir string
	// Socket is where the engine serves other clients of this machine, until
	// the client that started it closes: a volunteer's engine. Empty: nowhere.
	Socket string
	// Keep is how long such an engine goes on seeding from the files of a
	// client that has gone, unless Seed covers them before.
	Keep time.Duration
	// Sleep keeps packs that are seeded out of memory while nobody comes for
	// them: for an engine that seeds many.
	Sleep bool
	// Unknown is told of packs that Seed was called for and the central host
	// does not publish any more. It must not block.
	Unknown func(content.InfoHash)
	// Logger receives what the engine has to say; nil discards it.
	Logger *slog.Logger
}

// DefaultStall is Config.Stall when it is 0.
const DefaultStall = 15 * time.Second

func (c Config) setup() *ipc.Setup {
	stall := c.Stall
	if stall <= 0 {
		stall = DefaultStall
	}
	return &ipc.Setup{
		Listen: c.Listen, UploadLimit: max(c.UploadLimit, 0), DownloadLimit: max(c.DownloadLimit, 0),
		Stall: stall, SpillDir: c.SpillDir, Socket: c.Socket, Keep: max(c.Keep, 0), Sleep: c.Sleep, Verbose: c.Logger != nil,
	}
}
