package report

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stock runs rsync with LC_ALL=locale and returns what it printed.
func stock(t *testing.T, locale string, args ...string) string {
	t.Helper()
	cmd := exec.Command("rsync", args...)
	cmd.Env = append(os.Environ(), "LC_ALL="+locale)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rsync %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func needStock(t *testing.T) {
	t.Helper()
	out, err := exec.Command("rsync", "--version").Output()
	if err != nil || !bytes.Contains(out, []byte("version 3.5.")) {
		t.Skip("no rsync 3.5 to compare with")
	}
}

// TestListAsRsync compares listings: sizes in every form of -h, modes, times.
func TestListAsRsync(t *testing.T) {
	needStock(t)
	dir := t.TempDir()
	sizes := []int64{0, 1, 999, 1000, 1023, 1024, 1025, 9994, 9995, 9996, 10235, 999_499, 999_994, 999_995, 999_999, 1_000_000, 1<<20 - 1, 1 << 20, 1<<20 + 1,
		1_004_999, 1_005_000, 1_015_000, 123_456_789, 1_000_000_000, 1<<30 - 1, 1 << 30, 5_555_555_555_555, 1 << 40, 7 << 40}
	for i, n := range sizes {
		p := filepath.Join(dir, fmt.Sprintf("f%02d", i))
		if err := os.WriteFile(p, nil, 0644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(p, n); err != nil {
			t.Fatal(err)
		}
		mode := uint32([]uint32{0644, 04755, 04644, 02711, 02600, 01777, 01666, 0, 07777, 0123}[i%10])
		if err := unix.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		ts := []unix.Timespec{{Sec: int64(i) * 12_345_678}, {Sec: 1_000_000_000 - int64(i)*98_765_432}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, 0); err != nil {
			t.Fatal(err)
		}
	}
	unix.Mkfifo(filepath.Join(dir, "fifo"), 0600)
	link := filepath.Join(dir, "link")
	os.Symlink("f00", link)
	// Reading where it leads would change an access time that is not behind it.
	unix.UtimesNanoAt(unix.AT_FDCWD, link, []unix.Timespec{{Sec: 2e9}, {Sec: 1e9}}, unix.AT_SYMLINK_NOFOLLOW)
	for human, opt := range []string{"--no-h", "", "-h", "-hh"} {
		args := []string{"-lrD", "--list-only", opt, "-U"}
		if human == 1 {
			args = []string{"-lrD", "--list-only", "-U"}
		}
		want := strings.Split(strings.TrimSuffix(stock(t, "C", append(args, dir+"/")...), "\n"), "\n")
		var st unix.Stat_t
		for _, line := range want {
			name := strings.Fields(line)[len(strings.Fields(line))-1]
			link := ""
			if strings.Contains(line, " -> ") {
				name, link = "link", "f00"
			}
			if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
				t.Fatal(err)
			}
			size := st.Size
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				continue // reading it changes its access time
			}
			if got := (Numbers{}).ListLine(st.Mode, size, st.Mtim.Sec, &st.Atim.Sec, name, link, human); got != line+"\n" {
				t.Errorf("%s:\n%q\nrsync:\n%q", opt, got, line)
			}
		}
	}
}

// TestRenderAsRsync compares lines of --out-format.
func TestRenderAsRsync(t *testing.T) {
	needStock(t)
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	os.MkdirAll(filepath.Join(src, "d"), 0755)
	os.WriteFile(filepath.Join(src, "d/f"), make([]byte, 1234567), 0640)
	os.Symlink("f", filepath.Join(src, "d/l"))
	unix.Mkfifo(filepath.Join(src, "d/p"), 0600)
	for _, format := range []string{
		"%i %n%L", "%o %f", "%h|%a|%m|%P|%u|%q|%z", "%l %'l %''l %'''l %5l| %12l| %-12l| %012l| %'12l| %12'l| %'-12''l|",
		"%U %5U %05U %-5U| %-05U| %3G| %03G|", "%B %11B|", "%L| %5L| %-5L| %-L| %05L|", "%C|", "%i|%13i|%-13i|", "%%|%5%|%-5%|%%i|%%%i",
		"%n%", "%5", "%-", "%'", "%5-i|", "%--i|", "%i'|", "%1234567890123456789012n|", "%00000000000000000000007n|", "%000000000000000000000007n|", "%-0000000000000000000007n|",
		"%M", "100% %n", "%nn%ll",
	} {
		os.RemoveAll(dst)
		out := stock(t, "C", "-rlptD", "--out-format="+format, src+"/", dst+"/")
		want := strings.TrimPrefix(out, "created directory "+dst+"\n")
		ln := &Line{Format: format, Local: true, KeepTimes: true, LinkTimes: true, SumLen: 16, Sender: true, Now: time.Now}
		got := ""
		for _, name := range []string{".", "d", "d/f", "d/l", "d/p"} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(src, name), &st); err != nil {
				t.Fatal(err)
			}
			it := &Item{Op: "send", Flags: ItemIsNew | ItemLocalChange, Name: name, Path: filepath.Join(src, name), Mode: st.Mode, Size: st.Size, Mtime: st.Mtim.Sec, NoGroup: true}
			switch name {
			case ".":
				it.Path += "/."
			case "d/f":
				it.Flags = ItemIsNew | ItemTransfer
				it.Sum = "NOT COMPARED"
			case "d/l":
				it.Link = "f"
			case "d/p":
				it.Size = 0
			}
			if strings.Contains(format, "%C") && name == "d/f" {
				it.Sum = regexp.MustCompile(`[0-9a-f]{32}`).FindString(want)
			}
			got += ln.Render(it)
		}
		if got != want {
			t.Errorf("%s:\n%s\nrsync:\n%s", format, got, want)
		}
		if has := FormatHas(format, 'i'); has != strings.Contains(got, "f+++") {
			t.Errorf("FormatHas(%q, 'i') = %v", format, has)
		}
	}
}

