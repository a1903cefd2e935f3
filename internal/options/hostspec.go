package options

import (
	"strconv"
	"strings"
)

// Hostspec is an operand that names another host.
type Hostspec struct {
	Host   string // [USER@]HOST, IPv6 addresses without brackets; may be empty
	Path   string
	Daemon bool // HOST::PATH or rsync://HOST/PATH
	Port   int  // of an rsync:// URL; 0: none given
}

// ParseHostspec tells whether an operand names another host, in one of the forms
// HOST:PATH, HOST::PATH and rsync://HOST[:PORT]/PATH. A ":" behind the first
// "/" is part of a local path. (rsync 3.5.0 options.c:check_for_hostspec)
func ParseHostspec(arg string) (Hostspec, bool) {
	const scheme = "rsync://"
	if len(arg) >= len(scheme) && strings.EqualFold(arg[:len(scheme)], scheme) {
		if h, ok := parseURL(arg[len(scheme):]); ok {
			return h, true
		}
	}
	host, rest, ok := cutHost(arg)
	if !ok || rest == "" || rest[0] != ':' {
		return Hostspec{}, false
	}
	h := Hostspec{Host: host, Path: rest[1:]}
	if strings.HasPrefix(h.Path, ":") {
		h.Path, h.Daemon = h.Path[1:], true
	}
	return h, true
}

func parseURL(s string) (Hostspec, bool) {
	host, rest, ok := cutHost(s)
	if !ok {
		return Hostspec{}, false
	}
	h := Hostspec{Host: host, Daemon: true}
	if strings.HasPrefix(rest, ":") {
		digits := 0
		for rest = rest[1:]; digits < len(rest) && isDigit(rest[digits]); {
			digits++
		}
		port, err := strconv.ParseUint(rest[:digits], 10, 16)
		if err != nil && digits > 0 {
			return Hostspec{}, false
		}
		h.Port, rest = int(port), rest[digits:]
	}
	if rest != "" && rest[0] != '/' {
		return Hostspec{}, false
	}
	h.Path = strings.TrimPrefix(rest, "/")
	return h, true
}

// cutHost cuts [USER@]HOST off the start of s, up to the first ":" or "/" that
// is not within the brackets of an address.
func cutHost(s string) (host, rest string, ok bool) {
	user, start := "", 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ':', '/':
			return user + s[start:i], s[i:], true
		case '@':
			start = i + 1
			user = s[:start]
		case '[':
			if i != start {
				return "", "", false
			}
			end := strings.IndexAny(s[i:], "]/")
			if end <= 1 || s[i+end] == '/' {
				return "", "", false
			}
			end += i
			if rest = s[end+1:]; rest != "" && rest[0] != ':' && rest[0] != '/' {
				return "", "", false
			}
			return user + s[i+1:end], rest, true
		}
	}
	return user + s[start:], "", true
}
