package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// version is the directory of one of the two versions of a data set.
func (b *bench) version(data string, v int) string {
	return filepath.Join(b.dir, fmt.Sprintf("%s%d", data, v))
}

// data makes both versions of a data set, once.
func (b *bench) data(name string) error {
	if name == "" || b.made[name] {
		return nil
	}
	b.made[name] = true
	for v := range 2 {
		dir := b.version(name, v)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		var err error
		switch name {
		case "tiny":
			err = writeFile(filepath.Join(dir, "file"), []byte("tiny\n"), v)
		case "small":
			err = b.small(dir, v)
		case "big":
			err = b.big(filepath.Join(dir, "file"), v)
		case "million":
			err = b.million(dir)
		}
		if err != nil {
			return err
		}
	}
	settle(b.dir)
	return nil
}

var epoch = time.Unix(1700000000, 0)

// writeFile writes a file with a time of its version.
func writeFile(path string, p []byte, v int) error {
	if err := os.WriteFile(path, p, 0o644); err != nil {
		return err
	}
	t := epoch.Add(time.Duration(v) * time.Hour)
	return os.Chtimes(path, t, t)
}

// fill makes contents of which about half compresses away.
func fill(rnd *rand.Rand, p []byte) {
	const words = "the quick brown fox jumps over the lazy dog and runs away \n"
	for i := 0; i < len(p); {
		if rnd.IntN(2) == 0 {
			for n := rnd.IntN(64); n >= 0 && i < len(p); n-- {
				p[i] = byte(rnd.Uint32())
				i++
			}
			continue
		}
		at := rnd.IntN(len(words))
		i += copy(p[i:], words[at:])
	}
}

// small makes 20,000 files of 0 to 64 KiB in 200 directories. In version 1 one
// in a hundred has another byte in the middle.
func (b *bench) small(dir string, v int) error {
	files := max(200, int(20000*b.scale))
	rnd := rand.New(rand.NewPCG(1, 2))
	pool := make([]byte, 4<<20)
	fill(rnd, pool)
	for d := range 200 {
		sub := filepath.Join(dir, fmt.Sprintf("dir%d", d%14), fmt.Sprintf("sub%d", d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		for i := range files / 200 {
			size := rnd.IntN(64<<10 + 1)
			if rnd.IntN(2) == 0 {
				size = rnd.IntN(4 << 10) // most files of a tree are small
			}
			at := rnd.IntN(len(pool) - size)
			p := append([]byte(nil), pool[at:at+size]...)
			other := 0
			if i%100 == 0 {
				other = v
				if v == 1 && size > 0 {
					p[size/2] ^= 1
				}
			}
			if err := writeFile(filepath.Join(sub, fmt.Sprintf("file%d.dat", i)), p, other); err != nil {
				return err
			}
		}
	}
	return nil
}

// big makes one file of 1 GiB. Version 1 differs in one block of 64 KiB in a
// hundred, and is 1000 bytes longer at the front of its second half.
func (b *bench) big(path string, v int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rnd := rand.New(rand.NewPCG(3, 4))
	buf := make([]byte, 64<<10)
	n := max(1, int(16384*b.scale))
	for i := range n {
		fill(rnd, buf)
		if v == 1 && i%100 == 50 {
			for j := range buf {
				buf[j] ^= 0x55
			}
		}
		if v == 1 && i == n/2 {
			if _, err := f.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	t := epoch.Add(time.Duration(v) * time.Hour)
	return os.Chtimes(path, t, t)
}

// million makes 1,000,000 empty files in 1000 directories.
func (b *bench) million(dir string) error {
	n := max(1000, int(1000000*b.scale))
	ts := []unix.Timespec{unix.NsecToTimespec(epoch.UnixNano()), unix.NsecToTimespec(epoch.UnixNano())}
	for d := range 1000 {
		sub := filepath.Join(dir, fmt.Sprintf("dir%d", d%31), fmt.Sprintf("sub%d", d))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		fd, err := unix.Open(sub, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		for i := range n / 1000 {
			name := fmt.Sprintf("file-number-%d.txt", i)
			f, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			if err == nil {
				unix.Close(f)
				err = unix.UtimesNanoAt(fd, name, ts, 0)
			}
			if err != nil {
				unix.Close(fd)
				return err
			}
		}
		unix.Close(fd)
	}
	// Directories last: they have to be equal in both versions.
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chtimes(path, epoch, epoch)
		}
		return err
	})
}

// settle waits until what was written is on the disk, so that one run does not
// pay for the one before.
func settle(dir string) {
	if fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		unix.Syncfs(fd)
		unix.Close(fd)
	}
}
