package content

import (
	"strings"
	"testing"
	"time"
)

func TestPass(t *testing.T) {
	now := time.Unix(1800000000, 0)
	key, id := PassKey("sesame"), ID{1, 2, 3}
	pass := NewPass(key, "guarded", id, now.Add(time.Minute))
	if strings.ContainsAny(pass, "+/=&?%") {
		t.Errorf("%q does not fit into a URL", pass)
	}
	for _, tc := range []struct {
		name, pass, module string
		key                [32]byte
		id                 ID
		now                time.Time
		good               bool
	}{
		{"as given", pass, "guarded", key, id, now, true},
		{"its end", pass, "guarded", key, id, now.Add(time.Minute), false},
		{"another volunteer", pass, "guarded", PassKey("other"), id, now, false},
		{"another module", pass, "public", key, id, now, false},
		{"another content", pass, "guarded", key, ID{1, 2, 4}, now, false},
		{"longer time", "A" + pass[1:5] + "z" + pass[6:], "guarded", key, id, now, false},
		{"cut", pass[:len(pass)-2], "guarded", key, id, now, false},
		{"longer", pass + "AAAA", "guarded", key, id, now, false},
		{"none", "", "guarded", key, id, now, false},
		{"no base64", "!" + pass[1:], "guarded", key, id, now, false},
	} {
		if got := CheckPass(tc.key, tc.pass, tc.module, tc.id, tc.now); got != tc.good {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
