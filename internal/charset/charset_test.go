package charset

import (
	"errors"
	"testing"
	"unicode/utf8"
)

func TestConvert(t *testing.T) {
	for _, tt := range []struct{ set, local, utf8 string }{
		{"latin1", "gr\xfc\xdfe", "grüße"},
		{"ISO-8859-1", "\xe9", "é"},
		{"iso8859-15", "\xa4", "€"},
		{"CP1252", "\x80", "€"},
		{"windows-1251", "\xcc\xe8\xf0", "Мир"},
		{"KOI8-R", "\xed\xc9\xd2", "Мир"},
		{"koi8r", "\xed\xc9\xd2", "Мир"},
		{"SJIS", "\x93\xfa", "日"},
		{"EUC-JP", "\xc6\xfc", "日"},
		{"GBK", "\xc8\xd5", "日"},
		{"BIG5", "\xa4\xe9", "日"},
		{"EUC-KR", "\xc7\xd1", "한"},
		{"cp437", "\x81", "ü"},
		{"cp850", "\x81", "ü"},
		{"utf8", "grüße", "grüße"},
		{"UTF-8", "日", "日"},
		{"ANSI_X3.4-1968", "plain", "plain"},
	} {
		s, err := Lookup(tt.set)
		if err != nil {
			t.Errorf("%s: %v", tt.set, err)
			continue
		}
		if got, err := s.ToUTF8(tt.local); got != tt.utf8 || err != nil {
			t.Errorf("%s.ToUTF8(%q) = %q, %v, want %q", tt.set, tt.local, got, err, tt.utf8)
		}
		if got, err := s.FromUTF8(tt.utf8); got != tt.local || err != nil {
			t.Errorf("%s.FromUTF8(%q) = %q, %v, want %q", tt.set, tt.utf8, got, err, tt.local)
		}
	}
}

func TestBad(t *testing.T) {
	for _, tt := range []struct {
		set, text string
		from      bool // from UTF-8
		want      error
		kept      string
	}{
		{"latin1", "a日b", true, ErrInvalid, "a日b"},
		{"latin1", "é日é", true, ErrInvalid, "\xe9日\xe9"},
		{"latin1", "a\xffb", true, ErrInvalid, "a\xffb"},
		{"latin1", "a\xe6\x97", true, ErrIncomplete, "a\xe6\x97"},
		{"utf8", "\xff", false, ErrInvalid, "\xff"},
		{"utf8", "\xe6\x97", false, ErrIncomplete, "\xe6\x97"},
		{"ascii", "é", false, ErrInvalid, "é"},
		{"ascii", "é", true, ErrInvalid, "é"},
		{"SJIS", "x\x93", false, ErrInvalid, "x\x93"},
		{"SJIS", "\xff\x93\xfa", false, ErrInvalid, "\xff日"},
	} {
		s, err := Lookup(tt.set)
		if err != nil {
			t.Fatal(err)
		}
		conv, lossy := s.ToUTF8, s.Decode
		if tt.from {
			conv, lossy = s.FromUTF8, s.Encode
		}
		if _, err := conv(tt.text); !errors.Is(err, tt.want) {
			t.Errorf("%s: %q: %v, want %v", tt.set, tt.text, err, tt.want)
		}
		if got := lossy(tt.text); got != tt.kept {
			t.Errorf("%s: %q kept as %q, want %q", tt.set, tt.text, got, tt.kept)
		}
	}
	if _, err := Lookup("no-such-set"); err == nil {
		t.Error("an unknown set was found")
	}
}

func FuzzConvert(f *testing.F) {
	f.Add("latin1", "a\xe9")
	f.Add("SJIS", "\x93\xfa\x93")
	f.Add("utf8", "日\xff")
	f.Fuzz(func(t *testing.T, name, text string) {
		s, err := Lookup(name)
		if err != nil {
			return
		}
		out, err := s.ToUTF8(text)
		if err != nil {
			s.Decode(text)
			return
		}
		if !utf8.ValidString(out) {
			t.Errorf("%s: %q became %q, which is no UTF-8", name, text, out)
		}
		s.Encode(out)
	})
}
