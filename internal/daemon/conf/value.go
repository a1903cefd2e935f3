package conf

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// assign gives a parameter its value. A problem that rsync only reports comes
// back as a warning, and the parameter keeps what it had; one in a parameter
// of prsync's own is an error.
func (p *param) assign(v *values, value string, lookup LookupFunc) (warning string, err error) {
	if p.kind != text && p.kind != path {
		if value, err = Expand(value, lookup); err != nil {
			return "", err
		}
	}
	switch f := p.field(v).(type) {
	case *string:
		*f, err = p.parseText(value)
		v.set[p] = true
	case *bool:
		t, ok := parseTri(value, false)
		if !ok {
			return notBoolean(value), p.strict(notBoolean(value))
		}
		*f = t == Yes
	case *Tri:
		t, ok := parseTri(value, true)
		if !ok {
			return notBoolean(value), p.strict(notBoolean(value))
		}
		*f = t
	case *int:
		n, ok := atoi(value)
		if p.kind == facility {
			if named, found := facilities[strings.ToLower(value)]; found {
				n, ok = named, true
			} else if n <= 0 {
				return fmt.Sprintf("unknown syslog facility %q", value), nil
			}
		}
		if *f = n; !ok {
			warning = fmt.Sprintf("badly formed number %q, read as %d", value, n)
			return warning, p.strict(warning)
		}
	case *int64:
		*f, err = p.parseBytes(value)
	case *time.Duration:
		*f, err = parseInterval(value)
	}
	return "", err
}

func notBoolean(value string) string {
	return fmt.Sprintf("badly formed boolean %q: say yes or no", value)
}

// strict turns a warning into an error for prsync's own parameters, which no
// existing file depends on.
func (p *param) strict(warning string) error {
	if !p.ours {
		return nil
	}
	return fmt.Errorf("%s", warning)
}

func parseTri(s string, unset bool) (Tri, bool) {
	switch fold(s) {
	case "YES", "TRUE", "1":
		return Yes, true
	case "NO", "FALSE", "0":
		return No, true
	case "UNSET", "-1":
		return Unset, unset
	}
	return Unset, false
}

// atoi reads leading white space, a sign and digits, as the C function does,
// and whether that was all of s. Values stay within 32 bits.
func atoi(s string) (int, bool) {
	s = strings.TrimSpace(s)
	end := 0
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 32)
	return int(n), err == nil && end == len(s)
}

func (p *param) parseText(s string) (string, error) {
	switch p.kind {
	case path:
		for len(s) > 1 && s[len(s)-1] == '/' {
			s = s[:len(s)-1]
		}
	case address:
		if s == "" {
			break
		}
		if _, port, err := net.SplitHostPort(s); err != nil {
			return "", fmt.Errorf("%q is no address: say HOST:PORT, or :PORT for all interfaces", s)
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", fmt.Errorf("%q has no port number from 0 to 65535", s)
		}
	case networks:
		all := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
		for i, a := range all {
			n, err := netip.ParsePrefix(a)
			if addr, addrErr := netip.ParseAddr(a); addrErr == nil && addr.Zone() == "" {
				n, err = addr.Prefix(addr.BitLen())
			}
			if err != nil {
				return "", fmt.Errorf("%q is neither an address nor a network: say 127.0.0.1 or 10.0.0.0/8", a)
			}
			all[i] = n.String()
		}
		s = strings.Join(all, " ")
	case httpURL:
		if s == "" {
			break
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return "", fmt.Errorf("%q is no web address: say http://HOST[:PORT][/PATH]", s)
		}
		s = strings.TrimRight(s, "/")
	case store:
		u, err := url.Parse(s)
		if s != "memory" && (err != nil || u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix") {
			return "", fmt.Errorf("%q is no tracker store: say memory or redis://HOST:PORT/DB", s)
		}
	}
	return s, nil
}

// parseBytes reads a size as rsync's --max-size does (K, KiB: 1024; KB: 1000;
// up to P), or for a rate also a number of bits (Kbit, Mbit, Gbit: powers of
// 1000), with an optional /s.
func (p *param) parseBytes(s string) (int64, error) {
	bad := fmt.Errorf("%q is no size: say a number with an optional K, M, G or KB, MB, GB", s)
	if p.kind == rate {
		bad = fmt.Errorf("%q is no rate: say for example 50Mbit/s or 6M (bytes per second)", s)
	}
	t := strings.ToLower(strings.TrimSpace(s))
	if p.kind == rate {
		t = strings.TrimSuffix(t, "/s")
	}
	digits := len(t) - len(strings.TrimLeft(t, "0123456789."))
	n, err := strconv.ParseFloat(t[:digits], 64)
	if err != nil {
		return 0, bad
	}
	unit := strings.TrimSpace(t[digits:])
	scale := 1.0
	if unit != "" {
		power := strings.IndexByte("kmgtp", unit[0]) + 1
		rest := unit
		if power > 0 {
			rest = unit[1:]
		}
		switch {
		case (rest == "" || rest == "ib") && power > 0:
			scale = math.Pow(1024, float64(power))
		case rest == "b":
			scale = math.Pow(1000, float64(power))
		case rest == "bit" && p.kind == rate:
			scale = math.Pow(1000, float64(power)) / 8
		default:
			return 0, bad
		}
	}
	if n *= scale; n >= math.MaxInt64 {
		return 0, bad
	}
	return int64(n), nil
}

// parseInterval reads seconds, or a number with s, m, h or d.
func parseInterval(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no interval: say seconds, or a number with s, m, h or d; 0 is never", s)
	t := strings.TrimSpace(s)
	if n, err := strconv.ParseUint(t, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(t, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, bad
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(t)
	if err != nil || d < 0 {
		return 0, bad
	}
	return d, nil
}
