package index

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/fsroot"
)

var errCrash = errors.New("crash")

// TestCrashAtEveryStep stops a commit before each of its steps and wants the
// generation before, then the new one, whole.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	steps := []string{"write generation", "rename generation", "write delta", "sync packs", "sync generation", "write current", "sync current", "collect"}
	for _, at := range steps {
		t.Run(at, func(t *testing.T) {
			m := newModule(t, Config{KeepBelow: 100})
			m.write("a", noise(1, 20000))
			m.write("b", noise(2, 50))
			m.scan(true)
			before := brute(t, m.dir)
			m.write("a", noise(3, 30000))
			m.write("c", noise(4, 60))
			reached := false
			m.step = func(name string) error {
				if name == at {
					reached = true
					return errCrash
				}
				return nil
			}
			if _, err := m.Scan(context.Background(), true); !errors.Is(err, errCrash) {
				t.Fatalf("scan: %v", err)
			}
			if !reached {
				t.Fatal("no such step")
			}
			m.reopen()
			committed := at == "sync current" || at == "collect"
			want := int64(1)
			if committed {
				want = 2
			}
			if got := m.Generation(); got != want {
				t.Fatalf("generation %d, want %d", got, want)
			}
			if !committed {
				r := m.reader()
				for p, id := range before {
					if e, err := r.Lookup(p); err != nil || e.ID != id {
						t.Errorf("%q before the crash: %+v, %v", p, e, err)
					}
				}
				if _, kept, ok := r.Small("b"); !ok || len(kept) != 50 {
					t.Error("kept bytes are lost")
				}
			}
			m.scan(true)
			verify(t, m.Index, m.dir, true)
			assertNoLeftovers(t, m.st)
		})
	}
}

// TestGoOnAfterAFailedStep is for errors that leave the process alive.
func TestGoOnAfterAFailedStep(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"write generation", "write current", "sync current", "collect"} {
		m := newModule(t, Config{KeepBelow: 100})
		m.write("a", noise(1, 90))
		m.scan(true)
		m.write("a", noise(2, 91))
		fail := m.step
		m.step = func(name string) error {
			if name == at {
				return errCrash
			}
			return fail(name)
		}
		if _, err := m.Scan(context.Background(), true); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		r := m.reader() // of whatever is current
		m.step = fail
		m.write("a", noise(3, 92))
		m.scan(true)
		if _, _, ok := r.Small("a"); !ok {
			t.Errorf("%s: the next generation spoilt one being read", at)
		}
		verify(t, m.Index, m.dir, true)
		assertNoLeftovers(t, m.st)
	}
}

func assertNoLeftovers(t *testing.T, st string) {
	t.Helper()
	names, err := os.ReadDir(st)
	if err != nil {
		t.Fatal(err)
	}
	generations := 0
	for _, n := range names {
		if strings.HasSuffix(n.Name(), fsroot.TempSuffix) {
			t.Errorf("%s is left over", n.Name())
		}
		if strings.HasPrefix(n.Name(), "gen-") {
			generations++
		}
	}
	if generations > 2 {
		t.Errorf("%d generations are left", generations)
	}
}

// TestKilledWriter kills a process that makes generation after generation, at
// whatever instant, and wants a sound index each time. Meanwhile another
// reader never sees anything but whole generations.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("PRSYNC_TEST_WRITER"); dir != "" {
		writeForever(dir)
	}
	if testing.Short() {
		t.Skip("starts processes")
	}
	base := t.TempDir()
	for _, d := range []string{"tree", "mod"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	st := filepath.Join(base, "mod")
	for round := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "PRSYNC_TEST_WRITER="+base)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n <= round%3 && lines.Scan(); n++ {
			checkWhole(t, st)
		}
		// A little later each round, so that different steps are hit.
		time.Sleep(time.Duration(round*700) * time.Microsecond)
		cmd.Process.Kill()
		io.Copy(io.Discard, out)
		cmd.Wait()
		checkWhole(t, st)
	}
	x, err := Open(st, Config{Root: filepath.Join(base, "tree")})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, err := x.Scan(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	verify(t, x, filepath.Join(base, "tree"), true)
	assertNoLeftovers(t, st)
	if x.Generation() < 12 {
		t.Errorf("only %d generations were made", x.Generation())
	}
}

func writeForever(base string) {
	tree := filepath.Join(base, "tree")
	x, err := Open(filepath.Join(base, "mod"), Config{Root: tree, PackSize: 1 << 20, KeepBelow: 1000})
	for i := 0; err == nil; i++ {
		for k := range 5 {
			err = errors.Join(err, os.WriteFile(filepath.Join(tree, fmt.Sprintf("f%d", (i+k*7)%40)), noise(int(time.Now().UnixNano()), 30+k*9000), 0o644))
		}
		if err == nil {
			_, err = x.Scan(context.Background(), true)
		}
		fmt.Println("generation", i)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// checkWhole reads all there is to read of the current generation.
func checkWhole(t *testing.T, st string) {
	t.Helper()
	r, err := OpenReader(st)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n := 0
	for e, err := range r.Entries("") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if _, err := r.Names(e.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n != r.Len() {
		t.Fatalf("%d entries, the header says %d", n, r.Len())
	}
	packs, err := r.Packs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packs {
		if _, err := r.Pack(p.InfoHash); err != nil && !r.Stale() {
			t.Fatal(err)
		}
	}
}

func TestOneWriter(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{})
	if _, err := Open(m.st, m.cfg); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second writer: %v", err)
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	m := newModule(t, Config{KeepBelow: 1000})
	for i := range 500 {
		m.write(fmt.Sprintf("d%d/f%d", i%9, i), noise(i, 100+i*40))
	}
	m.scan(true)
	m.Index.Close()
	name := filepath.Join(m.st, generationName(1))
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	read := func() error {
		r, err := OpenReader(m.st)
		if err != nil {
			return err
		}
		defer r.Close()
		for e, err := range r.Entries("") {
			if err != nil {
				return err
			}
			if _, err := r.Names(e.ID, 0); err != nil {
				return err
			}
			if _, err := r.Locate(nil); err != nil {
				return err
			}
		}
		_, err = r.Packs()
		return err
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(good); off += 1 + len(good)/150 {
		bad := append([]byte(nil), good...)
		bad[off] ^= 0x10
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := read(); err == nil {
			t.Errorf("a flipped bit at %d of %d goes unseen", off, len(good))
		}
	}
	if err := os.WriteFile(name, good[:len(good)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("half a file: %v", err)
	}
}
