package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/ipc"
)

// Opener opens a content that this host holds, for reading. It checks the file
// against the host's index first and fails when it has changed. The engine
// closes the file it is given, and asks again from time to time.
type Opener func(content.ID) (*os.File, error)

// Seed offers the contents of a pack that held reports, by index into
// p.Entries, to the swarm; the engine asks open for a file when a peer wants
// it. Calling it again replaces what was said before.
func (c *Client) Seed(o content.Offer, p *content.Pack, held func(entry int) bool, open Opener) error {
	n, err := c.offerNumber(o)
	if err != nil {
		return err
	}
	m := ipc.Seed{Offer: n, InfoHash: p.InfoHash, Held: make([]byte, (len(p.Entries)+7)/8)}
	for i := range p.Entries {
		if held(i) {
			m.Held[i/8] |= 0x80 >> (i % 8)
		}
	}
	c.mu.Lock()
	c.seeds[p.InfoHash] = seeding{p, open}
	c.mu.Unlock()
	return c.conn.Send(ipc.TypeSeed, m.Encode(), nil)
}

// seeding is what was said with Seed.
type seeding struct {
	pack *content.Pack
	open Opener
}

// describe writes a pack's metainfo to a file without a name.
func describe(p *content.Pack) (*os.File, error) {
	f, err := os.CreateTemp("", "prsync-pack-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if _, err = f.Write(p.Metainfo("", nil)); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Unseed takes a Seed back.
func (c *Client) Unseed(h content.InfoHash) error {
	c.mu.Lock()
	delete(c.seeds, h)
	c.mu.Unlock()
	m := ipc.Unseed{InfoHash: h}
	return c.conn.Send(ipc.TypeUnseed, m.Encode(), nil)
}

// open answers the engine's question for a content.
func (c *Client) open(m *ipc.Open) error {
	c.mu.Lock()
	s := c.seeds[m.InfoHash]
	c.mu.Unlock()
	answer := ipc.Opened{Request: m.Request}
	var f *os.File
	err := errors.New("not seeded any more")
	switch {
	case s.open == nil:
	case m.ID.IsZero():
		f, err = describe(s.pack)
	default:
		f, err = s.open(m.ID)
	}
	if err != nil {
		answer.Failure = err.Error()
		return c.conn.Send(ipc.TypeOpened, answer.Encode(), nil)
	}
	defer f.Close()
	return c.conn.Send(ipc.TypeOpened, answer.Encode(), f)
}

// Announce makes the engine announce its packs to the offer's host now,
// together with what a volunteer adds: name, URL, holdings, load, stopping.
// The engine fills in peer id, port and packs. Without calls of Announce the
// engine announces by itself, at the interval that the host asks for; a caller
// that announces takes the interval from the reply. The message must fit a
// frame, about 30,000 ids of holdings: say the rest with Holdings.More.
func (c *Client) Announce(ctx context.Context, o content.Offer, secret string, req *content.AnnounceRequest) (*content.AnnounceReply, error) {
	n, err := c.offerNumber(o)
	if err != nil {
		return nil, err
	}
	reply := make(chan *ipc.Announced, 1)
	c.mu.Lock()
	if c.gone != nil {
		defer c.mu.Unlock()
		return nil, c.gone
	}
	c.request++
	full := *req
	full.PeerID, full.Port = c.PeerID(), c.Port()
	m := ipc.Announce{Request: c.request, Offer: n, Secret: secret, Message: full.Encode()}
	c.replies[m.Request] = reply
	c.mu.Unlock()
	if err := c.conn.Send(ipc.TypeAnnounce, m.Encode(), nil); err != nil {
		c.forget(m.Request)
		return nil, fmt.Errorf("announce: %w", err)
	}
	select {
	case <-ctx.Done():
		c.forget(m.Request)
		return nil, ctx.Err()
	case r := <-reply:
		if r.Failure != "" {
			return nil, errors.New(r.Failure)
		}
		return content.DecodeAnnounceReply(r.Message)
	}
}

func (c *Client) forget(request uint64) {
	c.mu.Lock()
	delete(c.replies, request)
	c.mu.Unlock()
}
