package transfer

import (
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestLocalListIsSmall: what is kept of an entry of a directory that may have a
// million, and what it takes to sort them.
func TestLocalListIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(localEntry{}); n > 32 {
		t.Errorf("an entry takes %d bytes", n)
	}
	list := make([]localEntry, 1000)
	allocs := testing.AllocsPerRun(1, func() {
		for i := range list {
			list[i].name, list[i].mode = "dir/same", unix.S_IFREG
		}
		sortLocal(list, 31)
	})
	if allocs > 10 {
		t.Errorf("%d entries are sorted with %.0f allocations", len(list), allocs)
	}
}

// TestSortLocal: files before directories from protocol 29 on, by name alone
// below.
func TestSortLocal(t *testing.T) {
	for _, test := range []struct {
		protocol int
		want     string
	}{{28, "[d/a d/b d/b.c d/c]"}, {31, "[d/b.c d/c d/a d/b]"}} {
		list := []localEntry{{name: "d/c", mode: unix.S_IFREG}, {name: "d/b", mode: unix.S_IFDIR},
			{name: "d/a", mode: unix.S_IFDIR}, {name: "d/b.c", mode: unix.S_IFREG}}
		sortLocal(list, test.protocol)
		var got []string
		for _, e := range list {
			got = append(got, e.name)
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("protocol %d: %v, not %s", test.protocol, got, test.want)
		}
	}
}
