package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

var epoch = time.Unix(1700000000, 0)

// random returns bytes that do not compress, the same for the same seed.
func random(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// write makes a file of random bytes.
func write(path string, seed uint64, size int64) error {
	return writeFrom(path, io.LimitReader(random(seed), size))
}

func writeFrom(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Chtimes(path, epoch, epoch)
}

// treeSize is the bytes of all regular files below a directory.
func treeSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			fi, err := d.Info()
			if err != nil {
				return err
			}
			n += fi.Size()
		}
		return err
	})
	return n, err
}

// one is a tree of one file.
func one(size int64) func(dir string) error {
	return func(dir string) error { return write(filepath.Join(dir, "file"), 1, size) }
}

// folders is a tree of four folders with two files each.
func folders(size int64) func(dir string) error {
	return func(dir string) error {
		for i := range 8 {
			if err := write(filepath.Join(dir, fmt.Sprintf("folder%d/file%d", i/2, i)), uint64(100+i), size/8); err != nil {
				return err
			}
		}
		return nil
	}
}

// many is a tree of 2,000 files of 5 KB to 1 MB, many small and few large, as
// repositories are. A smaller size has fewer files.
func many(size int64) func(dir string) error {
	return func(dir string) error {
		const mean, least, ratio = 50e3, 5e3, 200
		n := max(20, int(size/mean))
		sizes := func(k float64) (all []int64, sum int64) {
			for i := range n {
				s := int64(least * math.Pow(ratio, math.Pow((float64(i)+0.5)/float64(n), k)))
				all, sum = append(all, s), sum+s
			}
			return all, sum
		}
		lo, hi := 0.1, 50.0 // the larger, the smaller
		for range 60 {
			if _, sum := sizes((lo + hi) / 2); sum > size {
				lo = (lo + hi) / 2
			} else {
				hi = (lo + hi) / 2
			}
		}
		all, _ := sizes(hi)
		order := rand.New(rand.NewPCG(5, 6)).Perm(n)
		for i, k := range order {
			if err := write(filepath.Join(dir, fmt.Sprintf("d%02d/f%04d", i/50, i)), uint64(1000+i), all[k]); err != nil {
				return err
			}
		}
		return nil
	}
}

// duplicates is a tree of large files of which 17 % are others' copies under
// other names.
func duplicates(size int64) func(dir string) error {
	return func(dir string) error {
		for i := range 100 {
			seed := i
			if i%6 == 5 || i == 50 {
				seed = i - 2
			}
			if err := write(filepath.Join(dir, fmt.Sprintf("d%d/package-%d.rpm", i%7, i)), uint64(2000+seed), size/100); err != nil {
				return err
			}
		}
		return nil
	}
}

// changedImage writes what one made with 1 % of it changed in place, in blocks
// of 64 KiB, and 1000 bytes inserted in its middle.
func changedImage(path string, size int64) error {
	const block = 64 << 10
	old := bufio.NewReaderSize(io.LimitReader(random(1), size), 1<<20)
	rnd := rand.New(rand.NewPCG(7, 8))
	blocks := int(size / block)
	changed := rnd.Perm(blocks)[:max(1, blocks/100)]
	slices.Sort(changed)
	r, w := io.Pipe()
	go func() {
		buf := make([]byte, block)
		for i := 0; ; i++ {
			n, err := io.ReadFull(old, buf)
			if _, hit := slices.BinarySearch(changed, i); hit {
				for j := range buf[:n] {
					buf[j] ^= 0x5a
				}
			}
			if i == blocks/2 {
				io.CopyN(w, random(9), 1000)
			}
			w.Write(buf[:n])
			if err != nil {
				w.Close()
				return
			}
		}
	}()
	if err := writeFrom(path, r); err != nil {
		return err
	}
	return os.Chtimes(path, epoch.Add(time.Hour), epoch.Add(time.Hour))
}
