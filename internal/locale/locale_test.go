package locale

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// numeric is an LC_NUMERIC file with a decimal point and a separator.
func numeric(point string) []byte {
	const strings = 3
	b := words(0x20031115^1, strings, 8+4*strings, 8+4*strings+uint32(len(point))+1, 8+4*strings)
	return append(b, point+"\x00.\x00"...)
}

func words(w ...uint32) (b []byte) {
	for _, v := range w {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// archive is one of two locales whose names have the same place in a table of 5.
func archive(first, second string) []byte {
	const size, table = 5, 56
	b := make([]byte, table+12*size)
	copy(b, words(0xde020109, 1, table, 2, size))
	for _, n := range []string{first, second} {
		h := archiveHash(n)
		at := h % size
		for binary.NativeEndian.Uint32(b[table+12*at+4:]) != 0 {
			at = (at + 1 + h%(size-2)) % size
		}
		data := uint32(len(b))
		point := ","
		if n == second {
			point = "٫"
		}
		b = append(b, numeric(point)...)
		length := uint32(len(b)) - data
		nameAt := uint32(len(b))
		b = append(b, n+"\x00"...)
		copy(b[table+12*at:], words(h, nameAt, uint32(len(b))))
		b = append(b, words(1, 0, 0, data, length)...)
	}
	return b
}

func TestArchive(t *testing.T) {
	a := bytes.NewReader(archive("de_DE.utf8", "ps_AF"))
	for name, want := range map[string]string{"de_DE.utf8": ",", "ps_AF": "٫", "fr_FR.utf8": "", "": ""} {
		b, err := fromArchive(a, name)
		got := ""
		if err == nil {
			got, err = point(b)
		}
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestNormalized(t *testing.T) {
	for in, want := range map[string]string{
		"de_DE.UTF-8": "de_DE.utf8", "de_DE": "de_DE", "C.UTF-8": "C.utf8", "de_DE.8859-1@euro": "de_DE.iso88591@euro", "de_DE.ISO-8859-15": "de_DE.iso885915", "x.": "x.",
	} {
		if got := normalized(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	for name, b := range map[string][]byte{"de_DE.utf8": numeric(","), "xx": []byte("no locale"), "yy": numeric("")} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "LC_NUMERIC"), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for env, want := range map[string]string{
		"LANG=de_DE.UTF-8": ",", "LANG=de_DE.UTF-8 LC_NUMERIC=C": ".", "LANG=de_DE.UTF-8 LC_ALL=POSIX": ".", "LC_NUMERIC=de_DE.utf8 LC_ALL=": ",", "": ".",
		"LANG=xx": ".", "LANG=yy": ".", "LANG=zz": ".", "LANG=../de_DE.utf8": ".", "LC_CTYPE=de_DE.UTF-8": ".",
	} {
		vars := map[string]string{"LOCPATH": "/nonexistent:" + dir}
		for _, w := range strings.Fields(env) {
			k, v, _ := strings.Cut(w, "=")
			vars[k] = v
		}
		if got := DecimalPoint(func(k string) string { return vars[k] }); got != want {
			t.Errorf("%s: %q, want %q", env, got, want)
		}
	}
}

// TestSystem asks the system for every locale that is installed.
func TestSystem(t *testing.T) {
	out, err := exec.Command("locale", "-a").Output()
	if err != nil {
		t.Skip("needs the program locale, of libc-bin")
	}
	for _, name := range strings.Fields(string(out)) {
		cmd := exec.Command("locale", "decimal_point")
		cmd.Env = []string{"LC_ALL=" + name}
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got := DecimalPoint(func(k string) string { return map[string]string{"LC_ALL": name}[k] })
		if got != strings.TrimSuffix(string(want), "\n") {
			t.Errorf("%s: %q, the system says %q", name, got, want)
		}
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(archive("de_DE.utf8", "ps_AF"), "ps_AF")
	f.Add(archive("a", "b"), "c")
	f.Add(words(0xde020109, 1, 0, 0, 0xffffffff), "x")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		if got, err := fromArchive(bytes.NewReader(b), name); err == nil {
			point(got)
		}
	})
}

func FuzzPoint(f *testing.F) {
	f.Add(numeric(","))
	f.Add(words(0x20031115^1, 1, 0xffffffff))
	f.Fuzz(func(t *testing.T, b []byte) { point(b) })
}
