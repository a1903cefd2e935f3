package daemon

import (
	"bufio"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/prsync/prsync/internal/daemon/conf"
	"github.com/prsync/prsync/internal/filter/wildmatch"
	"github.com/prsync/prsync/internal/rsyncproto"
)

// errAuth says that a client was turned away and that the log says why.
var errAuth = errors.New("authentication failed")

// maxSecretsLine bounds a line of a secrets file.
const maxSecretsLine = 64 << 10

// authenticate challenges the client when the module has auth users, and
// returns the user's name and whether the module is read only for that user
// (rsync 3.5.0 authenticate.c:auth_server).
func (c *connection) authenticate(m *conf.Module) (user string, readOnly bool, err error) {
	if m.AuthUsers == "" {
		return "", m.ReadOnly, nil
	}
	fail := func(format string, args ...any) (string, bool, error) {
		c.log.Printf("auth failed on module %s from %s (%s)%s", m.Name, c.host, c.addr, fmt.Sprintf(format, args...))
		return "", false, errAuth
	}
	digest, err := rsyncproto.AgreeAuthDigest(c.protocol, c.theirs.Digests)
	if err != nil {
		c.printf("@ERROR: your client does not support one of our daemon-auth checksums: %s\n",
			strings.Join(rsyncproto.AuthDigests(), " "))
		return "", false, err
	}
	if m.AuthDigest != "" {
		enough, known := digest.AtLeast(m.AuthDigest)
		switch {
		case !known:
			return fail(": the configured 'auth digest = %s' is not a supported digest on this build", m.AuthDigest)
		case !enough:
			return fail(": negotiated auth digest %s is weaker than the required 'auth digest = %s'", digest.Name(), m.AuthDigest)
		}
	}
	challenge := digest.NewChallenge()
	c.printf("@RSYNCD: AUTHREQD %s\n", challenge)
	line, err := rsyncproto.ReadLine(c.reader, rsyncproto.MaxDaemonLine)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", false, err
	}
	user, answer, ok := strings.Cut(line, " ")
	if err != nil || !ok {
		return fail(": invalid challenge response")
	}
	rule, ok := findAuthRule(m.AuthUsers, user, c.d.Users)
	switch {
	case !ok:
		return fail(" for %s: no matching rule", user)
	case rule.access == accessDeny:
		return fail(" for %s: denied by rule", user)
	}
	expected := func(secret string) bool {
		return subtle.ConstantTimeCompare([]byte(digest.Response(secret, challenge)), []byte(answer)) == 1
	}
	if reason := c.checkSecret(m, user, rule.group, expected); reason != "" {
		return fail(" for %s: %s", user, reason)
	}
	return user, rule.access.readOnly(m.ReadOnly), nil
}

// authAccess is what a rule grants.
type authAccess byte

const (
	accessModule authAccess = iota // what the module says
	accessDeny
	accessReadOnly
	accessReadWrite
)

func (a authAccess) readOnly(module bool) bool {
	switch a {
	case accessReadOnly:
		return true
	case accessReadWrite:
		return false
	}
	return module
}

// authRule is the rule of auth users that a user matched.
type authRule struct {
	access authAccess
	group  string // the group that matched, "" when the name did
}

// findAuthRule returns the first rule that the user matches, by name or by
// membership in a group of the system.
func findAuthRule(rules, user string, users Users) (authRule, bool) {
	var groups []string
	asked := false
	for _, entry := range list(rules) {
		pattern, option, _ := strings.Cut(entry, ":")
		rule := authRule{access: parseAuthAccess(option)}
		group, isGroup := strings.CutPrefix(pattern, "@")
		if !isGroup {
			if wildmatch.Match(pattern, user) {
				return rule, true
			}
			continue
		}
		if !asked {
			asked, groups = true, groupsOf(user, users)
		}
		for _, g := range groups {
			if wildmatch.Match(group, g) {
				rule.group = g
				return rule, true
			}
		}
	}
	return authRule{}, false
}

// parseAuthAccess reads deny, ro or rw by its first letters, in any case.
func parseAuthAccess(option string) authAccess {
	switch o := strings.ToLower(option); {
	case strings.HasPrefix(o, "d"):
		return accessDeny
	case strings.HasPrefix(o, "ro"):
		return accessReadOnly
	case strings.HasPrefix(o, "rw"):
		return accessReadWrite
	}
	return accessModule
}

// groupsOf returns the names of a user's groups, none for an unknown user.
func groupsOf(name string, users Users) []string {
	uid, ok := users.UID(name)
	if !ok {
		return nil
	}
	gids, err := users.GIDs(uid)
	if err != nil {
		return nil
	}
	var names []string
	for _, gid := range gids {
		if g, ok := users.Group(gid); ok {
			names = append(names, g)
		}
	}
	return names
}

// checkSecret looks for the user's line in the secrets file, or for the
// group's, and returns why neither holds the right secret.
func (c *connection) checkSecret(m *conf.Module, user, group string, expected func(secret string) bool) (reason string) {
	if m.SecretsFile == "" {
		return "no secrets file"
	}
	f, err := openOperatorFile(m.SecretsFile)
	if err != nil {
		return "no secrets file"
	}
	defer f.Close()
	if problem := secretsFileProblem(f, m.StrictModes); problem != "" {
		c.log.Printf("%s", problem)
		return "ignoring secrets file"
	}
	if strings.HasPrefix(user, "#") || user == "" {
		return "invalid username"
	}
	return findSecret(f, user, group, expected)
}

// secretsFileProblem returns what strict modes have against a secrets file.
func secretsFileProblem(f *os.File, strict bool) string {
	st, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Sprintf("fstat(%s): %s", f.Name(), errText(err))
	case !strict:
	case st.Mode()&0o6 != 0:
		return "secrets file must not be other-accessible (see strict modes option)"
	case os.Getuid() == 0 && ownerOf(st) != 0:
		return "secrets file must be owned by root when running as root (see strict modes)"
	}
	return ""
}

func ownerOf(st fs.FileInfo) uint32 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Uid
	}
	return ^uint32(0)
}

// findSecret reads lines NAME:SECRET and @GROUP:SECRET. Only the first line
// of the user and the first of the group count.
func findSecret(r io.Reader, user, group string, expected func(secret string) bool) (reason string) {
	reason = "secret not found"
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxSecretsLine)
	for (user != "" || group != "") && lines.Scan() {
		line := strings.Trim(lines.Text(), "\r")
		want := &user
		if rest, ok := strings.CutPrefix(line, "@"); ok {
			want, line = &group, rest
		}
		if *want == "" {
			continue
		}
		secret, ok := strings.CutPrefix(line, *want+":")
		if !ok {
			continue
		}
		if expected(secret) {
			return ""
		}
		reason, *want = "password mismatch", ""
	}
	return reason
}
