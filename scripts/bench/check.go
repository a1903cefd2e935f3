package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// check compares a destination with its source: names, types, modes, sizes and
// times (in seconds: rsync leaves one that differs by less), and what the files
// hold where contents is set. A fast program that copies something else is no
// faster.
func check(src, dst string, contents bool) error {
	here, there := 0, 0
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		here++
		want, err := d.Info()
		if err != nil {
			return err
		}
		other := filepath.Join(dst, rel)
		got, err := os.Lstat(other)
		if err != nil {
			return fmt.Errorf("not copied: %w", err)
		}
		if got.Mode() != want.Mode() || got.ModTime().Unix() != want.ModTime().Unix() || want.Mode().IsRegular() && got.Size() != want.Size() {
			return fmt.Errorf("%s differs: %v %d %v, %v %d %v in the source", other,
				got.Mode(), got.Size(), got.ModTime(), want.Mode(), want.Size(), want.ModTime())
		}
		if contents && want.Mode().IsRegular() {
			return sameContents(path, other)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = filepath.WalkDir(dst, func(string, fs.DirEntry, error) error { there++; return nil })
	if err == nil && here != there {
		err = fmt.Errorf("%s has %d entries, the source %d", dst, there, here)
	}
	return err
}

func sameContents(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	pa, pb := make([]byte, 256<<10), make([]byte, 256<<10)
	for {
		na, erra := io.ReadFull(fa, pa)
		nb, errb := io.ReadFull(fb, pb)
		if !bytes.Equal(pa[:na], pb[:nb]) {
			return fmt.Errorf("%s does not hold what %s does", b, a)
		}
		if erra != nil || errb != nil {
			if erra == errb && (erra == io.EOF || erra == io.ErrUnexpectedEOF) {
				return nil
			}
			return fmt.Errorf("reading %s: %v, %s: %v", a, erra, b, errb)
		}
	}
}
