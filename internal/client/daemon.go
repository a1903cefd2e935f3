package client

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

// DefaultPort is the port of a daemon.
const DefaultPort = 873

// Daemon connects to a daemon and asks for the module that the first path
// names. paths are MODULE/PATH; an empty one asks for a list of the modules,
// which say receives and which leaves no connection: listed. say also receives
// the message of the day, unless --no-motd.
//
// The way is TCP, RSYNC_PROXY, RSYNC_CONNECT_PROG, or with Options.RshSet a
// remote shell. (rsync 3.5.0 clientserver.c:start_socket_client and
// start_inband_exchange)
func Daemon(ctx context.Context, o *options.Options, spec options.Hostspec, paths []string, amSender bool, env Env, say func(line string)) (c *Conn, listed bool, err error) {
	if len(paths) == 0 {
		paths = []string{""}
	}
	if strings.HasPrefix(paths[0], "/") {
		text := "ERROR: The remote path must start with a module name not a /"
		if o.RshSet {
			text = "ERROR: The remote path must start with a module name"
		}
		return nil, false, exitcode.New(exitcode.StartClient, "%s", text)
	}
	user, given, host := cutUser(spec.Host)
	if !given {
		var set bool
		if user, set = env.lookup("USER"); !set {
			user = env.getenv("LOGNAME")
		}
	}
	port := spec.Port
	if port == 0 {
		port = o.Port
	}
	if o.RshSet {
		c, err = daemonShell(ctx, o, spec.Host, port, amSender, &env)
	} else {
		if port == 0 {
			port = DefaultPort
		}
		d := dialer{o: o, env: &env, amSender: amSender}
		c, err = d.open(ctx, host, port)
	}
	if err != nil {
		return nil, false, err
	}
	c.Daemon = true
	h := handshake{Conn: c, ctx: ctx, o: o, env: &env, amSender: amSender, user: user, paths: paths, say: say}
	listed, err = h.run()
	if err != nil || listed {
		c.Close()
		return nil, listed, err
	}
	return c, false, nil
}

// daemonShell starts a daemon for one connection behind a remote shell, which
// finds the port that was asked for, 0 for none, in RSYNC_PORT.
func daemonShell(ctx context.Context, o *options.Options, host string, port int, amSender bool, env *Env) (*Conn, error) {
	if o.ContTimeout != 0 {
		return nil, syntax("The --contimeout option may only be used when connecting to an rsync daemon.")
	}
	words, err := shellWords(o, host, true)
	if err != nil {
		return nil, err
	}
	words = append(words, "--server", "--daemon", ".")
	return startShell(ctx, o, words, amSender, env, "RSYNC_PORT="+strconv.Itoa(port))
}

// daemonPaths returns the paths as a daemon wants them: a module alone gets a
// slash, a leading dash is hidden, and a space before something that looks like
// the module is kept from splitting the argument in two.
func daemonPaths(paths []string, oldArgs bool) []string {
	module, _, _ := strings.Cut(paths[0], "/")
	split := " " + module + "/"
	out := make([]string, len(paths))
	for i, path := range paths {
		switch {
		case path == module:
			path += "/"
		case path == "":
			path = "." // an empty argument would end the list
		default:
			dash := strings.HasPrefix(path, "-")
			if !oldArgs {
				path = strings.ReplaceAll(path, split, "[ ]"+split[1:])
			}
			if dash {
				path = "./" + path
			}
		}
		out[i] = path
	}
	return out
}

// daemonArgs encodes the arguments in the form of the negotiated protocol.
func daemonArgs(args []string, protocol int) (string, error) {
	end := "\n"
	if protocol >= 30 {
		end = "\x00"
	}
	var b strings.Builder
	for _, arg := range args {
		if strings.Contains(arg, end) {
			return "", exitcode.New(exitcode.Unsupported,
				"a name with a newline cannot be sent to a daemon that speaks protocol %d: %s", protocol, strconv.Quote(arg))
		}
		b.WriteString(arg)
		b.WriteString(end)
	}
	b.WriteString(end)
	return b.String(), nil
}

func connectTrace(host string, port int, prog bool) string {
	instead := ""
	if prog {
		instead = "Using RSYNC_CONNECT_PROG instead of "
	}
	return fmt.Sprintf("%sopening tcp connection to %s port %d", instead, host, port)
}
