package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

var update = flag.Bool("update", false, "write the sample page to testdata")

func sample(volunteers int) *Status {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := &Status{
		Software: "prsync 1.0", URL: "http://central.example:8080", Now: now, Started: now.Add(-50 * time.Hour),
		Contents: 1_048_576, Redirects: 12_345_678, RedirectedBytes: 45 << 40, Served: 98_765,
		Swarm:   Swarm{Downloaded: 7 << 40, Origin: 300 << 30, Uploaded: 6 << 40, Corrupt: 5 << 20, BadPeers: 2},
		Modules: []Module{{Name: "fedora", Comment: "Fedora Linux", Generation: 412, Published: now.Add(-3 * time.Hour), Files: 912_345, Bytes: 3 << 40, Contents: 800_000, Packs: 3100, Redirect: true}, {Name: "debian-security", Generation: 99, Published: now.Add(-80 * time.Second), Files: 20_000, Bytes: 90 << 30, Contents: 19_000, Packs: 88, Redirect: true, Indexing: "indexing: 1 200 of 20 000 files"}},
	}
	states := []string{"ready", "ready", "ready", "syncing", "ready", "unreachable", "late", "seed only"}
	for i := range volunteers {
		s.Volunteers = append(s.Volunteers, Volunteer{
			Name: fmt.Sprintf("edge%02d", i+1), URL: fmt.Sprintf("http://edge%02d.mirror.example:8080", i+1), Addr: "192.0.2.7", State: states[i%len(states)],
			Seen: now.Add(-time.Duration(i*7%11) * time.Second), Contents: int64(1_048_576 - 60_000*(i%5)), Stating: i == 3,
			Load:      content.Load{Customers: i * 3, CustomerRate: int64(i) * 3 << 20, PeerRate: int64(i%3) << 20, Uplink: 25_000_000},
			Redirects: int64(i) * 54321, Redirected: int64(i) << 37, Utilization: float64(i%10) / 10,
		})
	}
	for i := range 200 {
		x := float64(i)
		s.History = append(s.History, Sample{
			Time: now.Add(time.Duration(i-200) * 100 * time.Second), Up: int64(volunteers - i/50%3), CustomerRate: int64(400e6 * (1 + math.Sin(x/30))), PeerRate: int64(60e6 * (1 + math.Cos(x/11))),
			Redirects: int64(i*i) * 30, Served: int64(i) * 600, Downloaded: int64(i) << 33, Origin: int64(i) << 29,
		})
	}
	s.Search = &Search{Query: "fedora/releases/43/Server/x86_64/iso/Fedora-Server-dvd-x86_64-43-1.6.iso", Found: true, Module: "fedora", Path: "releases/43/Server/x86_64/iso/Fedora-Server-dvd-x86_64-43-1.6.iso", Href: "/fedora/x", ID: strings.Repeat("3f", 32), Size: 3 << 30, Mtime: now, Holders: []string{"edge01", "edge02", "edge05"}}
	return s
}

