package interop

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manyN are digits of a number, and of what stands between them: the numbers
// differ, and so may their lengths.
var manyN = regexp.MustCompile(`N+(?:[.]N+)*`)

// commaLocale makes the LC_NUMERIC of a locale with a decimal comma, as glibc's
// locale/loadlocale.c takes it: "1.234,5".
func commaLocale(t *testing.T, dir string) {
	t.Helper()
	values := []string{",\x00", ".\x00", "\x03\x03\x00", ",\x00\x00\x00", ".\x00\x00\x00", "UTF-8\x00"} // the fourth and fifth are wide characters
	head := []uint32{0x20031115 ^ 1, uint32(len(values))}
	var data []byte
	for _, v := range values {
		for len(data)%4 != 0 {
			data = append(data, 0)
		}
		head = append(head, uint32(4*(2+len(values))+len(data)))
		data = append(data, v...)
	}
	var b []byte
	for _, w := range head {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	check(t, os.MkdirAll(filepath.Join(dir, "xx_XX.utf8"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "xx_XX.utf8", "LC_NUMERIC"), append(b, data...), 0o644))
}

// TestLocaleNumbers compares numbers under a locale that writes them with a comma.
func TestLocaleNumbers(t *testing.T) {
	needPeer(t)
	for _, args := range []string{
		"--list-only from/", "--list-only --no-h from/", "-a --stats from/ to/", "-ah --stats from/ to/", "-ahh --stats from/ to/", "-a --no-h --stats from/ to/",
		"-a --progress from/ to/", "-a --out-format=%l_%'l_%''l_%'''l_%n from/ to/", "-a --max-size=1,5k --out-format=%n from/ to/", "-a --max-size=1.5k --out-format=%n from/ to/",
		"-a --bwlimit=1,5m from/ to/", "-a --bwlimit=x,5 from/ to/", "-a --max-size=1,5,5 from/ to/", "-a --block-size=5000000000 from/ to/",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			run := func(p string) []string {
				dir, err := os.MkdirTemp(lab, "locale")
				check(t, err)
				t.Cleanup(func() { removeTree(dir) })
				commaLocale(t, dir)
				check(t, os.MkdirAll(filepath.Join(dir, "from"), 0o755))
				for i, size := range []int{0, 999, 1000, 1500, 1536, 1537, 123456} {
					check(t, os.WriteFile(filepath.Join(dir, "from", fmt.Sprint(i)), make([]byte, size), 0o644))
				}
				for _, f := range []string{"0", "1", "2", "3", "4", "5", "6", ""} {
					check(t, os.Chtimes(filepath.Join(dir, "from", f), time.Time{}, time.Unix(1e9, 0)))
				}
				env := []string{"LOCPATH=" + dir, "LC_ALL=xx_XX.UTF-8"}
				r := execute(t, dir, append([]string{p}, strings.Fields(args)...), env, nil)
				out := []string{fmt.Sprint("exit code ", r.code)}
				for _, l := range append(append([]string(nil), r.stdout...), r.raw...) {
					if i := strings.LastIndexByte(l, '\r'); i >= 0 {
						l = l[i+1:] // the end of a file's progress
					}
					// What depends on time, and on the headers of frames.
					for _, is := range []string{"bytes/sec", "Total bytes ", "File list ", "B/s", "speedup"} {
						if strings.Contains(l, is) {
							l = strings.Map(func(r rune) rune {
								if '0' <= r && r <= '9' {
									return 'N'
								}
								return r
							}, l)
							l = manyN.ReplaceAllString(l, "N")
						}
					}
					out = append(out, l)
				}
				return out
			}
			if diff := cmp.Diff(run(peer), run(prsync)); diff != "" {
				t.Errorf("(-: rsync, +: prsync)\n%s", diff)
			}
		})
	}
}
