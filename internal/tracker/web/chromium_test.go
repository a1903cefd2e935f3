package web

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestChromium lays the page out at a phone's and a desk's width: nothing may
// stick out to the right, and it must be drawn.
func TestChromium(t *testing.T) {
	var bin string
	for _, n := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(n); err == nil {
			bin = p
			break
		}
	}
	if bin == "" {
		t.Skip("needs chromium (apt-get install chromium)")
	}
	if testing.Short() {
		t.Skip("starts a browser")
	}
	page, err := sample(12).HTML()
	if err != nil {
		t.Fatal(err)
	}
	// The frame gives the width: a browser's window has a least one.
	const frame = `<!DOCTYPE html><body><iframe id="f" style="width:%dpx;height:9000px;border:0" srcdoc="%s"></iframe>
<script>f.onload=()=>{const e=f.contentDocument.documentElement;document.title="width "+e.clientWidth+" scroll "+e.scrollWidth+" rows "+f.contentDocument.querySelectorAll("tr").length}</script>`
	escaped := bytes.ReplaceAll(bytes.ReplaceAll(page, []byte("&"), []byte("&amp;")), []byte(`"`), []byte("&quot;"))
	result := regexp.MustCompile(`<title>width (\d+) scroll (\d+) rows (\d+)</title>`)
	for _, width := range []int{330, 400, 1200} {
		dir := t.TempDir()
		file := filepath.Join(dir, "page.html")
		if err := os.WriteFile(file, fmt.Appendf(nil, frame, width, escaped), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		out, err := exec.CommandContext(ctx, bin, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(dir, "profile"),
			"--window-size=1300,900", "--dump-dom", "file://"+file).Output()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", bin, err)
		}
		m := result.FindSubmatch(out)
		if m == nil || string(m[1]) != fmt.Sprint(width) || string(m[2]) != string(m[1]) || string(m[3]) != "16" {
			t.Errorf("at %d pixels: %s", width, m)
		}
	}
}
