package report

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		n     int64
		human int
		want  string
	}{
		{0, 0, "0"}, {-1234567, 1, "-1,234,567"}, {-999, 1, "-999"}, {math.MinInt64, 1, "-9,223,372,036,854,775,808"},
		{math.MaxInt64, 0, "9223372036854775807"}, {-1000, 2, "-1.00K"}, {-999, 2, "-999"}, {999_995, 2, "1000.00K"}, {math.MaxInt64, 2, "9223.37P"}, {math.MaxInt64, 3, "8192.00P"},
		{1000, 3, "1,000"}, {1023, 3, "1,023"}, {1024, 3, "1.00K"},
	} {
		if got := (Numbers{}).Number(tt.n, tt.human); got != tt.want {
			t.Errorf("Number(%d, %d) = %s, want %s", tt.n, tt.human, got, tt.want)
		}
	}
	for _, tt := range []struct {
		f      float64
		human  int
		digits int
		want   string
	}{
		{0, 1, 2, "0.00"}, {999.994, 1, 2, "999.99"}, {999.999, 1, 2, "1000.00"}, {1999.999, 1, 2, "1,999.00"}, {1234567.891, 1, 2, "1,234,567.89"},
		{1234567.891, 0, 2, "1234567.89"}, {1234.5, 2, 2, "1.23K"}, {1010.25, 3, 2, "1,010.25"}, {0.001, 1, 3, "0.001"}, {1234.5, 1, 0, "1,234"},
	} {
		if got := (Numbers{}).Decimal(tt.f, tt.human, tt.digits); got != tt.want {
			t.Errorf("Decimal(%v, %d, %d) = %s, want %s", tt.f, tt.human, tt.digits, got, tt.want)
		}
	}
	for sec, want := range map[int64]string{
		0: "1970/01/01 00:00:00", -62135596800 - 86400: "   0/12/31 00:00:00", 253402300800: "10000/01/01 00:00:0", math.MaxInt64: "(time out of range)", math.MinInt64: "(time out of range)",
	} {
		if got := TimeString(time.Unix(sec, 0).UTC()); got != want {
			t.Errorf("TimeString(%d) = %q, want %q", sec, got, want)
		}
	}
}

// The letters of %i, rsync(1) --itemize-changes.
func TestItemize(t *testing.T) {
	const reg, dir, link, fifo, dev = 0o100644, 0o040755, 0o120777, 0o010600, 0o020600
	for _, tt := range []struct {
		mode  uint32
		flags int
		op    string
		want  string
	}{
		{reg, ItemTransfer | ItemIsNew, "send", "<f+++++++++"},
		{reg, ItemTransfer | ItemReportSize | ItemReportTime | ItemReportChange, "recv", ">fcst......"},
		{reg, ItemReportPerms | ItemReportOwner | ItemReportGroup | ItemReportACL | ItemReportXattr, "recv", ".f...pog.ax"},
		{reg, ItemReportAtime, "recv", ".f......u.."}, {reg, ItemReportCrtime, "recv", ".f......n.."}, {reg, ItemReportAtime | ItemReportCrtime, "recv", ".f......b.."},
		{reg, 0, "recv", ".f         "}, {reg, ItemTransfer, "recv", ">f........."},
		{reg, ItemLocalChange | ItemXnameFollows, "recv", "hf         "}, {dir, ItemLocalChange | ItemIsNew, "recv", "cd+++++++++"},
		{link, ItemReportTime | ItemReportTimeFail, "recv", ".L..T......"}, {link, ItemLocalChange | ItemReportTime | ItemReportChange, "recv", "cLc.t......"},
		{fifo, ItemLocalChange | ItemIsNew, "recv", "cS+++++++++"}, {dev, ItemReportPerms, "recv", ".D...p....."},
		{reg, ItemTransfer | ItemMissingData, "recv", ">f?????????"}, {dir, ItemDeleted, "del.", "*deleting  "},
	} {
		ln := &Line{Format: "%i", KeepTimes: true, LinkTimes: true}
		if got := ln.Render(&Item{Op: tt.op, Flags: tt.flags, Mode: tt.mode}); got != tt.want+"\n" {
			t.Errorf("%o %#x: %q, want %q", tt.mode, tt.flags, got, tt.want)
		}
	}
	ln := &Line{Format: "%i"}
	if got := ln.Render(&Item{Flags: ItemReportTime, Mode: reg}); got != ".f..T......\n" {
		t.Errorf("without -t: %q", got)
	}
	ln = &Line{Format: "%i", Local: true}
	if got := ln.Render(&Item{Op: "send", Flags: ItemTransfer | ItemIsNew, Mode: reg}); got != ">f+++++++++\n" {
		t.Errorf("local: %q", got)
	}
}

