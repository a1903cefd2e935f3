package fsroot

import (
	"os"
	"testing"
)

func TestReplaceFile(t *testing.T) {
	path := t.TempDir()
	dir, err := os.OpenRoot(path)
	must(t, err)
	defer dir.Close()
	for _, data := range []string{"first", "", "the last one"} {
		must(t, ReplaceFile(dir, "state", []byte(data), 0o600))
		must(t, SyncDir(dir, "."))
		b, err := os.ReadFile(path + "/state")
		if err != nil || string(b) != data {
			t.Errorf("%q, %v; want %q", b, err, data)
		}
	}
	if st, err := os.Stat(path + "/state"); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	must(t, ReplacePath(path+"/other", []byte("x"), 0o644))
	if err := ReplacePath(path+"/none/x", nil, 0o644); !os.IsNotExist(err) {
		t.Errorf("in a directory that is not there: %v", err)
	}
	// What cannot be replaced stays, and nothing is left beside it.
	must(t, os.Mkdir(path+"/full", 0o755))
	must(t, os.WriteFile(path+"/full/x", nil, 0o644))
	if ReplaceFile(dir, "full", nil, 0o600) == nil {
		t.Error("a directory was replaced")
	}
	if names, err := os.ReadDir(path); err != nil || len(names) != 3 {
		t.Errorf("%v, %v", names, err)
	}
}
