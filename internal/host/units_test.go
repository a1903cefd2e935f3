package host

import (
	"os"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/host/statedir"
)

// TestUnits: the services of one machine, which are different users, each have
// their own part of the state directory, and no address comes from a socket that
// nobody has asked for.
func TestUnits(t *testing.T) {
	for file, role := range map[string]statedir.Role{"prsync-serve": statedir.Central, "prsync-volunteer": statedir.Volunteer} {
		b, err := os.ReadFile("../../scripts/systemd/" + file + ".service")
		if err != nil {
			t.Fatal(err)
		}
		unit := string(b)
		if want := "\nStateDirectory=" + strings.TrimPrefix(statedir.System, "/var/lib/") + "/" + string(role) + "\n"; !strings.Contains(unit, want) {
			t.Errorf("%s: want %q", file, want)
		}
		if strings.Contains(unit, "\nAlso=") {
			t.Errorf("%s enables other units", file)
		}
	}
}
