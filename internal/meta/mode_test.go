package meta

import (
	"math"
	"testing"

	"github.com/prsync/prsync/internal/fsroot"
)

func TestDestMode(t *testing.T) {
	for _, tt := range []struct {
		what                      string
		source, current, defaults uint32
		exists, exec              bool
		want                      uint32
	}{
		{"a new file is cut to the defaults", regMode | 0777, 0, 0755, false, false, regMode | 0755},
		{"and loses set-id bits", regMode | 06755, 0, 0755, false, false, regMode | 0755},
		{"defaults add nothing", regMode | 0640, 0, 0777, false, false, regMode | 0640},
		{"a new directory likewise", dirMode | 03777, 0, 0700, false, false, dirMode | 0700},
		{"an existing file keeps its mode", regMode | 0600, regMode | 04755, 0755, true, false, regMode | 04755},
		{"its type is the source's", dirMode | 0700, regMode | 0644, 0755, true, false, dirMode | 0644},
		{"-E: execute for those who may read", regMode | 0100, regMode | 0640, 0755, true, true, regMode | 0750},
		{"-E: nothing if some may execute already", regMode | 0755, regMode | 0744, 0755, true, true, regMode | 0744},
		{"-E: execute is taken away", regMode | 0644, regMode | 0755, 0755, true, true, regMode | 0644},
		{"-E: not for directories", dirMode | 0600, dirMode | 0755, 0755, true, true, dirMode | 0755},
		{"-E: a new file as without", regMode | 0700, 0, 0755, false, true, regMode | 0700},
	} {
		if got := DestMode(tt.source, tt.current, tt.defaults, tt.exists, tt.exec); got != tt.want {
			t.Errorf("%s: %o, want %o", tt.what, got, tt.want)
		}
	}
}

func TestWireMode(t *testing.T) {
	for _, mode := range []uint32{0100644, 0120777, 0140755, 060600, 0177777} {
		if got := HostMode(WireMode(mode)); got != mode {
			t.Errorf("%o came back as %o", mode, got)
		}
	}
	if got := HostMode(0xffffffff); got != 0177777 {
		t.Errorf("a wild mode became %o", got)
	}
}

func TestSameTime(t *testing.T) {
	ts := func(sec int64, nsec uint32) fsroot.Timespec { return fsroot.Timespec{Sec: sec, Nsec: nsec} }
	for _, tt := range []struct {
		a, b   fsroot.Timespec
		window int
		want   bool
	}{
		{ts(5, 1), ts(5, 2), 0, true},
		{ts(5, 1), ts(6, 1), 0, false},
		{ts(5, 1), ts(5, 2), -1, false},
		{ts(5, 1), ts(5, 1), -1, true},
		{ts(5, 999999999), ts(7, 0), 2, true},
		{ts(7, 0), ts(5, 0), 2, true},
		{ts(5, 0), ts(8, 0), 2, false},
		{ts(-1, 0), ts(1, 0), 2, true},
		{ts(math.MinInt64, 0), ts(math.MaxInt64, 0), 3600, false},
		{ts(math.MaxInt64, 0), ts(math.MinInt64, 0), math.MaxInt, false},
	} {
		if got := SameTime(tt.a, tt.b, tt.window); got != tt.want {
			t.Errorf("SameTime(%v, %v, %d) = %v", tt.a, tt.b, tt.window, got)
		}
	}
}
