package p2p

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// socketPair returns two connected unix stream sockets.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "engine"), os.NewFile(uintptr(fds[1]), "engine"), nil
}

// detach keeps the terminal's signals from the engine: it leaves when its
// socket closes, after the transfer has decided so. (PDEATHSIG would not do: it
// goes by the thread that started the child.)
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// lastWords keeps the beginning of what a child writes to its standard error:
// why it did not start, or the first line of a crash.
type lastWords struct {
	mu sync.Mutex
	b  []byte
}

const maxLastWords = 4 << 10

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b[:min(len(b), maxLastWords-len(l.b))]...)
	return len(b), nil
}

// String returns the first line.
func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, _, _ := strings.Cut(string(l.b), "\n")
	return strings.TrimSpace(line)
}
