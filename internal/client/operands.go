package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

// Kind says how the other side is reached.
type Kind int

// The kinds.
const (
	KindLocal  Kind = iota // both sides are this machine
	KindShell              // a server behind a remote shell
	KindDaemon             // a daemon; with Options.RshSet behind a remote shell
)

// Plan is what the operands of a client ask for.
type Plan struct {
	Kind Kind
	Host string           // [USER@]HOST; empty for KindLocal
	Spec options.Hostspec // the first operand on the host; its port is final unless 0
	// Sources are paths; HOST: is gone from those of the other side. None with
	// --read-batch.
	Sources []string
	// Dest is the destination without HOST:; empty when a client that receives
	// named none.
	Dest     string
	AmSender bool // this side sends; for KindLocal the client side does
	ListOnly bool // Options.ListOnly
}

// RemotePaths are the paths on the other side: what RemoteShell and Daemon take.
func (p *Plan) RemotePaths() []string {
	if p.AmSender {
		return []string{p.Dest}
	}
	return p.Sources
}

// wildPort stands for an unnamed port of a daemon, as rsync compares ports.
const wildPort = -1

// remote reads an operand. port is that which was found before, and comes back
// as the operand's: 0 for a remote shell.
func remote(arg string, port int) (options.Hostspec, int, bool) {
	h, ok := options.ParseHostspec(arg)
	switch {
	case !ok || !h.Daemon:
		port = 0
	case h.Port != 0:
		port = h.Port
	case port == 0:
		port = wildPort
	}
	return h, port, ok
}

// PlanOperands checks the operands, of which there is at least one, and tells
// sources from destination. (rsync 3.5.0 main.c:start_client)
func PlanOperands(o *options.Options, operands []string) (*Plan, error) {
	if len(operands) == 0 {
		return nil, syntax("no source was named")
	}
	p := &Plan{ListOnly: o.ListOnly}
	last := operands[len(operands)-1]
	var err error
	if o.Batch == options.BatchRead {
		if _, ok := options.ParseHostspec(last); ok {
			return nil, syntax("remote destination is not allowed with --read-batch")
		}
		p.Dest = orDot(last)
	} else if h, port, ok := remote(operands[0], o.Port); ok {
		err = p.receive(o, operands, h, port)
	} else {
		err = p.send(o, operands)
	}
	if err == nil {
		err = p.checkConnection(o)
	}
	var e *exitcode.Error
	if errors.As(err, &e) {
		e.Who = role(p.AmSender)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func syntax(format string, args ...any) error { return exitcode.New(exitcode.Syntax, format, args...) }

func orDot(path string) string {
	if path == "" {
		return "."
	}
	return path
}

// at notes the other side.
func (p *Plan) at(o *options.Options, h options.Hostspec, port int) error {
	p.Host, p.Spec, p.Kind = h.Host, h, KindShell
	if port != 0 {
		p.Kind = KindDaemon
		p.Spec.Port = max(port, 0)
	}
	if o.FilesFromRemote && o.FilesFromHost != "" && o.FilesFromHost != h.Host {
		return syntax("--files-from hostname is not the same as the transfer hostname")
	}
	return nil
}

// receive: the first operand is on the other side.
func (p *Plan) receive(o *options.Options, operands []string, h options.Hostspec, port int) error {
	sources := operands
	last := operands[len(operands)-1]
	if len(operands) > 1 && !strings.HasPrefix(last, ":") {
		if _, ok := options.ParseHostspec(last); ok {
			return exitcode.New(exitcode.Syntax, "The source and destination cannot both be remote.").Placed(exitcode.AtBothRemote)
		}
		sources = operands[:len(operands)-1]
	}
	if err := p.at(o, h, port); err != nil {
		return err
	}
	shell := p.Kind == KindShell
	first := h.Path
	if shell {
		first = orDot(first)
	}
	p.Sources = []string{first}
	other := port
	for _, arg := range sources[1:] {
		more, found, ok := remote(arg, other)
		other = found
		switch {
		case !ok:
			return syntax("Unexpected local arg: %s\nIf arg is a remote file/dir, prefix it with a colon (:).", arg)
		case more.Host != "" && more.Host != h.Host:
			return syntax("All source args must come from the same machine.")
		case port != other && (port == 0 || other == 0):
			return syntax("All source args must use the same hostspec format.")
		case port != other:
			return syntax("All source args must use the same port number.")
		}
		if shell {
			more.Path = orDot(more.Path)
		}
		p.Sources = append(p.Sources, more.Path)
	}
	if len(sources) < len(operands) {
		p.Dest = last
		if last == "" && !o.ListOnly {
			return p.emptyDest(o)
		}
	}
	return nil
}

// send: the first operand is on this side.
func (p *Plan) send(o *options.Options, operands []string) error {
	p.AmSender, p.Sources, p.Dest = true, operands, "."
	if len(operands) > 1 {
		p.Sources, p.Dest = operands[:len(operands)-1], operands[len(operands)-1]
		if p.Dest == "" {
			if err := p.emptyDest(o); err != nil {
				return err
			}
		}
	}
	if h, port, ok := remote(p.Dest, o.Port); ok {
		if err := p.at(o, h, port); err != nil {
			return err
		}
		if p.Dest = h.Path; p.Kind == KindShell {
			p.Dest = orDot(p.Dest)
		}
	} else if o.FilesFromRemote {
		return syntax("--files-from cannot be remote when the transfer is local")
	}
	for i, arg := range p.Sources {
		if arg == "" {
			return syntax("Empty source arg specified.")
		}
		if _, ok := options.ParseHostspec(arg); ok && i > 0 {
			return exitcode.New(exitcode.Syntax, "Unexpected remote arg: %s", arg).Placed(exitcode.AtRemoteSource)
		}
	}
	return nil
}

func (p *Plan) emptyDest(o *options.Options) error {
	if o.OldArgs == 0 {
		return syntax("Empty destination arg specified (use \".\" or see --old-args).")
	}
	p.Dest = "."
	return nil
}

// checkConnection refuses what has no meaning for the way to the other side.
func (p *Plan) checkConnection(o *options.Options) error {
	socket := p.Kind == KindDaemon && !o.RshSet
	if o.PasswordSet && p.Kind != KindDaemon {
		return syntax("The --password-file option may only be used when accessing an rsync daemon.")
	}
	if o.ContTimeout != 0 && !socket {
		return syntax("The --contimeout option may only be used when connecting to an rsync daemon.")
	}
	if socket {
		return nil
	}
	return checkShellHost(p.Host)
}

// checkShellHost refuses a host that a remote shell would take for an option.
func checkShellHost(host string) error {
	if _, _, host := cutUser(host); strings.HasPrefix(host, "-") {
		return syntax("Invalid remote host: hostnames may not start with '-'.")
	}
	return nil
}

// cutUser cuts USER@ off a host; given tells an empty user from none.
func cutUser(host string) (user string, given bool, rest string) {
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		return host[:i], true, host[i+1:]
	}
	return "", false, host
}

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case KindLocal:
		return "local"
	case KindShell:
		return "remote shell"
	case KindDaemon:
		return "daemon"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}
