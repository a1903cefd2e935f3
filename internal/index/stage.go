package index

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/prsync/prsync/internal/fsroot"
)

// The stage holds the entries of the generation being made, in order, on disk:
// between the walk, the reading of files and the writing of the generation
// nothing in memory grows with the number of paths but a few bytes for each.
const stageName = "stage" + fsroot.TempSuffix

type staged struct {
	entry
	// todo says that the file is to be read; moving, that only its pack
	// changes. Otherwise, and when moving, ref is the content's ordinal in the
	// generation before.
	todo, moving bool
}

const (
	stagedTodo   = 1
	stagedMoving = 2
)

type stage struct {
	f   *os.File
	w   *bufio.Writer
	buf []byte
}

func newStage(root *os.Root) (*stage, error) {
	f, err := root.Create(stageName)
	if err != nil {
		return nil, err
	}
	return &stage{f: f, w: bufio.NewWriterSize(f, 1<<18)}, nil
}

func (s *stage) add(e *staged) error {
	flags := byte(0)
	if e.todo {
		flags |= stagedTodo
	}
	if e.moving {
		flags |= stagedMoving
	}
	s.buf = appendEntry(append(s.buf[:0], flags), nil, &e.entry)
	var n [binary.MaxVarintLen64]byte
	s.w.Write(n[:binary.PutUvarint(n[:], uint64(len(s.buf)))])
	_, err := s.w.Write(s.buf)
	return err
}

// each calls f for every entry; the entry is valid during the call only.
func (s *stage) each(f func(*staged) error) error {
	if err := s.w.Flush(); err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(s.f, 0, 1<<62), 1<<18)
	var e staged
	var buf []byte
	for {
		n, err := binary.ReadUvarint(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 || n > 2*maxPath {
			return fmt.Errorf("%s: record of %d bytes", stageName, n)
		}
		buf = append(buf[:0], make([]byte, n)...)
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
		e.path = e.path[:0]
		if rest, ok := parseEntry(buf[1:], &e.entry); !ok || len(rest) > 0 {
			return fmt.Errorf("%s: malformed record", stageName)
		}
		e.todo, e.moving = buf[0]&stagedTodo != 0, buf[0]&stagedMoving != 0
		if err := f(&e); err != nil {
			return err
		}
	}
}

// discard removes the stage.
func (s *stage) discard(root *os.Root) {
	s.f.Close()
	root.Remove(stageName)
}
