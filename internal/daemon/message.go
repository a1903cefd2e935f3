package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// What one process of the daemon tells another over a pipe is a row of words:
// each its length as a varint and its bytes, which may be any; the end of the
// pipe is the end of the row. (encoding/gob would do, but costs every start of
// the program, also of a client, 0.2 ms.)

// maxMessage bounds a message: a hook's environment, early input.
const maxMessage = 256 << 20

var errMessage = errors.New("malformed message")

func writeWords(w io.Writer, words ...string) error {
	var b []byte
	for _, word := range words {
		b = binary.AppendUvarint(b, uint64(len(word)))
		b = append(b, word...)
	}
	_, err := w.Write(b)
	return err
}

// readWords reads a message of at least so many words; io.EOF stands for none
// at all.
func readWords(r io.Reader, atLeast int) ([]string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMessage))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, io.EOF
	}
	var words []string
	for rest := bytes.NewReader(b); rest.Len() > 0; {
		n, err := binary.ReadUvarint(rest)
		if err != nil || n > uint64(rest.Len()) {
			return nil, errMessage
		}
		at := len(b) - rest.Len()
		words = append(words, string(b[at:at+int(n)]))
		rest.Seek(int64(n), io.SeekCurrent)
	}
	if len(words) < atLeast {
		return nil, errMessage
	}
	return words, nil
}
