package meta

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Chmod is a parsed --chmod argument: changes applied in order. nil changes
// nothing.
type Chmod []chmodClause

// The classes a clause names; times 1, 2 or 4 they are permission bits.
const (
	whoUser  = 0100
	whoGroup = 0010
	whoOther = 0001
	whoAll   = whoUser | whoGroup | whoOther
)

type chmodClause struct {
	dirsOnly, filesOnly bool
	op                  byte // '+', '-', '=', or '8' for an octal mode
	who                 uint32
	perms               uint32 // rwx bits for who, or the octal mode
	special             uint32 // set-id and sticky bits
	clear               uint32 // set-id bits that '=' takes away first
	conditionalX        bool   // X: execute only for directories and executables
	copyFrom            uint   // shift of the class copied from, 0 for other
	copies              bool
	copyMask            uint32
}

// ParseChmod parses chmod(1) syntax with rsync's D and F prefixes, as in
// "Dg+s,ug+w,Fo-w,+X" or "D2775,F664" (rsync 3.5.0 chmod.c:parse_chmod). Where
// no class is named the umask is spared.
func ParseChmod(spec string, umask uint32) (Chmod, error) {
	var list Chmod
	for clause := range strings.SplitSeq(spec, ",") {
		c, ok := parseClause(clause, umask)
		if !ok {
			return nil, fmt.Errorf("invalid argument passed to --chmod (%s)", spec)
		}
		list = append(list, c)
	}
	return list, nil
}

func parseClause(s string, umask uint32) (c chmodClause, ok bool) {
	setid := uint32(0) // what s means for the classes named
	for ; s != "" && c.op == 0; s = s[1:] {
		switch ch := s[0]; ch {
		case 'D':
			c.dirsOnly = true
		case 'F':
			c.filesOnly = true
		case 'u':
			c.who |= whoUser
			setid |= unix.S_ISUID
		case 'g':
			c.who |= whoGroup
			setid |= unix.S_ISGID
		case 'o':
			c.who |= whoOther
		case 'a':
			c.who |= whoAll
			setid |= unix.S_ISUID | unix.S_ISGID
		case '+', '-', '=':
			c.op = ch
		default:
			if c.who != 0 || c.dirsOnly && c.filesOnly {
				return c, false
			}
			c.op = '8'
			c.perms, ok = parseOctal(s)
			return c, ok
		}
		if c.dirsOnly && c.filesOnly {
			return c, false
		}
	}
	if c.op == 0 {
		return c, false
	}
	c.copyMask = PermBits
	named := c.who != 0
	if !named {
		c.who = whoAll
		c.copyMask = ^umask
	}
	bits, ok := uint32(0), true
	for i := 0; i < len(s); i++ {
		if c.copies {
			return c, false // a copied class stands alone
		}
		switch s[i] {
		case 'r':
			bits |= 4
		case 'w':
			bits |= 2
		case 'X':
			c.conditionalX = true
			bits |= 1
		case 'x':
			bits |= 1
		case 's':
			if setid == 0 {
				setid = unix.S_ISUID
			}
			c.special |= setid
		case 't':
			c.special |= unix.S_ISVTX
		case 'u', 'g', 'o':
			if bits != 0 || c.special != 0 {
				return c, false
			}
			c.copies = true
			c.copyFrom = map[byte]uint{'u': 6, 'g': 3, 'o': 0}[s[i]]
		default:
			return c, false
		}
	}
	c.perms = c.who * bits
	if !named {
		c.perms &^= umask
	}
	if c.special != 0 && named {
		c.clear = setidOf(c.who)
	}
	if c.copies {
		c.clear = setidOf(c.who)
		if c.who&whoOther != 0 {
			c.clear |= unix.S_ISVTX
		}
	}
	return c, ok
}

func setidOf(who uint32) (bits uint32) {
	if who&whoUser != 0 {
		bits |= unix.S_ISUID
	}
	if who&whoGroup != 0 {
		bits |= unix.S_ISGID
	}
	return bits
}

func parseOctal(s string) (mode uint32, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '7' {
			return 0, false
		}
		if mode = mode*8 + uint32(s[i]-'0'); mode > PermBits {
			return 0, false
		}
	}
	return mode, s != ""
}

// Apply returns mode with the changes made; its type decides on D, F and X.
// rsync 3.5.0 chmod.c:tweak_mode.
func (list Chmod) Apply(mode uint32) uint32 {
	kind, perm := mode&^PermBits, mode&PermBits
	isDir := mode&unix.S_IFMT == unix.S_IFDIR
	hadX := mode&0111 != 0
	for i := range list {
		c := &list[i]
		if c.dirsOnly && !isDir || c.filesOnly && isDir {
			continue
		}
		add := c.perms | c.special
		if c.conditionalX && !hadX && !isDir && c.op != '-' {
			add &^= 0111
		}
		copied := uint32(0)
		if c.copies {
			copied = c.who * (perm >> c.copyFrom & 7) & c.copyMask
		}
		switch c.op {
		case '8':
			perm = add
		case '+':
			perm |= add | copied
		case '-':
			perm &^= add | copied
		case '=':
			perm = perm&^(c.who*7|c.clear) | add | copied
		}
	}
	return kind | perm&PermBits
}
