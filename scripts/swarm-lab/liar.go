package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p"
)

// liarArg makes this program a peer that claims to hold a module's contents
// and serves something else.
const liarArg = "corrupt-peer"

// corrupt starts such a peer on edge i and waits until it takes part.
func (r *round) corrupt(ctx context.Context, i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := r.nw.Edges()[i].Command(ctx, self, liarArg, r.url(), "mod", r.src, filepath.Join(r.l.bin, "prsync-engine"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	r.more = append(r.more, cmd)
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		return fmt.Errorf("the corrupt peer did not start: %s", said.String())
	}
	return nil
}

// liar is that peer: URL MODULE DIR ENGINE, DIR holding the true contents. It
// prints "ready" and stays.
func liar(args []string) error {
	if len(args) != 4 {
		return errors.New("URL MODULE DIR ENGINE are wanted")
	}
	offer, dir := content.Offer{URL: args[0], Module: args[1]}, args[2]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	c, err := p2p.Spawn(ctx, []string{args[3]}, p2p.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	sizes := map[content.ID]int64{}
	q := content.LocateRequest{Module: offer.Module}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		id := content.ID(sha256.Sum256(b))
		sizes[id] = int64(len(b))
		q.IDs = append(q.IDs, id[:]...)
		return nil
	})
	if err != nil {
		return err
	}
	body, err := ask(ctx, http.MethodPost, offer.URL+content.PathLocate, q.Encode())
	if err != nil {
		return err
	}
	reply, err := content.DecodeLocateReply(body, len(q.IDs)/len(content.ID{}))
	if err != nil {
		return err
	}
	for hashes := string(reply.InfoHashes); hashes != ""; hashes = hashes[len(content.InfoHash{}):] {
		h := content.InfoHash([]byte(hashes[:len(content.InfoHash{})]))
		body, err := ask(ctx, http.MethodGet, offer.URL+content.PathPack+h.String()+".torrent", nil)
		if err != nil {
			return err
		}
		p, err := content.ParseMetainfo(body)
		if err != nil {
			return err
		}
		err = c.Seed(offer, p, func(int) bool { return true }, func(id content.ID) (*os.File, error) {
			return lie(sizes[id])
		})
		if err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // it announces itself
	fmt.Println("ready")
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-c.Events():
			if !ok {
				return c.Err()
			}
		}
	}
}

// lie opens a nameless file of zeros.
func lie(size int64) (*os.File, error) {
	f, err := os.CreateTemp("", "swarm-lab-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	return f, f.Truncate(size)
}

func ask(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(b)))
	}
	return b, err
}