func TestPage(t *testing.T) {
	s := sample(12)
	s.Volunteers[0].Name, s.Volunteers[0].URL = `<script>alert(1)</script>`, `http://x"><u>`
	s.Search.Query = `"><img src=x>`
	b, err := s.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<img", `"><u>`, "http://fonts", "ZgotmplZ", "<no value>"} {
		if bytes.Contains(b, []byte(bad)) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, want := range []string{"edge02", "debian-security", "polyline", "3 volunteers hold it", "96 %", "45 TiB"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if bytes.Contains(b, []byte("http-equiv")) {
		t.Error("the page reads itself again unasked")
	}
	s.Refresh = 10
	if b, _ := s.HTML(); !bytes.Contains(b, []byte(`<meta http-equiv="refresh" content="10">`)) || !bytes.Contains(b, []byte("1 unreachable")) {
		t.Error("the page lacks its refresh, or the volunteers in trouble")
	}
	if dir := os.Getenv("PRSYNC_TEST_PAGES"); dir != "" { // for looking at it
		for n, s := range map[string]*Status{"full": sample(12), "empty": {Now: s.Now, Started: s.Now}} {
			b, _ := s.HTML()
			os.WriteFile(filepath.Join(dir, n+".html"), b, 0o644)
		}
	}
}

func TestSort(t *testing.T) {
	want := []string{"a", "edge", "edge0", "edge2", "edge02b", "edge10", "edge10a", "edge11", "x1y9", "x1y10"}
	for i, a := range want {
		for j, b := range want {
			if got := compareNames(a, b); got != cmp.Compare(i, j) {
				t.Errorf("%s and %s compare as %d", a, b, got)
			}
		}
	}
	s := &Status{Volunteers: []Volunteer{{Name: "e10"}, {Name: "e9"}}, Search: &Search{Holders: []string{"e10", "e9"}}}
	if s.Sort(); s.Volunteers[0].Name != "e9" || s.Search.Holders[0] != "e9" {
		t.Errorf("%+v", s)
	}
}

func TestText(t *testing.T) {
	for _, width := range []int{0, 80, 120} {
		var b bytes.Buffer
		s := sample(8)
		s.Volunteers[0].Name = "\x1b[31mred"
		for i := range 12 {
			s.Search.Holders = append(s.Search.Holders, fmt.Sprintf("mirror%d.example", i))
		}
		if err := RenderStatus(&b, s, width); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), "mirror11.example") {
			t.Errorf("width %d: not all holders are named", width)
		}
		if strings.Contains(b.String(), "\x1b") {
			t.Error("a name controls the terminal")
		}
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); width > 0 && n > width {
				t.Errorf("width %d: line of %d: %q", width, n, line)
			}
		}
		file := filepath.Join("testdata", fmt.Sprintf("status-%d.txt", width))
		if *update {
			os.WriteFile(file, b.Bytes(), 0o644)
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(want, b.Bytes()) {
			t.Errorf("%s differs (%v); rerun with -update and look", file, err)
		}
	}
}

// TestTrouble: a status says what is wrong in words, also on a narrow terminal.
func TestTrouble(t *testing.T) {
	s := sample(7)
	s.Volunteers[0].Name = "mirror.very-long-name.university.example.org"
	s.Modules = append(s.Modules, Module{Name: "a-module-with-quite-a-long-name", Indexing: "its directory cannot be read"})
	page, err := s.HTML()
	if err != nil {
		t.Fatal(err)
	}
	var narrow, wide bytes.Buffer
	RenderStatus(&narrow, s, 60)
	RenderStatus(&wide, s, 0)
	for where, text := range map[string]string{"page": string(page), "terminal": wide.String()} {
		for _, want := range []string{"not yet", "its directory cannot be read", "its address for customers does not answer", "has not announced itself lately"} {
			if !strings.Contains(text, want) {
				t.Errorf("the %s lacks %q", where, want)
			}
		}
		if strings.Contains(text, "never") {
			t.Errorf("the %s has \"never\"", where)
		}
	}
	for _, want := range []string{"…  ready ", "…  0           0        0 B      not yet\n", "a-module-with-quite-a-long-name: its directory cannot be rea"} {
		if !strings.Contains(narrow.String(), want) {
			t.Errorf("no %q in\n%s", want, narrow.String())
		}
	}
}

func TestJSON(t *testing.T) {
	var got Status
	if err := json.Unmarshal(sample(3).JSON(), &got); err != nil || len(got.Volunteers) != 3 || got.Volunteers[2].Load.Customers != 6 {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestHistory(t *testing.T) {
	h := NewHistory(1000)
	for i := range 2500 {
		h.Add(Sample{Up: int64(i)})
	}
	got := h.Samples()
	if len(got) > maxSamples || len(got) < maxSamples/2 || got[len(got)-1].Up != 2499 || got[0].Up < 1500 {
		t.Errorf("%d samples from %d to %d", len(got), got[0].Up, got[len(got)-1].Up)
	}
}

func TestFormats(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 KiB", 1 << 20: "1.0 MiB", 123 << 30: "123 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	if got := Count(1234567); got != "1\u202f234\u202f567" {
		t.Errorf("%q", got)
	}
	if got := Count(-123); got != "-123" {
		t.Errorf("%q", got)
	}
}
