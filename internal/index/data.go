package index

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
	"github.com/zeebo/xxh3"
)

// A data file is a run of records, numbers little-endian:
//
//	4 bytes  length of the signature, 0 for none
//	4 bytes  length of the kept bytes
//	8 bytes  XXH3-64 of what follows
//	         the signature as content.Signature.Encode writes it
//	         the kept bytes: the whole content
const dataHeader = 16

// MaxKept is the size in bytes above which a file's bytes are never kept,
// whatever its name.
const MaxKept = 64 << 20

// dataWriter appends to a new data file. Nothing is created before the first
// record.
type dataWriter struct {
	root   *os.Root
	number uint32
	f      *os.File
	w      *bufio.Writer
	off    int64
}

func (d *dataWriter) append(sig, kept []byte) (off int64, err error) {
	if d.f == nil {
		if d.f, err = d.root.Create(dataName(d.number) + fsroot.TempSuffix); err != nil {
			return 0, err
		}
		d.w = bufio.NewWriterSize(d.f, 1<<18)
	}
	h := xxh3.New()
	h.Write(sig)
	h.Write(kept)
	var head [dataHeader]byte
	binary.LittleEndian.PutUint32(head[0:], uint32(len(sig)))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(kept)))
	binary.LittleEndian.PutUint64(head[8:], h.Sum64())
	off = d.off
	for _, b := range [...][]byte{head[:], sig, kept} {
		n, err := d.w.Write(b)
		d.off += int64(n)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", dataName(d.number), err)
		}
	}
	return off, nil
}

// finish gives the file its name, on disk.
func (d *dataWriter) finish() error {
	if d.f == nil {
		return nil
	}
	err := d.w.Flush()
	if err == nil {
		err = d.f.Sync()
	}
	if e := d.f.Close(); err == nil {
		err = e
	}
	d.f = nil
	if err == nil {
		err = d.root.Rename(dataName(d.number)+fsroot.TempSuffix, dataName(d.number))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dataName(d.number), err)
	}
	return nil
}

// discard drops an unfinished file.
func (d *dataWriter) discard() {
	if d.f != nil {
		d.f.Close()
		d.f = nil
		d.root.Remove(dataName(d.number) + fsroot.TempSuffix)
	}
}

func (r *Reader) dataHead(c *record) (f *os.File, sig, kept int64, err error) {
	f, err = r.dataFile(c.data)
	if err != nil {
		return nil, 0, 0, err
	}
	var head [dataHeader]byte
	if _, err := f.ReadAt(head[:], c.dataOff); err != nil {
		return nil, 0, 0, corrupt("%s at %d: %v", dataName(c.data), c.dataOff, err)
	}
	sig = int64(binary.LittleEndian.Uint32(head[0:]))
	kept = int64(binary.LittleEndian.Uint32(head[4:]))
	if sig > content.MaxSignatureBytes || kept > MaxKept {
		return nil, 0, 0, corrupt("%s at %d", dataName(c.data), c.dataOff)
	}
	return f, sig, kept, nil
}

// readData returns signature and kept bytes of c, verified. The caller holds
// the lock.
func (r *Reader) readData(c *record) (sig, kept []byte, err error) {
	f, sigLen, keptLen, err := r.dataHead(c)
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if sigLen+keptLen > fi.Size()-c.dataOff-dataHeader {
		return nil, nil, corrupt("%s ends inside the record at %d", dataName(c.data), c.dataOff)
	}
	b := make([]byte, 8+sigLen+keptLen)
	if _, err := f.ReadAt(b, c.dataOff+8); err != nil && err != io.EOF {
		return nil, nil, corrupt("%s at %d: %v", dataName(c.data), c.dataOff, err)
	}
	if binary.LittleEndian.Uint64(b) != xxh3.Hash(b[8:]) {
		return nil, nil, corrupt("checksum of %s at %d", dataName(c.data), c.dataOff)
	}
	b = b[8:]
	return b[:sigLen:sigLen], b[sigLen:], nil
}

func (r *Reader) dataFile(number uint32) (*os.File, error) {
	if r.root == nil {
		return nil, corrupt("no state directory")
	}
	r.filesMu.Lock()
	defer r.filesMu.Unlock()
	if f := r.files[number]; f != nil {
		return f, nil
	}
	f, err := r.root.Open(dataName(number))
	if err != nil {
		return nil, err
	}
	r.files[number] = f
	return f, nil
}

// SignatureBytes returns a content's signature in its binary form, nil when
// it has none because it is small.
func (r *Reader) SignatureBytes(id content.ID) ([]byte, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := r.content(id)
	if err != nil || c.flags&flagSignature == 0 {
		return nil, err
	}
	sig, _, err := r.readData(&c)
	return sig, err
}

// Signature returns a content's signature, nil when it has none because it is
// small.
func (r *Reader) Signature(id content.ID) (*content.Signature, error) {
	b, err := r.SignatureBytes(id)
	if err != nil || b == nil {
		return nil, err
	}
	return content.ParseSignature(b)
}

// Small returns the entry of a path and its content's bytes, when the
// generation keeps them. They are those of this generation, whatever happened
// to the file since. A path that left the tree is answered within its grace
// period (Entry.Retired).
func (r *Reader) Small(path string) (e Entry, kept []byte, ok bool) {
	unlock, err := r.lock()
	if err != nil {
		return Entry{}, nil, false
	}
	defer unlock()
	at, err := r.lookup(path)
	if err != nil {
		return Entry{}, nil, false
	}
	c, err := r.record(at.ref)
	if err != nil || c.flags&flagKept == 0 {
		return Entry{}, nil, false
	}
	if c.size > 0 {
		if _, kept, err = r.readData(&c); err != nil || int64(len(kept)) != c.size {
			return Entry{}, nil, false
		}
	}
	if e, err = r.public(at); err != nil {
		return Entry{}, nil, false
	}
	return e, kept, true
}
