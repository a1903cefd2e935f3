package daemon

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/prsync/prsync/internal/fsroot"
)

// claimSlot takes one of max places for a connection: a lock on four bytes of
// the lock file, which it shares with stock rsync. The place is free again when
// the file is closed, which the end of the process does. A nil file without an
// error says that no place is free.
// (rsync 3.5.0 connection.c:claim_connection.)
func claimSlot(path string, max int) (*os.File, error) {
	f, err := fsroot.OwnerOpen(path, os.O_RDWR|os.O_CREATE, 0o600, fsroot.Policy{})
	if err != nil {
		return nil, err
	}
	for i := range max {
		if lockBytes(f, int64(i)*4, 4) == nil {
			return f, nil
		}
	}
	f.Close()
	return nil, nil
}

// lockBytes takes a record lock for writing, without waiting.
func lockBytes(f *os.File, start, n int64) error {
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: n})
}
