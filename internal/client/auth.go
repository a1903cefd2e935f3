package client

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/report"
	"github.com/prsync/prsync/internal/rsyncproto"
)

// maxPassword is how much of a password file is read, in bytes.
const maxPassword = 511

// authenticate answers a challenge (rsync 3.5.0 authenticate.c:auth_client).
func (h *handshake) authenticate(challenge string) error {
	digest, err := rsyncproto.AgreeAuthDigest(h.Protocol, h.theirs.Digests)
	if err != nil {
		return exitcode.New(exitcode.Unsupported,
			"Failed to negotiate a daemon auth checksum choice.\nServer list: %s\nClient list: %s",
			strings.Join(h.theirs.Digests, " "), strings.Join(rsyncproto.AuthDigests(), " "))
	}
	if debug(h.o, report.DebugNstr, 2) {
		h.env.trace("Server daemon auth checksum list (on client): " + strings.Join(h.theirs.Digests, " "))
	}
	if debug(h.o, report.DebugNstr, 1) {
		h.env.trace("Client negotiated daemon auth checksum: " + digest.Name())
	}
	password, err := h.password()
	if err != nil {
		return err
	}
	user := h.user
	if user == "" {
		user = "nobody"
	}
	h.write(user + " " + digest.Response(password, challenge) + "\n")
	return nil
}

// password comes from --password-file, RSYNC_PASSWORD or the terminal.
func (h *handshake) password() (string, error) {
	if h.o.PasswordSet {
		return h.filedPassword(h.o.PasswordFile)
	}
	if s, ok := h.env.lookup("RSYNC_PASSWORD"); ok {
		return s, nil
	}
	if h.env.ReadPassword == nil {
		return "", nil
	}
	s, err := h.env.ReadPassword("Password: ")
	switch {
	case h.ctx.Err() != nil:
		return "", canceled(h.ctx)
	case err != nil && !errors.Is(err, io.EOF):
		// Without a terminal there is no password; the daemon has its say.
		return "", nil
	}
	return s, nil
}

// filedPassword returns the first line with something in it, of a file that no
// stranger can have read or written (rsync 3.5.0 authenticate.c:getpassf).
func (h *handshake) filedPassword(name string) (string, error) {
	var text []byte
	if name == "-" {
		text = firstLine(h.env.Stdin)
	} else {
		f, info, err := h.env.open(name)
		if err != nil {
			return "", failed(exitcode.Syntax, h.amSender, err, "could not open password file "+name)
		}
		defer f.Close()
		owner := -1
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = int(st.Uid)
		}
		switch {
		case info.Mode()&0o006 != 0:
			return "", syntax("ERROR: password file must not be other-accessible")
		case os.Getuid() == 0 && owner != 0:
			return "", syntax("ERROR: password file must be owned by root when running as root")
		}
		text, _ = io.ReadAll(io.LimitReader(f, maxPassword)) // what cannot be read is no password
	}
	s, _, _ := strings.Cut(string(text), "\x00")
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		return line, nil
	}
	return "", syntax("ERROR: failed to read a password from %s", name)
}

// firstLine reads a line byte by byte, so that the rest stays for others.
func firstLine(r io.Reader) (line []byte) {
	if r == nil {
		return nil
	}
	var b [1]byte
	for len(line) < maxPassword {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			break
		}
		line = append(line, b[0])
		if b[0] == '\n' {
			break
		}
	}
	return line
}
