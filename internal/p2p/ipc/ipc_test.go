package ipc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

func pair(t *testing.T) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFramesAndFiles(t *testing.T) {
	ca, cb := pair(t)
	a, b := NewConn(ca), NewConn(cb)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	big := bytes.Repeat([]byte("x"), MaxBody)
	sent := make(chan error, 1)
	go func() {
		for i := range 50 {
			var err error
			if i%2 == 0 {
				err = a.Send(TypeWant, []byte{byte(i)}, f)
			} else {
				err = a.Send(TypeCancel, big, nil)
			}
			if err != nil {
				sent <- err
				return
			}
		}
		sent <- a.Close()
	}()
	for i := range 50 {
		got, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if got.Type != TypeWant || got.File == nil || got.Body[0] != byte(i) {
				t.Fatalf("frame %d: %v %v", i, got.Type, got.File)
			}
			if _, err := got.File.WriteAt([]byte{byte(i)}, int64(i)); err != nil {
				t.Fatal(err)
			}
		} else if got.Type != TypeCancel || got.File != nil || !bytes.Equal(got.Body, big) {
			t.Fatalf("frame %d: %v with %d bytes", i, got.Type, len(got.Body))
		}
		got.Close()
	}
	if _, err := b.Receive(); err != io.EOF {
		t.Errorf("after the end: %v, want EOF", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if st, _ := f.Stat(); st.Size() != 49 {
		t.Errorf("the file was not written through the descriptors: %d bytes", st.Size())
	}
}

func TestCheckPeer(t *testing.T) {
	a, _ := pair(t)
	if err := NewConn(a).CheckPeer(); err != nil {
		t.Errorf("the same user is refused: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	for name, raw := range map[string]string{
		"too long":        "\xff\xff\xff\xff\x01\x00",
		"file missing":    "\x00\x00\x00\x00\x12\x01",
		"many files":      "\x00\x00\x00\x00\x12\x02",
		"cut in header":   "\x00\x00",
		"cut in the body": "\x00\x00\x00\x05\x12\x00ab",
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			a.Write([]byte(raw))
			a.Close()
			if f, err := NewConn(b).Receive(); err == nil || err == io.EOF {
				t.Errorf("received %+v, %v", f, err)
			}
		})
	}
}

// Two descriptors with one frame are refused and both closed.
func TestTwoFiles(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rights := syscall.UnixRights(int(w.Fd()), int(w.Fd()))
	if _, _, err := a.WriteMsgUnix([]byte("\x00\x00\x00\x00\x12\x01"), rights, nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := NewConn(b).Receive(); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
	r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a descriptor stayed open: %v", err)
	}
}

// messages has one of each, and how to decode it.
var messages = []struct {
	m      interface{ Encode() []byte }
	decode func([]byte) (any, error)
}{
	{&Hello{1, 2, "01234567890123456789", 6881}, func(b []byte) (any, error) { return DecodeHello(b) }},
	{&Setup{":0", 1, 2, time.Second, "/tmp", "/run/s", time.Minute, true, true}, func(b []byte) (any, error) { return DecodeSetup(b) }},
	{&Offer{3, content.Offer{URL: "http://h", Module: "m", Generation: 9}}, func(b []byte) (any, error) { return DecodeOffer(b) }},
	{&Want{4, 3, content.ID{1}, 100, true, []content.Range{{Off: 0, End: 3}, {Off: 5, End: 100}}}, func(b []byte) (any, error) { return DecodeWant(b) }},
	{&Cancel{4}, func(b []byte) (any, error) { return DecodeCancel(b) }},
	{&Seed{3, content.InfoHash{2}, []byte{0xa0}}, func(b []byte) (any, error) { return DecodeSeed(b) }},
	{&Unseed{content.InfoHash{2}}, func(b []byte) (any, error) { return DecodeUnseed(b) }},
	{&Open{5, content.InfoHash{2}, content.ID{3}}, func(b []byte) (any, error) { return DecodeOpen(b) }},
	{&Opened{5, "gone"}, func(b []byte) (any, error) { return DecodeOpened(b) }},
	{&Announce{6, 3, "secret", []byte("d1:ai1ee")}, func(b []byte) (any, error) { return DecodeAnnounce(b) }},
	{&Announced{6, "", []byte("de")}, func(b []byte) (any, error) { return DecodeAnnounced(b) }},
	{&Event{4, [3]int64{1, 2, 3}, 4, true, "no", []content.Range{{Off: 1, End: 2}}}, func(b []byte) (any, error) { return DecodeEvent(b) }},
	{&Stats{1, [3]int64{1, 2, 3}, 4, 5, 6}, func(b []byte) (any, error) { return DecodeStats(b) }},
	{&Unknown{content.InfoHash{2}}, func(b []byte) (any, error) { return DecodeUnknown(b) }},
	{&Log{-4, "text"}, func(b []byte) (any, error) { return DecodeLog(b) }},
}

func TestMessages(t *testing.T) {
	for _, m := range messages {
		b := m.m.Encode()
		got, err := m.decode(b)
		if err != nil || !reflect.DeepEqual(got, m.m) {
			t.Errorf("%T: got %+v, %v, want %+v", m.m, got, err, m.m)
		}
		for n := range b {
			if _, err := m.decode(b[:n]); err == nil {
				t.Errorf("%T: %d of %d bytes are accepted", m.m, n, len(b))
			}
		}
		if _, err := m.decode(append(b, 0)); err == nil {
			t.Errorf("%T: a byte too many is accepted", m.m)
		}
	}
}

func TestBadRanges(t *testing.T) {
	for _, rs := range [][]content.Range{
		{{Off: 5, End: 5}}, {{Off: -1, End: 5}}, {{Off: 0, End: 101}},
		{{Off: 0, End: 5}, {Off: 4, End: 6}}, {{Off: 8, End: 9}, {Off: 1, End: 2}},
	} {
		w := Want{Length: 100, Have: rs}
		if _, err := DecodeWant(w.Encode()); err == nil {
			t.Errorf("%v is accepted", rs)
		}
	}
}

func TestLongestRanges(t *testing.T) {
	rs := []content.Range{{Off: 0, End: 1}, {Off: 2, End: 5}, {Off: 6, End: 8}, {Off: 9, End: 10}, {Off: 11, End: 12}}
	got := LongestRanges(rs, 3)
	want := []content.Range{{Off: 0, End: 1}, {Off: 2, End: 5}, {Off: 6, End: 8}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzMessages(f *testing.F) {
	for i, m := range messages {
		f.Add(uint8(i), m.m.Encode())
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		d := messages[int(i)%len(messages)]
		got, err := d.decode(b)
		if err != nil {
			return
		}
		again, err := d.decode(got.(interface{ Encode() []byte }).Encode())
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("%+v becomes %+v, %v", got, again, err)
		}
	})
}

// byteReader is a socket without descriptors.
type byteReader struct{ *bytes.Reader }

func (r byteReader) ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	n, err = r.Read(b)
	return n, 0, 0, nil, err
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03\x12\x00abc\x00\x00\x00\x00\x01\x00"))
	f.Add([]byte("\x00\x00\x00\x03\x12\x01abc"))
	f.Add([]byte("\xff\x00\x00\x03\x12\x00abc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := byteReader{bytes.NewReader(b)}
		for {
			before := r.Len()
			fr, err := receive(r)
			if err != nil {
				return
			}
			if before-r.Len() != headerLen+len(fr.Body) {
				t.Fatalf("a frame of %d bytes took %d", len(fr.Body), before-r.Len())
			}
		}
	})
}
