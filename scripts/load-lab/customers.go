package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// customersArg makes this program the customers of a real run: it reads their
// errands and writes what became of them.
const customersArg = "customers-of-a-real-run"

// patience is after how long a customer gives up.
const patience = 30 * time.Second

// errand is one customer's request.
type errand struct {
	At     float64 // seconds after the start
	URL    string
	Rate   float64 // of the downlink, bytes per second
	SHA256 string
}

type errandResult struct {
	Seconds float64
	From    string // host:port that sent the file
	Error   string
}

func customers(in io.Reader, out io.Writer) error {
	var plan []errand
	if err := json.NewDecoder(in).Decode(&plan); err != nil {
		return err
	}
	results := make([]errandResult, len(plan))
	var wg sync.WaitGroup
	began := time.Now()
	for i, e := range plan {
		time.Sleep(time.Until(began.Add(time.Duration(e.At * float64(time.Second)))))
		wg.Go(func() {
			start := time.Now()
			from, err := e.fetch()
			results[i] = errandResult{Seconds: time.Since(start).Seconds(), From: from}
			if err != nil {
				results[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return json.NewEncoder(out).Encode(results)
}

// fetch follows redirects and reads no faster than the downlink.
func (e *errand) fetch() (from string, err error) {
	t := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			// What waits in the kernel has left the volunteer: keep it little.
			c.(*net.TCPConn).SetReadBuffer(32 << 10)
		}
		return c, err
	}}
	defer t.CloseIdleConnections()
	resp, err := (&http.Client{Transport: t, Timeout: patience}).Get(e.URL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	from = resp.Request.URL.Host
	if resp.StatusCode != http.StatusOK {
		return from, fmt.Errorf("%s: %s", e.URL, resp.Status)
	}
	h := sha256.New()
	start, total := time.Now(), 0.0
	for buf := make([]byte, 8<<10); ; {
		n, err := resp.Body.Read(buf)
		h.Write(buf[:n])
		total += float64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return from, err
		}
		time.Sleep(time.Until(start.Add(time.Duration(total / e.Rate * float64(time.Second)))))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != e.SHA256 {
		return from, fmt.Errorf("%s: wrong content from %s", e.URL, from)
	}
	return from, nil
}
