package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// A transcript is what the two ends of a transfer said to each other: rsyncs
// of the version that prsync follows, or one of them and an older one. It has
// chunks in the order in which they passed the remote shell. Its file is a
// line of JSON, then per chunk its speaker, its length in 4 bytes (big endian)
// and the bytes.
type transcript struct {
	Rsync    string   // the version of the end that is played
	Plays    string   // that end: "client", "server" or "both"
	Protocol int      // the version spoken
	Pull     bool     // the client is the receiver
	Daemon   bool     `json:",omitempty"` // the server is a daemon, behind the remote shell
	Client   []string // options of the client
	Server   []string // arguments of the server, behind the name of the program
	// Dirs are the sizes of the source's directories when it was recorded;
	// they are part of a file list, and differ between file systems.
	Dirs map[string]int64

	chunks []chunk
}

type chunk struct {
	from byte
	data []byte
}

// Speakers.
const (
	client = '>'
	server = '<'
)

func (c chunk) write(w io.Writer) error {
	head := append([]byte{c.from}, binary.BigEndian.AppendUint32(nil, uint32(len(c.data)))...)
	_, err := w.Write(append(head, c.data...))
	return err
}

func (t *transcript) save(name string) error {
	head, err := json.Marshal(t)
	if err != nil {
		return err
	}
	b := bytes.NewBuffer(append(head, '\n'))
	for _, c := range t.chunks {
		if err := c.write(b); err != nil {
			return err
		}
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

func loadTranscript(name string) (*transcript, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	head, rest, _ := bytes.Cut(b, []byte("\n"))
	t := &transcript{}
	if err := json.Unmarshal(head, t); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if t.chunks, err = parseChunks(rest); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func parseChunks(b []byte) ([]chunk, error) {
	var all []chunk
	for len(b) > 0 {
		if len(b) < 5 || uint64(len(b)-5) < uint64(binary.BigEndian.Uint32(b[1:])) {
			return nil, errors.New("the last chunk is cut short")
		}
		n := int(binary.BigEndian.Uint32(b[1:]))
		all = append(all, chunk{b[0], b[5 : 5+n]})
		b = b[5+n:]
	}
	return all, nil
}

// said returns all that one end said.
func (t *transcript) said(who byte) []byte {
	var b []byte
	for _, c := range t.chunks {
		if c.from == who {
			b = append(b, c.data...)
		}
	}
	return b
}

// Compatibility flags and messages of the protocol, as far as a transcript's
// frame needs them (rsync 3.5.0 compat.c, rsync.h).
const (
	cfVarintFlags = 1 << 7 // strings are negotiated
	msgBase       = 7
)

// negotiates reports whether the two ends exchange lists of checksums.
func (t *transcript) negotiates() bool {
	b := t.said(server)
	n := t.greeting(server, b)
	if t.Protocol < 30 || n < 0 || len(b) < n+2 {
		return false
	}
	flags := uint32(b[n])
	if flags&0x80 != 0 && flags&0x40 == 0 { // a varint of two bytes
		flags = flags&0x3f<<8 | uint32(b[n+1])
	}
	return flags&cfVarintFlags != 0
}

// greeting is how long what one end says first is: its version, or what passes
// with a daemon before the protocol proper. It is -1 while b has not all of it.
func (t *transcript) greeting(who byte, b []byte) int {
	const version = 4
	if !t.Daemon {
		if len(b) < version {
			return -1
		}
		return version
	}
	n := 0
	for range 2 { // the versions; then the module, or that it may be used
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return -1
		}
		n += i + 1
	}
	if who == server {
		return n
	}
	end := []byte{0, 0} // of the arguments
	if t.Protocol < 30 {
		end = []byte("\n\n")
	}
	i := bytes.Index(b[n:], end)
	if i < 0 {
		return -1
	}
	return n + i + len(end)
}

// A payload takes the data out of one end's stream: the greeting is left out,
// and messages other than data with it.
type payload struct {
	greeting func(b []byte) int // of what comes in front; then come strings, and after them seed bytes
	varint   bool
	strings  int
	seed     int
	framed   bool
	raw      []byte // not yet looked at
	data     []byte
}

// payloadOf returns the reader of the stream of one end.
func (t *transcript) payloadOf(who byte) *payload {
	p := &payload{greeting: func(b []byte) int { return t.greeting(who, b) }, framed: who == server || t.Protocol >= 30}
	if t.negotiates() {
		p.strings = 1
		for _, o := range t.Client {
			if o == "-z" {
				p.strings = 2
			}
		}
	}
	if who == server {
		p.seed = 4
		p.varint = t.Protocol >= 30
	}
	return p
}

// feed takes the next bytes of the stream.
func (p *payload) feed(b []byte) {
	p.raw = append(p.raw, b...)
	for p.step() {
	}
}

// step takes one element off raw, if it is complete.
func (p *payload) step() bool {
	switch {
	case p.greeting != nil:
		n := p.greeting(p.raw)
		if n < 0 {
			return false
		}
		p.raw, p.greeting = p.raw[n:], nil
	case p.varint:
		if len(p.raw) < 2 {
			return false
		}
		n := 1
		if p.raw[0]&0x80 != 0 {
			n = 2
		}
		p.raw, p.varint = p.raw[n:], false
	case p.strings > 0:
		if len(p.raw) < 1 || len(p.raw) < 1+int(p.raw[0]) {
			return false
		}
		p.raw = p.raw[1+int(p.raw[0]):]
		p.strings--
	case p.seed > 0:
		if len(p.raw) < p.seed {
			return false
		}
		p.raw, p.seed = p.raw[p.seed:], 0
	case !p.framed:
		p.data, p.raw = append(p.data, p.raw...), nil
		return false
	default:
		if len(p.raw) < 4 {
			return false
		}
		head := binary.LittleEndian.Uint32(p.raw)
		n := int(head & 0xffffff)
		if len(p.raw) < 4+n {
			return false
		}
		if head>>24 == msgBase {
			p.data = append(p.data, p.raw[4:4+n]...)
		}
		p.raw = p.raw[4+n:]
	}
	return true
}

// play speaks the part of one end. Each chunk waits until the other end has
// said as much as it had when the chunk was recorded. It returns what the
// other end said, without frames.
func (t *transcript) play(who byte, r io.Reader, w io.WriteCloser) (heard []byte, err error) {
	other := byte(client)
	if who == client {
		other = server
	}
	var mu sync.Mutex
	live, then := t.payloadOf(other), t.payloadOf(other)
	more := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		in := bufio.NewReader(r)
		buf := make([]byte, 32<<10)
		for {
			n, err := in.Read(buf)
			mu.Lock()
			live.feed(buf[:n])
			mu.Unlock()
			select {
			case more <- struct{}{}:
			default:
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	said := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(live.data)
	}
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	over := false
	await := func(what string, n int) error {
		for !over && said() < n {
			select {
			case <-more:
			case <-ended:
				over = true
			case <-deadline.C:
				return fmt.Errorf("%s waits for %d bytes of the other end, which stops at %d", what, n, said())
			}
		}
		return nil
	}
	defer func() { // all ways out
		mu.Lock()
		heard = slices.Clone(live.data)
		mu.Unlock()
	}()
	for i, c := range t.chunks {
		if c.from == other {
			then.feed(c.data)
			continue
		}
		if err := await(fmt.Sprintf("chunk %d", i), len(then.data)); err != nil {
			return nil, err
		}
		if _, err := w.Write(c.data); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
	}
	if err := await("the end", len(then.data)); err != nil {
		return nil, err
	}
	return nil, w.Close()
}
