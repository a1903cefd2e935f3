package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/app/apptest"
)

func TestMain(m *testing.M) { apptest.Main(m) }

// TestCustomers is a short run of the lab, with all customers' programs that
// are installed: some hundred requests while the repository changes.
func TestCustomers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs package managers for half a minute")
	}
	if os.Geteuid() != 0 {
		t.Skip("dpkg and rpm install as root only")
	}
	l := lab{requests: 500, volunteers: 2, packages: 10, interval: time.Second, tools: strings.Join(toolNames(), ","), say: t.Logf, parent: t.TempDir()}
	if missing := l.missing(); len(missing) > 0 {
		t.Skipf("not installed: %s (scripts/test installs them)", strings.Join(missing, ", "))
	}
	l.bin = t.TempDir()
	apptest.Install(t, l.bin, apptest.All...)
	r, err := l.run(t.Context())
	if r != nil {
		var text strings.Builder
		r.print(&text)
		t.Log(text.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := r.failures(); n > 0 {
		t.Errorf("%d failures", n)
	}
	for _, tool := range toolNames() {
		if r.visits[tool] == 0 {
			t.Errorf("%s has not finished once", tool)
		}
	}
	if r.redirects == 0 || r.requests < l.requests || r.publications.Load() < 2 {
		t.Errorf("%d requests, %d redirects, %d publications", r.requests, r.redirects, r.publications.Load())
	}
}