func TestDaemonLine(t *testing.T) {
	ln := &Line{Format: "%h [%a] %m (%u) %P %p %04p %b %c %b", Daemon: true, Host: "host", Addr: "1.2.3.4", Module: "mod", User: "me", ModulePath: "/srv", PID: 7, Sender: true}
	it := &Item{Flags: ItemTransfer, Sent: 10, Recv: 3}
	if got := ln.Render(it); got != "host [1.2.3.4] mod (me) /srv 7 0007 10 3 10\n" {
		t.Error(got)
	}
	ln.Sender = false
	if got := ln.Render(it); !strings.HasSuffix(got, " 3 10 3\n") {
		t.Error(got)
	}
}

// Where a message of each kind goes. rsync 3.5.0 log.c:rwrite.
func TestRouting(t *testing.T) {
	codes := []Code{ErrorXfer, Info, Error, Warning, LogFile, Client, ErrorSocket, ErrorUTF8}
	// One letter for each of codes: o stdout, e stderr, c to the client,
	// l log file (followed by where else), - nowhere.
	for _, tt := range []struct {
		name string
		cfg  Config
		send int // 0 no way to the client, 1 works, 2 refuses
		want string
	}{
		{"client", Config{}, 0, "le lo le le l o le le"},
		{"client --quiet", Config{Quiet: true}, 0, "le l le le l - le le"},
		{"client --stderr=all", Config{Stderr: StderrAll}, 0, "le le le le l e le le"},
		{"client --stderr=client", Config{Stderr: StderrClient}, 0, "le lo le le l o le le"},
		{"server", Config{Server: true}, 1, "le lc le le l c le le"},
		{"server --stderr=all", Config{Server: true, Stderr: StderrAll}, 1, "le le le le l e le le"},
		{"server --stderr=client", Config{Server: true, Stderr: StderrClient}, 1, "lc lc lc lc l c lc lc"},
		{"server before the streams", Config{Server: true, Stderr: StderrClient}, 2, "le le le le l e le le"},
		{"daemon", Config{Server: true, Daemon: true}, 1, "lc lc lc lc l c lc lc"},
		{"daemon, client gone", Config{Server: true, Daemon: true}, 2, "l l l l l - l l"},
	} {
		var got []string
		for _, code := range codes {
			var out, err bytes.Buffer
			where := ""
			cfg := tt.cfg
			cfg.Out, cfg.Err = &out, &err
			cfg.LogLine = func(Code, string) { where += "l" }
			l := New(cfg)
			sent := ""
			if tt.send > 0 {
				l.SendTo(func(Code, string) bool {
					if tt.send == 1 {
						sent = "c"
					}
					return tt.send == 1
				})
			}
			l.Write(code, "x\n")
			where += sent
			if out.Len() > 0 {
				where += "o"
			}
			if err.Len() > 0 {
				where += "e"
			}
			if where == "" {
				where = "-"
			}
			got = append(got, where)
			if l.XferError() != (code == ErrorXfer) {
				t.Errorf("%s: code %d makes the run partial: %v", tt.name, code, l.XferError())
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

func TestLogFile(t *testing.T) {
	var b bytes.Buffer
	log := FileLogger(&b, 42, func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) })
	log(Info, "a\x1b[1m\u0080\u00e9\\#101\ttab\x7f\n")
	if want := "2026/11/23 12:00:00 [42] a\\#033[1m\xc2\\#200\u00e9\\#134#101\ttab\x7f\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestReason(t *testing.T) {
	for err, want := range map[error]string{
		syscall.ENOENT: "No such file or directory (2)", syscall.EXDEV: "Invalid cross-device link (18)", syscall.EIO: "Input/output error (5)",
		&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}: "Permission denied (13)", fs.ErrExist: "File exists (17)",
		syscall.ENOTEMPTY: "Directory not empty (39)", syscall.ENOSPC: "No space left on device (28)", syscall.EISDIR: "Is a directory (21)",
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// Lines of --progress with a clock of our own. rsync 3.5.0 progress.c.
func TestProgress(t *testing.T) {
	for level, want := range map[uint8]string{
		1: "\r         32,768   3%    0.00kB/s    0:00:00  " + "\r        557,056  53%  512.00kB/s    0:00:00  " + "\r      1,048,576 100%  496.00kB/s    0:00:02 (xfr#1, ir-chk=1000/1002)\n",
		2: "\r         32,768   1%    0.00kB/s    0:00:00  " + "\r        557,056  26%  512.00kB/s    0:00:03  " + "\r      1,048,576  50%  496.00kB/s    0:00:02 (xfr#1, ir-chk=1000/1002)",
	} {
		var out bytes.Buffer
		cfg := Config{Out: &out}
		cfg.Info[InfoProgress] = level
		now := time.Unix(1000, 0)
		p := NewProgress(New(cfg), 1, func() time.Time { return now }, nil)
		p.Index, p.Known, p.Xferred = 1, 1002, 1
		p.XferSize, p.TotalSize = 1<<20, 2<<20
		p.Show(32<<10, 1<<20)
		now = now.Add(500 * time.Millisecond)
		p.Show(64<<10, 1<<20) // too soon
		now = now.Add(500 * time.Millisecond)
		p.Show(544<<10, 1<<20)
		now = now.Add(time.Second)
		p.End(1 << 20)
		if got := out.String(); got != want {
			t.Errorf("level %d:\n%q\nwant\n%q", level, got, want)
		}
	}
}

// Messages of many goroutines do not tear one another's lines.
func TestConcurrentLines(t *testing.T) {
	var out bytes.Buffer
	l := New(Config{Out: &out})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 200 {
				l.Printf(Info, "%s\n", strings.Repeat(fmt.Sprint(i), 50))
			}
		}()
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, s := range lines {
		if s != strings.Repeat(s[:1], 50) {
			t.Fatalf("%q", s)
		}
	}
	if len(lines) != 1600 {
		t.Errorf("%d lines", len(lines))
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range []string{"%i %n%L", "%'''20l|%-05p|%%|%5-i", "%99999999999999999999n", "%", "%-", "%'5'", "%C%b%c%M%t%B", "\xff%\xff"} {
		f.Add(s, "name\x1b", uint32(0o100644), ItemTransfer)
	}
	f.Fuzz(func(t *testing.T, format, name string, mode uint32, flags int) {
		if len(format) > 4096 || len(name) > 4096 {
			return
		}
		ln := &Line{Format: format, SumLen: 16, Now: func() time.Time { return time.Unix(0, 0) }, Daemon: flags&1 != 0}
		got := ln.Render(&Item{Name: name, Path: name, Link: name, Mode: mode, Flags: flags, Size: int64(flags), Mtime: int64(flags) << 30})
		if !strings.HasSuffix(got, "\n") {
			t.Fatalf("%q", got)
		}
		if n := strings.Count(format, "%"); len(got) > len(format)+1+n*(maxPad+len(name)+64) {
			t.Fatalf("%d bytes for %d escapes", len(got), n)
		}
		if !strings.Contains(format, "%") && got != format+"\n" {
			t.Fatalf("%q became %q", format, got)
		}
		for _, text := range []string{got, name} {
			for _, e := range []escaping{escapeControls, escapeNonASCII, escapeInvalidUTF8, escapeUnprintable, escapeC1} {
				var b strings.Builder
				escape(&b, text, e)
				for _, c := range []byte(b.String()) {
					if c < ' ' && c != '\t' {
						t.Fatalf("control byte in %q", b.String())
					}
				}
			}
		}
	})
}
