package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// The layout of rsync 3.5.0 io.c:send_msg: length and MPLEX_BASE+tag in a
// little-endian integer.
func TestFrames(t *testing.T) {
	var b, tee bytes.Buffer
	w := NewWriter(&b)
	w.Protocol = 31
	w.Tee = &tee
	w.Int(31)
	w.StartMux()
	w.Byte('a')
	w.Flush()
	w.MsgInOrder(MsgInfo, []byte("hi\n"))
	w.Flush()
	w.Byte('b')
	w.Flush()
	w.MsgInt(MsgIOError, 1)
	w.Flush()
	w.KeepAlive()
	w.Protocol = 30
	w.KeepAlive()
	w.Protocol = 29
	w.KeepAlive()
	w.StopMux()
	w.Byte('c')
	w.Flush()
	const want = "1f000000" + "01000007" + "61" + "03000009" + "68690a" + "01000007" + "62" +
		"0400001d" + "01000000" + "00000007" + "00000031" + "63"
	if got := hex.EncodeToString(b.Bytes()); got != want {
		t.Errorf("wrote %s\nwant  %s", got, want)
	}
	if tee.String() != "\x1f\x00\x00\x00abc" {
		t.Errorf("the copy holds %q", tee.String())
	}
	if w.Total() != int64(b.Len()) {
		t.Errorf("Total() = %d of %d", w.Total(), b.Len())
	}

	var msgs []string
	r := NewReader(iotest.OneByteReader(&b))
	tee.Reset()
	r.Tee = &tee
	r.OnMsg = func(code Msg, p []byte) error {
		msgs = append(msgs, fmt.Sprintf("%d:%s", code, p))
		return nil
	}
	r.Int()
	r.StartMux()
	data := string(r.Bytes(2))
	if data != "ab" || r.Err() != nil {
		t.Errorf("read %q, %v", data, r.Err())
	}
	if want := "[2:hi\n]"; fmt.Sprint(msgs) != want {
		t.Errorf("messages %q", msgs)
	}
	if tee.String() != "\x1f\x00\x00\x00ab" {
		t.Errorf("the reader's copy holds %q", tee.String())
	}
}

// A message overtakes the data of the same flush.
func TestMessagesFirst(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.StartMux()
	w.Byte('a')
	w.MsgInOrder(MsgInfo, []byte("1"))
	w.Byte('b')
	w.Msg(MsgInfo, []byte("2"))
	w.Flush()
	const want = "01000009" + "31" + "01000009" + "32" + "02000007" + "6162"
	if got := hex.EncodeToString(b.Bytes()); got != want {
		t.Errorf("wrote %s, want %s", got, want)
	}
}

// rsync's message buffer takes less than 5120 bytes: a longer message goes in
// pieces.
func TestLongMessage(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	w.StartMux()
	text := strings.Repeat("0123456789", 3000)
	w.Msg(MsgError, []byte(text))
	w.Msg(MsgNoop, nil)
	w.Byte('!')
	w.Flush()
	r := NewReader(&b)
	r.StartMux()
	got, noops := "", 0
	r.OnMsg = func(code Msg, p []byte) error {
		if len(p) >= 4096+1024 {
			t.Errorf("a frame of %d bytes", len(p))
		}
		if code == MsgNoop {
			noops++
		}
		got += string(p)
		return nil
	}
	if r.Byte() != '!' {
		t.Error(r.Err())
	}
	r.Byte()
	if got != text || noops != 1 {
		t.Errorf("%d bytes and %d empty messages came", len(got), noops)
	}
}

func TestBadFrames(t *testing.T) {
	for in, want := range map[string]string{
		"00000006":         "unexpected tag -1",
		"0000006e":         "unexpected tag 103",
		"010001 09":        "exceeds the limit",
		"ffffff07":         io.ErrUnexpectedEOF.Error(),
		"0400001d 0000":    io.ErrUnexpectedEOF.Error(),
		"00000007 0000":    io.ErrUnexpectedEOF.Error(),
		"00000009":         "refused",
		"01000007 61 0100": io.ErrUnexpectedEOF.Error(),
	} {
		r := reader(t, 31, in)
		r.StartMux()
		r.OnMsg = func(code Msg, p []byte) error { return errors.New("refused") }
		r.Int()
		if r.Err() == nil || !strings.Contains(r.Err().Error(), want) {
			t.Errorf("%s: %v, want %s", in, r.Err(), want)
		}
	}
	if r := reader(t, 31, "0000006e"); r.frame() || !errors.Is(r.Err(), ErrMuxTag) {
		t.Error("the tag's error has lost its kind")
	}
}

// silent never returns anything, nor an error.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

func TestStuckStream(t *testing.T) {
	r := NewReader(silent{})
	if r.Byte(); !errors.Is(r.Err(), io.ErrNoProgress) {
		t.Errorf("err = %v", r.Err())
	}
}