// TestNamesAsRsync compares which bytes of names are shown as they are.
func TestNamesAsRsync(t *testing.T) {
	needStock(t)
	dir := t.TempDir()
	for i, n := range []string{"\u00e9", "\x7fdel", "\xff", "\xe2\x82A", "\xe2\x82", "\xf0\x9f\x98", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\xed\x9f\xbf", "\xed\xbf\xbf", "\xc0\xaf", "\xc1\x80",
		"\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80", "\xf8\x87\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfc\x80\x84\x80\x80\x80",
		"\xfd\xbf\xbf\xbf\xbf\xbf", "\xfe\x80", "\xc2\x80", "\x01", "\x1b[31m", "tab\tx", "nl\nx", "cr\rx", "\\#123", "\\#12", "\\#1234", "\\\\#123", "\\#abc", "end\\#12"} {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d", i)+n), nil, 0644); err != nil {
			t.Fatal(err)
		}
	}
	ents, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, locale := range []string{"C", "C.UTF-8", "C.utf8", "POSIX", "xx_YY"} {
		for _, eightBit := range []bool{false, true} {
			args := []string{"-d", "--out-format=%n", "-n", "--no-t", dir + "/", filepath.Join(t.TempDir(), "x")}
			if eightBit {
				args = append(args, "-8")
			}
			want := stock(t, locale, args...)
			_, want, _ = strings.Cut(want, "./\n")
			var got bytes.Buffer
			l := New(Config{EightBit: eightBit, Charset: LocaleCharset(func(n string) string { return map[string]string{"LC_ALL": locale}[n] }), Out: &got})
			for _, e := range ents {
				l.Printf(Client, "%s\n", e.Name())
			}
			if got.String() != want {
				g, w := strings.Split(got.String(), "\n"), strings.Split(want, "\n")
				for i := range w {
					if i >= len(g) || g[i] != w[i] {
						t.Errorf("%s -8=%v: %q, rsync %q", locale, eightBit, g[min(i, len(g)-1)], w[i])
					}
				}
			}
		}
	}
}

// TestSummaryAsRsync feeds the numbers of one run of rsync to our summary and
// compares it with rsync's own in every form of -h.
func TestSummaryAsRsync(t *testing.T) {
	needStock(t)
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	for i := range 1100 {
		os.MkdirAll(filepath.Join(src, strconv.Itoa(i%3)), 0755)
		if err := os.WriteFile(filepath.Join(src, strconv.Itoa(i%3), strconv.Itoa(i)), []byte("x"), 0644); err != nil {
			t.Fatal(err)
		}
	}
	big := filepath.Join(src, "big")
	os.WriteFile(big, nil, 0644)
	os.Truncate(big, 5_555_555_555)
	os.Symlink("x", filepath.Join(src, "l"))
	unix.Mkfifo(filepath.Join(src, "p"), 0600)
	run := func(opts ...string) string {
		return stock(t, "C", append(opts, "-rlD", "-n", "--no-i-r", "--stats", src+"/", filepath.Join(dir, "dst"))...)
	}
	numbers := func(said string) *Stats {
		said = strings.ReplaceAll(said, ",", "")
		num := func(title string) int64 {
			m := regexp.MustCompile(regexp.QuoteMeta(title) + `:? (\d+)`).FindStringSubmatch(said)
			if m == nil {
				t.Fatalf("no %q in\n%s", title, said)
			}
			n, _ := strconv.ParseInt(m[1], 10, 64)
			return n
		}
		counts := Counts{Total: int(num("Number of files")), Dirs: 4, Links: 1, Specials: 1}
		return &Stats{Files: counts, Created: counts, Transferred: int(num("Number of regular files transferred")),
			TotalSize: num("Total file size"), TransferredSize: num("Total transferred file size"), Literal: num("Literal data"),
			Matched: num("Matched data"), FlistSize: num("File list size"), FlistBuild: 1, Written: num("Total bytes sent"), Read: num("Total bytes received")}
	}
	s := numbers(run("--no-h"))
	// The bytes on the wire vary a little from run to run.
	traffic := regexp.MustCompile(`(sent:?|received:?|bytes |speedup is) [0-9.,]+`)
	times := regexp.MustCompile(`(?m)^(File list .* time: ).*$`)
	for human, opts := range [][]string{{"--no-h"}, nil, {"-h"}, {"-hh"}} {
		want := run(opts...)
		if human < 2 {
			s = numbers(want)
		}
		alike := func(text string) string {
			text = times.ReplaceAllString(text, "$1")
			if human > 1 {
				text = traffic.ReplaceAllString(text, "$1")
			}
			return text
		}
		var out bytes.Buffer
		cfg := Config{Out: &out}
		cfg.Info[InfoStats] = 2
		for elapsed := range 60 {
			out.Reset()
			New(cfg).Summary(s, human, 31, time.Duration(elapsed)*time.Second, " (DRY RUN)")
			if strings.HasSuffix(alike(want), alike(out.String())) {
				break
			}
			if elapsed == 59 {
				t.Errorf("level %d:\n%s\nrsync:\n%s", human, &out, want)
			}
		}
	}
}
