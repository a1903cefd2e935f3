package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSizes gives the options that take sizes and numbers odd ones: none, signs,
// fractions, units, blanks. What is refused, and with which words, is rsync's.
func TestSizes(t *testing.T) {
	needPeer(t)
	values := []string{
		"", "0", "-1", "+1", "1.5k", ".5k", "5.", "1.5", "1kb+1", "1k+2", "1k-2", "1-1", " 1", "1 ", "1e3", "0x10", "010", "k", "1KB",
		"1kib-1", "1t", "1P-1", "9e", "99999999999999999999", "1.5.5k", "1MiB", "0.0001", "1g2",
	}
	// Debian's rsync takes a limit of 0 for none, however it is written; rsync
	// 3.5.0 as released refuses it, as its manual says and we do.
	none := map[string]bool{"": true, "0": true, "k": true, "1-1": true, "0.0001": true}
	for _, option := range []string{"max-size", "min-size", "block-size", "bwlimit", "max-alloc", "max-delete", "modify-window", "timeout", "checksum-seed"} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp(lab, "sizes")
			check(t, err)
			t.Cleanup(func() { removeTree(dir) })
			check(t, os.Mkdir(filepath.Join(dir, "from"), 0o755))
			check(t, os.WriteFile(filepath.Join(dir, "from/f"), []byte("x\n"), 0o644))
			for _, v := range values {
				if option == "max-alloc" && none[v] {
					r := execute(t, dir, []string{prsync, "-ai", "--max-alloc=" + v, "from/", "to/"}, nil, nil)
					if r.code != 1 || !strings.Contains(strings.Join(r.stderr, "\n"), "max-alloc must be greater than zero") {
						t.Errorf("--max-alloc=%q: code %d, %q", v, r.code, r.stderr)
					}
					continue
				}
				said := func(p string) []string {
					check(t, os.RemoveAll(filepath.Join(dir, "to")))
					r := execute(t, dir, []string{p, "-ai", "--" + option + "=" + v, "from/", "to/"}, nil, nil)
					return append(append(r.stdout, r.stderr...), fmt.Sprint("code ", r.code))
				}
				if diff := cmp.Diff(said(peer), said(prsync)); diff != "" {
					t.Errorf("--%s=%q (-: rsync, +: prsync)\n%s", option, v, diff)
				}
			}
		})
	}
}
