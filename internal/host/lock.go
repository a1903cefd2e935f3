package host

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockState makes sure that a state directory has one service of a role.
func lockState(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state dir: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another service runs with this state directory")
		}
		return nil, fmt.Errorf("state dir: %s: %w", path, err)
	}
	return f, nil
}
