package tracker

import (
	"net/http"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// Published is a file as a module's current generation has it.
type Published struct {
	ID         content.ID
	Size       int64 // bytes
	Mtime      time.Time
	Generation int64
	// FromHost is set for files that only the central host serves: small ones
	// and a repository's indexes, whose bytes it keeps per generation.
	FromHost bool
	// Gone is set for a file that left the tree with a recent generation:
	// volunteers that hold it still get customers. The host itself has only
	// the bytes of a FromHost one.
	Gone bool
}

// Entry is one line of a directory listing.
type Entry struct {
	Name  string // without slashes
	Dir   bool
	Size  int64
	Mtime time.Time
}

// Module is one module that the host publishes over HTTP.
type Module struct {
	Name       string    `json:"name"`
	Comment    string    `json:"comment,omitempty"`
	Generation int64     `json:"generation"`
	Published  time.Time `json:"published"` // when the generation became visible
	Files      int64     `json:"files"`
	Bytes      int64     `json:"bytes"`
	Contents   int64     `json:"contents"`
	Packs      int       `json:"packs"`
	// Indexing tells how far a running scan is, "" when there is none.
	Indexing string `json:"indexing,omitempty"`
	// Redirect is false when the module only takes part in the swarm.
	Redirect bool `json:"redirect"`
}

// Catalog is what the tracker needs to know of the modules' indexes. All
// methods are called concurrently and answer from memory or a local file.
// Paths have no leading slash and no empty, "." or ".." elements.
type Catalog interface {
	// Modules returns the published modules, sorted by name.
	Modules() []Module
	// Module returns one of them.
	Module(name string) (Module, bool)
	// File returns what is published under the path now, or within its grace
	// period (Gone). The error wraps fs.ErrNotExist when there is none, or is
	// ErrIsDir for a directory.
	File(module, path string) (Published, error)
	// List returns a directory's entries in the current generation; "" is the
	// module's root.
	List(module, dir string) ([]Entry, error)
	// Pack returns the module that publishes the pack, false when none does.
	Pack(h content.InfoHash) (module string, ok bool)
	// PackOf returns the pack that has the content.
	PackOf(module string, id content.ID) (content.InfoHash, bool)
	// Contents returns how many different contents the host publishes.
	Contents() int64
}

// Origin serves a file's bytes from the central host. ETag, Last-Modified,
// Accept-Ranges, Repr-Digest, Digest, Link and Content-Type headers are set already;
// the conditional headers of GET and HEAD have been answered. Ranges, If-Range
// and the body are its task (http.ServeContent does all of it). It answers 404
// for a file that is Gone and whose bytes it has no more.
type Origin interface {
	ServeFile(w http.ResponseWriter, r *http.Request, module, path string, p Published)
}
