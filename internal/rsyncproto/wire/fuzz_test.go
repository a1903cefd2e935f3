package wire

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"
)

// FuzzFrames reads a multiplexed stream in one go and byte by byte: both must
// agree on data, messages and error, and no message may pass the limit.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x07a\x03\x00\x00\x09hi\n\x01\x00\x00\x07b"))
	f.Add([]byte("\x00\x00\x00\x07\x00\x00\x00\x31\x04\x00\x00\x5d\x17\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\x07x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(r *Reader) (data, msgs []byte, err error) {
			r.StartMux()
			r.OnMsg = func(c Msg, p []byte) error {
				if len(p) > maxMsgLen {
					t.Fatalf("message of %d bytes", len(p))
				}
				msgs = append(append(msgs, byte(c)), p...)
				if c == MsgErrorExit {
					return errors.New("exit")
				}
				return nil
			}
			for r.Err() == nil && len(data) < 1<<20 {
				b := r.Byte()
				if r.Err() == nil {
					data = append(data, b)
				}
			}
			return data, msgs, r.Err()
		}
		d1, m1, e1 := read(NewReader(bytes.NewReader(in)))
		d2, m2, e2 := read(NewReader(iotest.OneByteReader(bytes.NewReader(in))))
		if !bytes.Equal(d1, d2) || !bytes.Equal(m1, m2) || e1.Error() != e2.Error() {
			t.Fatalf("%q %q %v\n%q %q %v", d1, m1, e1, d2, m2, e2)
		}
	})
}

// again writes what was read; reading that must give the same.
func again(t *testing.T, protocol int, put func(*Writer), get func(*Reader) any, want any) {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Protocol = protocol
	put(w)
	w.Flush()
	r := NewReader(&b)
	r.Protocol = protocol
	if got := get(r); got != want || r.Err() != nil {
		t.Fatalf("%v came back as %v, %v", want, got, r.Err())
	}
}

func FuzzVarint(f *testing.F) {
	for _, s := range []string{"\x00", "\x80\x80", "\xf0\xff\xff\xff\xff", "\xfc\xff\xff\xff\xff\xff\xff\xff\xff", "\xf8\x00", "\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x80"} {
		f.Add([]byte(s), byte(32))
	}
	f.Fuzz(func(t *testing.T, in []byte, p byte) {
		protocol := 27 + int(p%6)
		for _, min := range []int{0, 3, 4} {
			r := NewReader(bytes.NewReader(in))
			r.Protocol = protocol
			if min == 0 {
				if v := r.Varint30(); r.Err() == nil {
					again(t, protocol, func(w *Writer) { w.Varint30(v) }, func(r *Reader) any { return r.Varint30() }, v)
				}
			} else if v := r.Varlong30(min); r.Err() == nil {
				again(t, protocol, func(w *Writer) { w.Varlong30(v, min) }, func(r *Reader) any { return r.Varlong30(min) }, v)
			}
		}
	})
}

func FuzzNdx(f *testing.F) {
	f.Add([]byte("\x01\x01\xfe\x00\xfe\x00\xff\x01\xff\x01"), byte(30))
	f.Add([]byte("\xfe\xff\xff\xff\xff\x01"), byte(31))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff"), byte(29))
	f.Fuzz(func(t *testing.T, in []byte, p byte) {
		protocol := 27 + int(p%6)
		r := NewReader(bytes.NewReader(in))
		r.Protocol = protocol
		var b bytes.Buffer
		w := NewWriter(&b)
		w.Protocol = protocol
		st, out := NewNdxState(), NewNdxState()
		var read []int32
		for r.Err() == nil {
			v := r.ReadNdx(&st)
			if r.Err() != nil {
				break
			}
			if protocol >= 30 && v < -1<<31+1 {
				t.Fatalf("index %d", v)
			}
			// 0 said to be negative has no encoding of its own.
			if v == 0 && protocol >= 30 && st.pos != 0 {
				return
			}
			read = append(read, v)
			w.WriteNdx(&out, v)
		}
		w.Flush()
		r = NewReader(&b)
		r.Protocol = protocol
		st = NewNdxState()
		for _, v := range read {
			if v == NdxDone && protocol >= 30 {
				st.neg = max(st.neg, 0) // an index of -1 travels as the end mark
			}
			if got := r.ReadNdx(&st); got != v {
				t.Fatalf("%d came back as %d in %v", v, got, read)
			}
		}
	})
}

func FuzzVstring(f *testing.F) {
	f.Add([]byte("\x03abc"))
	f.Add([]byte("\x80\x80" + string(make([]byte, 128))))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		s := r.Vstring(4095)
		if len(s) > 4095 {
			t.Fatalf("%d bytes", len(s))
		}
		if r.Err() == nil {
			again(t, 31, func(w *Writer) { w.Vstring(s) }, func(r *Reader) any { return r.Vstring(4095) }, s)
		}
	})
}
