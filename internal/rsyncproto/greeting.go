package rsyncproto

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of the lines that the two sides of a daemon connection exchange
// before the protocol proper: the greeting and the module name on one side,
// everything that comes after them on the other (rsync 3.5.0
// clientserver.c:start_daemon and start_inband_exchange).
const (
	MaxGreetingLine = 1024
	MaxDaemonLine   = 4096 + 1024
	MaxEarlyInput   = MaxDaemonLine
)

// digestsRequired is the protocol above which a greeting must name the digests.
const digestsRequired = 31

// Greeting is the first line that each side of a daemon connection sends:
//
//	@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4
type Greeting struct {
	Protocol int
	// Sub is the subprotocol of a pre-release version, 0 for a release.
	Sub int
	// Digests are the names of the digests for authentication that the
	// sender has, best first; nil when it named none.
	Digests []string
}

// String returns the line without its newline.
func (g Greeting) String() string {
	s := fmt.Sprintf("@RSYNCD: %d.%d", g.Protocol, g.Sub)
	if len(g.Digests) > 0 {
		s += " " + strings.Join(g.Digests, " ")
	}
	return s
}

// ErrNotGreeting says that a line is no greeting at all.
var ErrNotGreeting = errors.New("protocol startup error")

// OmittedError says what a greeting of its protocol must hold and does not.
// Its text follows "your client " or "the server ".
type OmittedError struct {
	What string // "subprotocol value" or "digest name list"
	Line string
}

func (e *OmittedError) Error() string { return "omitted the " + e.What + ": " + e.Line }

// ParseGreeting reads the other side's greeting, without its newline. The
// error is ErrNotGreeting or an *OmittedError. What stands between the numbers
// and the first space does not count, and neither do spaces in front of them.
// (rsync 3.5.0 clientserver.c:exchange_protocols.)
func ParseGreeting(line string) (Greeting, error) {
	const mark = "@RSYNCD:"
	rest, ok := strings.CutPrefix(line, mark)
	if !ok {
		return Greeting{}, ErrNotGreeting
	}
	var g Greeting
	if g.Protocol, rest, ok = ScanNumber(rest); !ok || g.Protocol < 0 || g.Protocol > 1<<20 {
		return Greeting{}, ErrNotGreeting
	}
	rest, dotted := strings.CutPrefix(rest, ".")
	if dotted {
		g.Sub, _, dotted = ScanNumber(rest)
	}
	if !dotted || g.Sub < 0 {
		g.Sub = 0
		if g.Protocol >= 30 {
			return Greeting{}, &OmittedError{"subprotocol value", line}
		}
	}
	_, digests, named := strings.Cut(line[min(len(mark)+1, len(line)):], " ")
	switch {
	case named:
		g.Digests = strings.Fields(digests)
	case g.Protocol > digestsRequired:
		return Greeting{}, &OmittedError{"digest name list", line}
	}
	return g, nil
}

// ScanNumber reads a number as scanf(3) does: behind white space, with a sign,
// up to what is no digit.
func ScanNumber(s string) (n int, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	digits := strings.TrimLeft(s[min(len(s)-len(strings.TrimLeft(s, "+-")), 1):], "0123456789")
	n, err := strconv.Atoi(s[:len(s)-len(digits)])
	return n, digits, err == nil
}

// Agree returns the protocol that two greetings lead to: the lower one, and
// one less where the versions agree in all but the subprotocol.
func (g Greeting) Agree(other Greeting) int {
	switch {
	case g.Protocol > other.Protocol:
		if other.Sub != 0 {
			return other.Protocol - 1
		}
		return other.Protocol
	case g.Protocol == other.Protocol:
		if g.Sub != other.Sub {
			return g.Protocol - 1
		}
	case g.Sub != 0:
		return g.Protocol - 1
	}
	return g.Protocol
}

// ErrLine says that a line of the daemon exchange was too long or held a NUL.
var ErrLine = errors.New("malformed line in the daemon exchange")

// ReadLine reads a line of at most limit-1 bytes, byte by byte, so that
// nothing behind it is consumed; newline and carriage returns are dropped
// (rsync 3.5.0 io.c:read_line_old).
func ReadLine(r io.Reader, limit int) (string, error) {
	var line []byte
	var b [1]byte
	for len(line) < limit-1 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		switch b[0] {
		case 0:
			return "", ErrLine
		case '\n':
			return string(line), nil
		case '\r':
		default:
			line = append(line, b[0])
		}
	}
	return "", ErrLine
}
