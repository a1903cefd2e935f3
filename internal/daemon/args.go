package daemon

import (
	"errors"
	"io"
	"strings"

	"github.com/prsync/prsync/internal/rsyncproto"
)

// Bounds on what a client can make the daemon hold before its request runs.
const (
	maxDaemonArgs = 16000 // rsync 3.5.0 io.c:MAX_DAEMON_ARGS
	maxGlobbed    = 1 << 20
)

var (
	errTooManyArgs = errors.New("too many daemon arguments")
	errTooManyHits = errors.New("a wildcard argument matches too many names")
)

// argReader reads the arguments of a client (rsync 3.5.0 io.c:read_args).
type argReader struct {
	in     io.Reader
	module string
	// nulls says that each argument ends in a NUL, as from protocol 30,
	// instead of a newline.
	nulls bool
	// secluded says that these are the arguments that follow the mark -s:
	// nothing in them was escaped, and one is one path.
	secluded bool
	// convert takes an argument out of UTF-8, nil for none.
	convert func(arg string) string
	// expand turns a path argument into the names that it matches.
	expand func(pattern string) ([]string, error)
}

// read returns the arguments, and the paths among them as the client wrote
// them, in one line for the log.
func (r *argReader) read() (args []string, paths string, err error) {
	if !r.secluded {
		args = append(args, "rsyncd")
	}
	pathsFollow := false
	for count := 0; ; count++ {
		arg, err := r.next()
		if err != nil {
			return nil, "", err
		}
		if arg == "" {
			return args, paths, nil
		}
		if count+2 >= maxDaemonArgs {
			return nil, "", errTooManyArgs
		}
		if !pathsFollow {
			if !r.secluded {
				arg = unescape(arg)
			}
			args = append(args, arg)
			pathsFollow = arg == "."
			continue
		}
		if len(paths) < 1024 {
			if paths != "" {
				paths += " "
			}
			paths += arg
		}
		for _, pattern := range r.split(arg) {
			names, err := r.expand(pattern)
			if err != nil {
				return nil, "", err
			}
			if args = append(args, names...); len(args) > maxGlobbed {
				return nil, "", errTooManyHits
			}
		}
	}
}

// next reads one argument. What is too long is cut, as rsync does.
func (r *argReader) next() (string, error) {
	var arg []byte
	var b [1]byte
	for {
		if _, err := io.ReadFull(r.in, b[:]); err != nil {
			return "", err
		}
		if r.nulls && b[0] == 0 || !r.nulls && (b[0] == '\n' || b[0] == '\r') {
			if i := strings.IndexByte(string(arg), 0); i >= 0 {
				arg = arg[:i]
			}
			if r.convert != nil {
				return r.convert(string(arg)), nil
			}
			return string(arg), nil
		}
		if len(arg) < rsyncproto.MaxDaemonLine-1 {
			arg = append(arg, b[0])
		}
	}
}

// unescape undoes the backslashes that a client puts before characters that
// are special to the shell which an ssh server would have.
func unescape(arg string) string {
	if !strings.Contains(arg, `\`) {
		return arg
	}
	out := make([]byte, 0, len(arg))
	for i := 0; i < len(arg); i++ {
		if arg[i] == '\\' && i+1 < len(arg) {
			i++
		}
		out = append(out, arg[i])
	}
	return string(out)
}

// split removes the module's name from an argument, and takes an argument of
// old clients that holds several paths ("mod/a mod/b") apart
// (rsync 3.5.0 util1.c:glob_expand_module).
func (r *argReader) split(arg string) []string {
	arg = strings.TrimPrefix(arg, r.module)
	if r.secluded {
		return []string{arg}
	}
	var out []string
	for arg != "" {
		head, _, more := strings.Cut(arg, " "+r.module+"/")
		out = append(out, head)
		if !more {
			break
		}
		arg = arg[len(head)+len(r.module)+1:]
	}
	return out
}
