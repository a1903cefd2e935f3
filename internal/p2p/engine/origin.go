package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/p2p/origin"
)

// originSilence is how long an answer may stop before the request is given up.
const originSilence = 10 * time.Second

// errRefused means that the origin wants the piece to come from peers.
var errRefused = errors.New("refused for now")

// fetch asks the origin for a run of pieces and ends with none of them marked
// as being asked for.
func (p *pack) fetch(j job) {
	began := time.Now()
	p.mu.Lock()
	p.trace.active++
	p.mu.Unlock()
	done, n, err := p.request(j)
	p.mu.Lock()
	p.trace.active--
	if n > 0 {
		p.trace.granted[claimIndex(j.claim)]++
	} else if errors.Is(err, errRefused) {
		p.trace.refused[claimIndex(j.claim)]++
	}
	now := time.Now()
	for i := j.first; i < j.first+j.n; i++ {
		pc := &p.pieces[i]
		pc.origin = false
		if pc.complete || i < j.first+done {
			continue
		}
		if errors.Is(err, errRefused) {
			pc.retryAt = now.Add(ownBackoff)
			if pc.refused.IsZero() {
				pc.refused = now
			}
		}
	}
	switch {
	case errors.Is(err, errGone):
		p.partlyGone(j, now)
		err = nil
	case err != nil && n > 0 && done < j.n:
		// What it broke off at comes after the others.
		p.pieces[j.first+done].retryAt = now.Add(ownBackoff)
	}
	if errors.Is(err, errRefused) {
		if j.claim == origin.ClaimSpare {
			p.plan.spareAt = now.Add(spareBackoff)
		}
		err = nil
	}
	p.mu.Unlock()
	if p.e.ctx.Err() == nil {
		p.tr.originDone(n, now.Sub(began), err)
	}
	if err != nil {
		p.e.log.Debug("swarm: origin", "pack", p.meta.Name, "piece", j.first, "err", err)
	}
}

// request performs one job. It returns how many pieces were dealt with and how
// many bytes came.
func (p *pack) request(j job) (done int, n int64, err error) {
	off := p.pieceOffset(j.first)
	end := min(off+int64(j.n)*p.meta.PieceLength, p.meta.Length)
	if j.n == 1 {
		p.mu.Lock()
		lo, hi := p.missing(j.first)
		if j.part != nil {
			lo, hi = p.missingPart(j.first, j.part)
		}
		p.mu.Unlock()
		if lo < hi {
			off, end = lo, hi
		}
	}
	ctx, cancel := context.WithCancel(p.e.ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.tr.url+content.PathBlob+p.meta.InfoHash.String(), nil)
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("Range", "bytes="+strconv.FormatInt(off, 10)+"-"+strconv.FormatInt(end-1, 10))
	req.Header.Set(origin.HeaderClaim, j.claim)
	req.Header.Set(origin.HeaderPeer, hex.EncodeToString([]byte(p.e.peerID)))
	resp, err := p.e.http.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusConflict:
		return 0, 0, p.refused(resp)
	case http.StatusGone:
		return 0, 0, errGone
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return 0, 0, &busyError{resp.Status, retryAfter(resp)}
	default:
		return 0, 0, fmt.Errorf("%s: %s", req.URL.Redacted(), resp.Status)
	}
	from, to, err := contentRange(resp.Header.Get("Content-Range"), p.meta.Length)
	if err != nil || from != off || to > end {
		return 0, 0, fmt.Errorf("%s: asked for %d-%d, got %q", req.URL.Redacted(), off, end-1, resp.Header.Get("Content-Range"))
	}
	silence := time.AfterFunc(originSilence, cancel)
	defer silence.Stop()
	done, n, err = p.receive(ctx, resp.Body, off, to, silence, j.part)
	if err == nil && to < end {
		err = errRefused // the rest of the run
	}
	return done, n, err
}

// refused reads which pieces are out.
func (p *pack) refused(resp *http.Response) error {
	out, err := io.ReadAll(io.LimitReader(resp.Body, int64(len(p.pieces)+7)/8))
	if err == nil {
		now := time.Now()
		p.mu.Lock()
		p.plan.out, p.plan.outAt = out, now
		for i := range p.pieces { // it would refuse these, too
			if pc := &p.pieces[i]; pc.idle() && !p.plan.avail[i] && p.isOut(i) {
				pc.retryAt = now.Add(ownBackoff)
				if pc.refused.IsZero() {
					pc.refused = now
				}
			}
		}
		p.mu.Unlock()
	}
	return errRefused
}

// receive writes the answer, which covers the blob from off to end, and
// verifies each piece when its last byte is there.
func (p *pack) receive(ctx context.Context, body io.Reader, off, end int64, silence *time.Timer, part *slot) (done int, n int64, err error) {
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for off < end {
		i := int(off / p.meta.PieceLength)
		stop := min(p.pieceOffset(i)+p.meta.PieceSize(i), end)
		for off < stop {
			b := buf[:min(stop-off, bufferSize)]
			m, err := io.ReadAtLeast(body, b, 1)
			if m > 0 {
				silence.Reset(originSilence)
				n += int64(m)
				if err := p.e.limitDown(ctx, m); err != nil {
					return done, n, err
				}
				if err := p.writeOrigin(i, b[:m], off); err != nil {
					p.writeFailed(err)
					return done, n, err
				}
				off += int64(m)
			}
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return done, n, fmt.Errorf("origin: %w", err)
			}
		}
		if part != nil {
			p.gotPart(i, part, n)
		} else if p.verified(i, byOrigin) == nil {
			// A bad piece is not the last word: it is asked for again, whole.
			p.t.Piece(i).UpdateCompletion()
		}
		p.mu.Lock()
		p.pieces[i].origin = false
		p.mu.Unlock()
		done++
	}
	return done, n, nil
}

func (e *Engine) limitDown(ctx context.Context, n int) error {
	for n > 0 {
		m := min(n, leastBurst)
		if err := e.limits.down.WaitN(ctx, m); err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// busyError is a host that asks to be left alone for a while.
type busyError struct {
	status string
	after  time.Duration
}

func (b *busyError) Error() string { return "the host is busy: " + b.status }

// retryAfter returns the delay that a response asks for, between 1 s and 60 s.
func retryAfter(resp *http.Response) time.Duration {
	n, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		n = 1
	}
	return time.Duration(min(max(n, 1), 60)) * time.Second
}

// contentRange parses a Content-Range of a blob of the given length into a
// half-open range.
func contentRange(s string, length int64) (off, end int64, err error) {
	bad := fmt.Errorf("Content-Range %q", s)
	spec, ok := strings.CutPrefix(s, "bytes ")
	rng, total, ok2 := strings.Cut(spec, "/")
	first, last, ok3 := strings.Cut(rng, "-")
	if !ok || !ok2 || !ok3 || total != strconv.FormatInt(length, 10) {
		return 0, 0, bad
	}
	off, err = strconv.ParseInt(first, 10, 64)
	if err != nil || off < 0 {
		return 0, 0, bad
	}
	end, err = strconv.ParseInt(last, 10, 64)
	if err != nil || end < off || end >= length {
		return 0, 0, bad
	}
	return off, end + 1, nil
}
