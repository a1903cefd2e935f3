package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/prsync/prsync/internal/rsyncproto"
)

// maxNameLine bounds a request to a name converter and its answer.
const maxNameLine = 1024

// NameConverter asks the program of `name converter` for users and groups. It
// is safe for concurrent use. (rsync 3.5.0 clientserver.c:namecvt_call.)
type NameConverter struct {
	mu  sync.Mutex
	req io.Writer
	ans *bufio.Reader
	log func(format string, args ...any)
}

// NewNameConverter speaks to a converter through its standard input and output.
func NewNameConverter(stdin io.Writer, stdout io.Reader, log func(format string, args ...any)) *NameConverter {
	return &NameConverter{req: stdin, ans: bufio.NewReader(stdout), log: log}
}

// errConverter says that the converter is gone.
var errConverter = errors.New("connection to name-converter failed")

// UID returns the id of a user; ok is false when the converter knows none.
func (n *NameConverter) UID(name string) (id int, ok bool, err error) { return n.id("usr", name) }

// GID returns the id of a group; ok is false when the converter knows none.
func (n *NameConverter) GID(name string) (id int, ok bool, err error) { return n.id("grp", name) }

// User returns the name of a user, "" when the converter knows none.
func (n *NameConverter) User(uid int) (string, error) { return n.ask("uid", strconv.Itoa(uid)) }

// Group returns the name of a group, "" when the converter knows none.
func (n *NameConverter) Group(gid int) (string, error) { return n.ask("gid", strconv.Itoa(gid)) }

func (n *NameConverter) id(command, name string) (int, bool, error) {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < ' ' || c == 0x7f {
			n.log("invalid name-converter token: %s", name)
			return 0, false, nil
		}
	}
	answer, err := n.ask(command, name)
	if err != nil || answer == "" || strings.Trim(answer, "0123456789") != "" {
		// An empty answer must not become the id 0.
		return 0, false, err
	}
	id, err := strconv.ParseUint(answer, 10, 32)
	if err != nil {
		return 0, false, nil
	}
	return int(id), true, nil
}

func (n *NameConverter) ask(command, what string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := command + " " + what + "\n"
	if len(line) >= maxNameLine {
		return "", fmt.Errorf("the name-converter request %q is too large", command)
	}
	if _, err := io.WriteString(n.req, line); err != nil {
		return "", fmt.Errorf("%w (%w)", errConverter, err)
	}
	answer, err := rsyncproto.ReadLine(n.ans, maxNameLine)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, rsyncproto.ErrLine) {
		return "", nil
	}
	return answer, err
}
