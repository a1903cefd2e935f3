package transfer

import "os"

// gatherSize is what is written to a new file at a time: literal data comes in
// pieces of 32 KiB, for each of which a file system does much the same work as
// for one eight times as long. rsync.h: WRITE_SIZE, 8 of them.
const gatherSize = 256 << 10

// gathered writes to a file in large pieces. What was written is in the file
// after flush only: it does not serve a file that is read meanwhile (--inplace).
type gathered struct {
	f   *os.File
	buf []byte // what belongs at off
	off int64
}

func (g *gathered) reset(f *os.File) {
	g.f, g.buf = f, g.buf[:0]
}

// WriteAt takes p for the file. An error may be that of an earlier piece.
func (g *gathered) WriteAt(p []byte, off int64) (int, error) {
	if len(g.buf) > 0 && (off != g.off+int64(len(g.buf)) || len(g.buf)+len(p) > gatherSize) {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= gatherSize {
		return g.f.WriteAt(p, off)
	}
	if len(g.buf) == 0 {
		g.off = off
	}
	if g.buf == nil {
		g.buf = make([]byte, 0, gatherSize)
	}
	g.buf = append(g.buf, p...)
	return len(p), nil
}

// flush writes what has gathered. It is forgotten if that fails.
func (g *gathered) flush() error {
	p := g.buf
	g.buf = g.buf[:0]
	if len(p) == 0 {
		return nil
	}
	_, err := g.f.WriteAt(p, g.off)
	return err
}
