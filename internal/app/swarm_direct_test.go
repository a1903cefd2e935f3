package app

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/content"
)

// TestSwarmOfOne leaves to the connection what a client alone wants, and
// nothing that it can find here.
func TestSwarmOfOne(t *testing.T) {
	s := newSite(t)
	s.write("y", noise(1, 4*mib))
	s.write("d/copy of y", noise(1, 4*mib))
	s.write("z", noise(2, 2*mib))
	for i := range 10 { // as large as y
		s.write(fmt.Sprintf("b%d", i), noise(byte(10+i), 4*mib))
	}
	all, _ := filepath.Glob(s.path("srv/*"))
	for _, f := range append(all, s.path("srv/d/copy of y")) { // and as old
		if err := os.Chtimes(f, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	first := s.auto("c1", "--debug=swarm")
	if !strings.Contains(first.out, `swarm: "0" others in the swarm`) {
		t.Errorf("--debug=swarm does not say why:\n%s", first.out)
	}
	if first.left != 12 || first.here != 4*mib || first.host+first.peers != 0 || first.received > 46*mib+200_000 {
		t.Errorf("alone: %+v", first)
	}
	if err := os.Rename(s.path("srv/y"), s.path("srv/d/renamed")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.path("srv/d/copy of y")); err != nil {
		t.Fatal(err)
	}
	s.publish()
	if p := s.auto("c1"); p.left != 0 || p.here != 4*mib || p.received > 20_000 {
		t.Errorf("a renamed file: %+v", p)
	}
	// The first who asks is alone; who comes while he is there is not, and he
	// is told.
	alone, err := http.Get(s.http + content.PathCompany + "m")
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Body.Close()
	if n := alone.Header.Get(content.HeaderCompany); n != "0" {
		t.Errorf("the first is told of %q others", n)
	}
	if p := s.auto("c2", "--debug=swarm"); !strings.Contains(p.out, "swarm: engine ") || p.left != 0 || p.host != 46*mib {
		t.Errorf("not alone: %+v", p)
	}
	var n int64
	told := make(chan struct{})
	go func() {
		defer close(told)
		for buf := make([]byte, 1<<16); ; {
			k, err := alone.Body.Read(buf)
			if n += int64(k); err != nil {
				return
			}
		}
	}()
	select {
	case <-told:
		if n != content.CompanyProbe {
			t.Errorf("a probe of %d bytes", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("who was alone is not told of company")
	}
}
