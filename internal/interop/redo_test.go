package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinkedFileAgain has the first name of a hard-linked file fail its
// verification, which --append-verify does where the beginning differs: it is
// sent again, and the others become links of it. Below protocol 28 every file
// is a group of its own.
func TestLinkedFileAgain(t *testing.T) {
	for _, protocol := range []int{27, 28, 29, 30, 31, 32} {
		for _, more := range []string{"", "--no-inc-recursive", "--remove-source-files", "--delete-after"} {
			for _, shell := range []bool{false, true} {
				t.Run(fmt.Sprint(protocol, more, " shell ", shell), func(t *testing.T) {
					t.Parallel()
					dir, err := os.MkdirTemp(lab, "again")
					check(t, err)
					t.Cleanup(func() { removeTree(dir) })
					r := rand.NewChaCha8([32]byte{byte(protocol)})
					want := map[string][]byte{}
					for _, d := range []string{"from/d", "to/d"} {
						check(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
					}
					for _, f := range []string{"a", "m", "z"} { // m has one name
						b := make([]byte, 100000)
						r.Read(b)
						check(t, os.WriteFile(filepath.Join(dir, "from", f), b, 0o644))
						bad := bytes.Clone(b[:60000])
						copy(bad[500:], "bad")
						check(t, os.WriteFile(filepath.Join(dir, "to", f), bad, 0o644))
						want[f] = b
						if f != "m" {
							for _, name := range []string{f + "2", "d/" + f} {
								check(t, os.Link(filepath.Join(dir, "from", f), filepath.Join(dir, "from", name)))
								want[name] = b
							}
						}
					}
					argv := append([]string{prsync, "-aH", "--append-verify", fmt.Sprintf("--protocol=%d", protocol)}, strings.Fields(more)...)
					if shell {
						argv = append(argv, "-e", dropHost, "--rsync-path="+prsync, "from/", "peer:"+dir+"/to/")
					} else {
						argv = append(argv, "from/", "to/")
					}
					if r := execute(t, dir, argv, nil, nil); r.code != 0 {
						t.Fatalf("exit code %d\n%s", r.code, strings.Join(r.raw, "\n"))
					}
					for name, b := range want {
						path := filepath.Join(dir, "to", name)
						got, err := os.ReadFile(path)
						if err != nil || !bytes.Equal(got, b) {
							t.Errorf("%s: %d bytes, %v; not what the source has", name, len(got), err)
							continue
						}
						var st unix.Stat_t
						check(t, unix.Lstat(path, &st))
						if links := uint64(3); name != "m" && st.Nlink != links {
							t.Errorf("%s has %d links, want %d", name, st.Nlink, links)
						}
					}
				})
			}
		}
	}
}
