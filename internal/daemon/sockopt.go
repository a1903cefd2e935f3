package daemon

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sockopt is an option that `socket options` and --sockopts know.
type sockopt struct {
	level, option int
	// fixed is the value of an option that takes none.
	fixed int
}

var sockopts = map[string]sockopt{
	"SO_KEEPALIVE":     {level: unix.SOL_SOCKET, option: unix.SO_KEEPALIVE},
	"SO_REUSEADDR":     {level: unix.SOL_SOCKET, option: unix.SO_REUSEADDR},
	"SO_BROADCAST":     {level: unix.SOL_SOCKET, option: unix.SO_BROADCAST},
	"TCP_NODELAY":      {level: unix.IPPROTO_TCP, option: unix.TCP_NODELAY},
	"IPTOS_LOWDELAY":   {level: unix.IPPROTO_IP, option: unix.IP_TOS, fixed: 0x10},
	"IPTOS_THROUGHPUT": {level: unix.IPPROTO_IP, option: unix.IP_TOS, fixed: 0x08},
	"SO_SNDBUF":        {level: unix.SOL_SOCKET, option: unix.SO_SNDBUF},
	"SO_RCVBUF":        {level: unix.SOL_SOCKET, option: unix.SO_RCVBUF},
	"SO_SNDLOWAT":      {level: unix.SOL_SOCKET, option: unix.SO_SNDLOWAT},
	"SO_RCVLOWAT":      {level: unix.SOL_SOCKET, option: unix.SO_RCVLOWAT},
	"SO_SNDTIMEO":      {level: unix.SOL_SOCKET, option: unix.SO_SNDTIMEO},
	"SO_RCVTIMEO":      {level: unix.SOL_SOCKET, option: unix.SO_RCVTIMEO},
}

// SetSocketOptions applies a list of options, NAME or NAME=NUMBER, to a socket.
// All are tried; what fails or is not known is reported and does no harm
// (rsync 3.5.0 socket.c:set_socket_options).
func SetSocketOptions(c syscall.RawConn, options string) (problems []error) {
	for _, word := range strings.FieldsFunc(options, func(r rune) bool { return strings.ContainsRune(" \t,", r) }) {
		name, text, given := strings.Cut(word, "=")
		o, ok := sockopts[name]
		if !ok {
			problems = append(problems, fmt.Errorf("Unknown socket option %s", name))
			continue
		}
		value := 1
		switch {
		case o.fixed != 0:
			if value = o.fixed; given {
				problems = append(problems, fmt.Errorf("syntax error -- %s does not take a value", name))
			}
		case given:
			value, _ = strconv.Atoi(text)
		}
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), o.level, o.option, value) }); cerr != nil {
			err = cerr
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("failed to set socket option %s: %s", name, errText(err)))
		}
	}
	return problems
}

// setSocketOptions is SetSocketOptions for a file that may be no socket.
func setSocketOptions(f *os.File, options string) {
	if c, err := f.SyscallConn(); err == nil {
		SetSocketOptions(c, options)
	}
}