func TestErrorsStick(t *testing.T) {
	r := NewReader(iotest.ErrReader(io.ErrClosedPipe))
	if r.Varlong(3) != 0 || r.Vstring(9) != "" || r.Int() != 0 {
		t.Error("values after an error")
	}
	r.Fail(errors.New("another"))
	if r.Err() != io.ErrClosedPipe {
		t.Errorf("err = %v", r.Err())
	}
	pr, pw := Pipe()
	pr.Close()
	w := NewWriter(pw)
	for range 100 {
		w.Write(make([]byte, 4096))
	}
	if !errors.Is(w.Flush(), io.ErrClosedPipe) || w.Total() != 0 {
		t.Errorf("err = %v after %d bytes", w.Err(), w.Total())
	}
}

// Any split into writes, flushes and messages carries the same data.
func TestStreamReturns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type op struct {
			data  []byte
			kind  int // 0 data, 1 message, 2 message in order, 3 flush, 4 keep-alive
			chunk int
		}
		ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
			o := op{kind: rapid.IntRange(0, 4).Draw(t, "kind"), chunk: rapid.IntRange(1, 40000).Draw(t, "chunk")}
			o.data = bytes.Repeat([]byte{byte(rapid.IntRange(0, 255).Draw(t, "byte"))}, rapid.IntRange(0, 70000).Draw(t, "len"))
			return o
		}), 0, 12).Draw(t, "ops")
		pr, pw := Pipe()
		var want, wantMsgs int
		var sum, gotSum [256]int
		for _, o := range ops {
			switch o.kind {
			case 0:
				want += len(o.data)
				if len(o.data) > 0 {
					sum[o.data[0]] += len(o.data)
				}
			case 1, 2:
				wantMsgs += len(o.data)
			}
		}
		go func() {
			w := NewWriter(pw)
			w.Protocol = 31
			w.StartMux()
			for _, o := range ops {
				switch o.kind {
				case 0:
					for p := o.data; len(p) > 0; {
						n := min(o.chunk, len(p))
						w.Write(p[:n])
						p = p[n:]
					}
				case 1:
					w.Msg(MsgInfo, o.data)
				case 2:
					w.MsgInOrder(MsgInfo, o.data)
				case 3:
					w.Flush()
				case 4:
					w.KeepAlive()
				}
			}
			w.Flush()
			pw.Close()
		}()
		r := NewReader(pr)
		r.StartMux()
		msgs := 0
		r.OnMsg = func(_ Msg, p []byte) error { msgs += len(p); return nil }
		got, err := io.ReadAll(r)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("the end is %v", err)
		}
		for _, c := range got {
			gotSum[c]++
		}
		if len(got) != want || msgs != wantMsgs || sum != gotSum {
			t.Fatalf("%d of %d data bytes, %d of %d in messages", len(got), want, msgs, wantMsgs)
		}
	})
}

// Messages may be queued by anyone while the owner writes and another flushes.
func TestConcurrentMessages(t *testing.T) {
	pr, pw := Pipe()
	w := NewWriter(pw)
	w.Protocol = 31
	w.StartMux()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	const n, each = 4, 500
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				w.MsgInt(MsgRedo, int32(i))
				w.Nudge()
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := range 20000 {
			w.Int(int32(i))
			w.SetEager(i%64 == 0)
			w.EndItem()
		}
	}()
	pump := make(chan struct{})
	go func() {
		defer close(pump)
		for {
			select {
			case <-w.Wake():
				w.Flush()
				w.KeepAlive()
				_ = w.Err()
			case <-stop:
				return
			}
		}
	}()
	go func() {
		wg.Wait()
		close(stop)
		<-pump
		w.Flush()
		pw.Close()
	}()
	r := NewReader(pr)
	r.StartMux()
	msgs := 0
	r.OnMsg = func(Msg, []byte) error { msgs++; return nil }
	for i := range 20000 {
		if v := r.Int(); v != int32(i) {
			t.Fatalf("%d came as %d, %v", i, v, r.Err())
		}
	}
	r.Byte()
	if msgs != n*each {
		t.Errorf("%d of %d messages", msgs, n*each)
	}
}

func TestPipe(t *testing.T) {
	r, w := Pipe()
	data := bytes.Repeat([]byte("0123456789abcdef"), 100000)
	go func() {
		for p := data; len(p) > 0; {
			n := min(len(p), 70001)
			if _, err := w.Write(p[:n]); err != nil {
				t.Error(err)
			}
			p = p[n:]
		}
		w.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes, %v", len(got), len(data), err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("writing to a closed pipe works")
	}
}

// TestNudgeWakesForSomething: data and messages that wait wake who flushes; an
// empty writer wakes nobody, a busy one in any case.
func TestNudgeWakesForSomething(t *testing.T) {
	w := NewWriter(io.Discard)
	w.StartMux()
	woken := func() bool {
		w.Nudge()
		select {
		case <-w.Wake():
			return true
		default:
			return false
		}
	}
	if woken() {
		t.Error("woken for nothing")
	}
	w.Int(1)
	if !woken() {
		t.Error("not woken for data")
	}
	w.Flush()
	if woken() {
		t.Error("woken for what is flushed")
	}
	w.MsgInOrder(MsgInfo, []byte("text"))
	if !woken() {
		t.Error("not woken for a message")
	}
	w.Flush()
	w.mu.Lock()
	if !woken() {
		t.Error("not woken while somebody writes")
	}
	w.mu.Unlock()
}
