package index

import (
	"bufio"
	"encoding/binary"
	"os"

	"github.com/zeebo/xxh3"
)

// pageWriter writes a generation file behind its header and hashes its pages.
type pageWriter struct {
	f    *os.File
	w    *bufio.Writer
	off  uint64 // in the file
	page []byte
	sums []byte
	err  error // the first one; later writes do nothing
}

func newPageWriter(root *os.Root, name string) (*pageWriter, error) {
	f, err := root.Create(name)
	if err != nil {
		return nil, err
	}
	p := &pageWriter{f: f, w: bufio.NewWriterSize(f, 1<<18), off: headerSize, page: make([]byte, 0, pageSize)}
	_, p.err = p.w.Write(make([]byte, headerSize))
	return p, nil
}

func (p *pageWriter) write(b []byte) {
	p.off += uint64(len(b))
	for len(b) > 0 && p.err == nil {
		n := min(len(b), pageSize-len(p.page))
		p.page = append(p.page, b[:n]...)
		b = b[n:]
		if len(p.page) == pageSize {
			p.flush()
		}
	}
}

func (p *pageWriter) flush() {
	if len(p.page) > 0 && p.err == nil {
		p.sums = binary.LittleEndian.AppendUint64(p.sums, xxh3.Hash(p.page))
		_, p.err = p.w.Write(p.page)
		p.page = p.page[:0]
	}
}

func (p *pageWriter) uint32(v uint32) {
	p.write(binary.LittleEndian.AppendUint32(nil, v))
}

func (p *pageWriter) uint64(v uint64) {
	p.write(binary.LittleEndian.AppendUint64(nil, v))
}

// finish writes the page table and the header, and puts everything on disk.
func (p *pageWriter) finish(h *header) error {
	p.flush()
	if p.err != nil {
		return p.err
	}
	h.version, h.pagesAt, h.pagesSum = formatVersion, p.off, xxh3.Hash(p.sums)
	h.fileSize = p.off + uint64(len(p.sums))
	if _, err := p.w.Write(p.sums); err != nil {
		return err
	}
	if err := p.w.Flush(); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	return p.f.Sync()
}
