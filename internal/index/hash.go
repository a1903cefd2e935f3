package index

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/delta/checksum"
	"golang.org/x/sys/unix"
)

// errUnstable says that a file changed while it was read.
var errUnstable = errors.New("file changes while it is read")

// settle is how old a change time must be before the file is read. The kernel
// stamps with a clock that ticks every 1 to 10 ms: a file that changes twice
// within a tick has the same times, so a change after our read would go
// unseen if we read within the tick of the change before.
const settle = 25 * time.Millisecond

// reading asks for one file to be read.
type reading struct {
	path string
	st   Stat // as the walk saw it
	// pieceLength is that of the pack the content would go to; 0 asks for
	// nothing but the id.
	pieceLength int64
	cfg         *Config // nil when nothing is published

	learned bool          // the id is known without reading
	done    chan struct{} // closed when what follows is valid
	err     error
	got     Stat // as it was before and after the read
	id      content.ID
	sig     []byte // encoded signature
	keep    bool   // the configuration wants the bytes kept
	kept    []byte // the bytes, if so
	// A content shorter than a piece comes as its bytes, any other as the
	// SHA-1 of its whole pieces and the state of the last, partial one.
	body   []byte
	pieces []byte
	tail   hash.Hash // nil without a partial piece
}

const readSize = 256 << 10

// bodies recycles the buffers of small contents.
var bodies = sync.Pool{New: func() any { b := make([]byte, 0, readSize); return &b }}

// run reads the file once and fills the result.
func (j *reading) run(ctx context.Context, t *tree, now func() time.Time) {
	j.err = j.read(ctx, t, now)
	close(j.done)
}

func (j *reading) read(ctx context.Context, t *tree, now func() time.Time) error {
	fd, err := t.open(j.path, unix.O_RDONLY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), j.path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if !isRegular(&st) {
		return fmt.Errorf("not a regular file any more: %w", os.ErrNotExist)
	}
	j.got = statOf(&st)
	if age := now().Sub(time.Unix(0, j.got.Ctime)); age < settle {
		if err := sleep(ctx, min(settle, settle-age)); err != nil {
			return err
		}
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		j.got = statOf(&st)
	}
	if err := j.digest(ctx, f); err != nil {
		return err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if statOf(&st) != j.got {
		return errUnstable
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// digest computes everything from one pass over the file.
func (j *reading) digest(ctx context.Context, f *os.File) error {
	size := j.got.Size
	id := sha256.New()
	small := j.pieceLength > 0 && size < j.pieceLength
	var signer *signer
	j.keep, j.kept = false, nil
	if j.cfg != nil {
		if size >= j.cfg.SignFrom {
			signer = newSigner(size)
		}
		if j.keep = j.cfg.keeps(j.path, size); j.keep {
			j.kept = make([]byte, 0, size)
		}
	}
	if small {
		j.body = (*bodies.Get().(*[]byte))[:0]
	}
	var pieces pieceHasher
	if j.pieceLength > 0 && !small {
		pieces = pieceHasher{length: j.pieceLength, sha: sha1.New()}
	}
	pooled := bodies.Get().(*[]byte)
	defer bodies.Put(pooled)
	buf := (*pooled)[:readSize]
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(buf)
		b := buf[:n]
		if total += int64(n); total > size {
			return errUnstable
		}
		id.Write(b)
		if signer != nil {
			signer.write(b)
		}
		if j.keep {
			j.kept = append(j.kept, b...)
		}
		if small {
			j.body = append(j.body, b...)
		} else if j.pieceLength > 0 {
			pieces.write(b)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != size {
		return errUnstable
	}
	id.Sum(j.id[:0])
	if signer != nil {
		j.sig = signer.finish()
	}
	if pieces.sha != nil {
		j.pieces = pieces.sums
		if pieces.n > 0 {
			j.tail = pieces.sha
		}
	}
	return nil
}

// recycle gives the body back when nobody needs it any more.
func (j *reading) recycle() {
	if j.body != nil && cap(j.body) == readSize {
		b := j.body[:0]
		bodies.Put(&b)
	}
	j.body = nil
}

// pieceHasher hashes a stream piece by piece.
type pieceHasher struct {
	length int64
	sha    hash.Hash
	n      int64 // bytes in sha
	sums   []byte
}

func (p *pieceHasher) write(b []byte) {
	for len(b) > 0 {
		n := min(int64(len(b)), p.length-p.n)
		p.sha.Write(b[:n])
		b = b[n:]
		if p.n += n; p.n == p.length {
			p.sums = p.sha.Sum(p.sums)
			p.sha.Reset()
			p.n = 0
		}
	}
}

// signer computes a content.Signature from a stream.
type signer struct {
	sig   content.Signature
	block []byte // what is there of the current block
}

var strongSum = checksum.Config{Kind: checksum.XXH128}

func newSigner(size int64) *signer {
	s := &signer{sig: content.Signature{
		Length: size, BlockLen: content.SignatureBlockLen(size), StrongLen: content.SignatureStrongLen,
	}}
	blocks := (size + int64(s.sig.BlockLen) - 1) / int64(s.sig.BlockLen)
	s.sig.Rolling = make([]uint32, 0, blocks)
	s.sig.Strong = make([]byte, 0, blocks*content.SignatureStrongLen)
	s.block = make([]byte, 0, s.sig.BlockLen)
	return s
}

func (s *signer) write(b []byte) {
	size := int(s.sig.BlockLen)
	for len(b) > 0 {
		if len(s.block) == 0 && len(b) >= size {
			s.add(b[:size])
			b = b[size:]
			continue
		}
		n := min(len(b), size-len(s.block))
		s.block = append(s.block, b[:n]...)
		b = b[n:]
		if len(s.block) == size {
			s.add(s.block)
			s.block = s.block[:0]
		}
	}
}

func (s *signer) add(block []byte) {
	s.sig.Rolling = append(s.sig.Rolling, checksum.Rolling(block))
	var sum [16]byte
	s.sig.Strong = append(s.sig.Strong, strongSum.Block(sum[:0], block)[:content.SignatureStrongLen]...)
}

func (s *signer) finish() []byte {
	if len(s.block) > 0 {
		s.add(s.block)
	}
	return s.sig.Encode()
}
