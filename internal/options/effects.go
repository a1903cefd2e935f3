package options

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The effects of options that do more than store a value.

func toDaemon(*parser, string, int) error { return &request{restartDaemon} }

func (p *parser) addFlags(f *flagSet, list string, help Action) error {
	err := f.add(list, true, p.o.Server)
	if errors.Is(err, errFlagHelp) {
		return &request{help}
	}
	return err
}

func (p *parser) setStderr(arg string, _ int) error {
	for i, mode := range []string{"errors", "all", "client"} {
		if arg != "" && strings.HasPrefix(mode, arg) {
			p.o.Stderr = []StderrMode{StderrErrors, StderrAll, StderrClient}[i]
			return nil
		}
	}
	return p.fail("--stderr mode \"%s\" is not one of errors, all, or client", arg)
}

func (p *parser) setArchive(string, int) error {
	if p.recurse == recurseNo {
		p.recurse = recurseImplied
	}
	o := p.o
	o.Links, o.Perms, o.Times, o.Group, o.Owner = true, true, true, true, true
	o.Devices, o.Specials = true, true
	return nil
}

// setAppend counts on a server: an --append-verify arrives as two --append.
func (p *parser) setAppend(string, int) error {
	if p.o.Server && p.o.Append != AppendNone {
		p.o.Append = AppendVerify
	} else {
		p.o.Append = AppendData
	}
	return nil
}

func (p *parser) setPartialProgress(string, int) error {
	p.o.Partial, p.o.Progress = true, true
	return nil
}

func addBits(bits int) effect {
	return func(p *parser, _ string, _ int) error {
		p.missing |= bits
		return nil
	}
}

func (p *parser) addChmod(arg string, _ int) error {
	if !validChmod(arg) {
		return p.fail("Invalid argument passed to --chmod (%s)", arg)
	}
	p.o.Chmod = append(p.o.Chmod, arg)
	return nil
}

// validChmod reports whether a list of mode changes is well-formed. (rsync
// 3.5.0 chmod.c:parse_chmod)
func validChmod(list string) bool {
	for _, change := range strings.Split(list, ",") {
		if !validModeChange(change) {
			return false
		}
	}
	return true
}

func validModeChange(s string) bool {
	i := strings.IndexAny(s, "+-=01234567")
	if i < 0 {
		return false
	}
	who, what := s[:i], s[i:]
	if strings.Trim(who, "DFugoa") != "" || strings.Contains(who, "D") && strings.Contains(who, "F") {
		return false
	}
	if isDigit(what[0]) {
		mode, err := strconv.ParseUint(what, 8, 32)
		return err == nil && mode <= 0o7777 && !strings.ContainsAny(who, "ugoa")
	}
	// Either permission bits, or one class to copy the bits from.
	bits := what[1:]
	return strings.Trim(bits, "rwxXst") == "" || len(bits) == 1 && strings.Contains("ugo", bits)
}

// sizeTo returns the effect of an option whose argument is a size in bytes.
func sizeTo(name string, field func(*parser) *int64) effect {
	return func(p *parser, arg string, _ int) error {
		n, err := ParseSize(arg, name, SizeLimits{Unit: 'b', Max: -1, Numbers: p.numbers})
		if err != nil {
			return p.fail("%v", err)
		}
		*field(p) = n
		return nil
	}
}

func (p *parser) setBlockSize(arg string, _ int) error {
	// Only as large as the protocol allows that has been asked for so far.
	most := int64(1) << 17
	if p.o.Protocol < 30 {
		most = 1 << 29
	}
	n, err := ParseSize(arg, "block-size", SizeLimits{Unit: 'b', Max: most, Numbers: p.numbers})
	if err != nil {
		return p.fail("%v", err)
	}
	p.o.BlockSize = int(n)
	return nil
}

func (p *parser) setMaxAlloc(arg string, _ int) error {
	p.maxAlloc = arg
	return nil
}

// rate reads a rate as --bwlimit takes it: units of 1024 bytes per second
// or with a suffix, at least 512 bytes, 0 for no limit. It returns bytes per
// second, a multiple of 1024.
func (p *parser) rate(arg, option string) (int64, error) {
	n, err := ParseSize(arg, option, SizeLimits{Unit: 'K', Min: 512, Max: -1, ZeroUnlimited: true, Numbers: p.numbers})
	if err != nil {
		return 0, err
	}
	units := n / 1024
	if n%1024 >= 512 {
		units++
	}
	// The peer reads the number of units as a 32-bit integer.
	return min(units, 1<<31-1) << 10, nil
}

func rateTo(name string, field func(*parser) *int64) effect {
	return func(p *parser, arg string, _ int) error {
		n, err := p.rate(arg, name)
		if err != nil {
			return p.fail("%v", err)
		}
		*field(p) = n
		return nil
	}
}

func (p *parser) setBwlimit(arg string, n int) error {
	return rateTo("bwlimit", func(p *parser) *int64 { return &p.o.Bwlimit })(p, arg, n)
}

func (p *parser) setUsermap(arg string, _ int) error {
	return p.setMap("usermap", arg, &p.usermap, &p.o.Usermap, &p.o.Owner)
}

func (p *parser) setGroupmap(arg string, _ int) error {
	return p.setMap("groupmap", arg, &p.groupmap, &p.o.Groupmap, &p.o.Group)
}

func (p *parser) setMap(name, arg string, from *origin, field *string, preserve *bool) error {
	switch *from {
	case fromChown:
		return p.fail("--%s conflicts with prior --chown.", name)
	case fromMap:
		return p.fail("You can only specify --%s once.", name)
	}
	*from, *field, *preserve = fromMap, arg, true
	return nil
}

func (p *parser) setChown(arg string, _ int) error {
	user, group, _ := strings.Cut(arg, ":")
	if err := p.mapAll("user", user, &p.usermap, &p.o.Usermap, &p.o.Owner); err != nil {
		return err
	}
	return p.mapAll("group", group, &p.groupmap, &p.o.Groupmap, &p.o.Group)
}

func (p *parser) mapAll(kind, name string, from *origin, field *string, preserve *bool) error {
	switch {
	case name == "":
		return nil
	case *from == fromMap:
		return p.fail("--chown conflicts with prior --%smap.", kind)
	case *from == fromChown:
		return p.fail("You can only specify a %s-affecting --chown once.", kind)
	}
	*from, *field, *preserve = fromChown, "*:"+name, true
	return nil
}

func addDest(kind DestKind) effect {
	return func(p *parser, dir string, _ int) error {
		if dests := p.o.AltDests; len(dests) > 0 {
			if dests[0].Kind != kind {
				return p.fail("ERROR: the %s option conflicts with the %s option", kind.option(), dests[0].Kind.option())
			}
			if len(dests) == maxBasisDirs {
				return p.fail("ERROR: at most %d %s args may be specified", maxBasisDirs, kind.option())
			}
		}
		p.o.AltDests = append(p.o.AltDests, AltDest{kind, dir})
		return nil
	}
}

func (k DestKind) option() string {
	return [...]string{CompareDest: "--compare-dest", CopyDest: "--copy-dest", LinkDest: "--link-dest"}[k]
}

func chooseCompress(name string) effect {
	return func(p *parser, _ string, _ int) error {
		p.o.CompressChoice, p.choiceSet = name, true
		return nil
	}
}

func addRule(kind FilterKind) effect {
	return func(p *parser, arg string, _ int) error {
		p.o.FilterRules = append(p.o.FilterRules, FilterArg{kind, arg})
		return nil
	}
}

func (p *parser) addPerDir(string, int) error {
	switch p.perDir++; p.perDir {
	case 1:
		return addRule(FilterPerDir)(p, ": /.rsync-filter", 0)
	case 2:
		return addRule(FilterPerDirHide)(p, "- .rsync-filter", 0)
	}
	return nil
}

func (p *parser) setOutbuf(arg string, _ int) error {
	p.outbuf = arg
	return nil
}

func (p *parser) addRemoteOption(arg string, _ int) error {
	if !strings.HasPrefix(arg, "-") {
		return p.fail("Remote option must start with a dash: %s", arg)
	}
	p.o.RemoteOptions = append(p.o.RemoteOptions, arg)
	return nil
}

func (p *parser) setStopAfter(arg string, _ int) error {
	minutes, ok := leadingInt(arg)
	if !ok || minutes <= 0 || minutes > 1<<40 {
		return p.fail("invalid --stop-after value: %s", arg)
	}
	p.o.StopAt = time.Unix(p.env.now().Unix()+minutes*60, 0)
	return nil
}

// leadingInt reads an integer at the start of s as C's atol does.
func leadingInt(s string) (int64, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 64)
	return n, err == nil
}

func (p *parser) setStopAt(arg string, _ int) error {
	now := p.env.now()
	at, ok := parseTime(arg, now)
	if !ok {
		return p.fail("invalid --stop-at format: %s", arg)
	}
	if !at.After(now) {
		return p.fail("--stop-at time is not in the future: %s", arg)
	}
	p.o.StopAt = at
	return nil
}

func setBatch(mode BatchMode) effect {
	return func(p *parser, name string, _ int) error {
		old := p.o.Batch
		p.o.BatchFile = name
		switch {
		case old == BatchNone, old != BatchRead && mode != BatchRead, old == mode:
			p.o.Batch = mode
		default:
			p.batchConflict = true
		}
		return nil
	}
}

func (p *parser) addDparam(arg string, _ int) error {
	if !strings.Contains(arg, "=") {
		return fmt.Errorf("--dparam value is missing an '=': %s", arg)
	}
	p.o.Daemon.Dparam = append(p.o.Daemon.Dparam, arg)
	return nil
}

func daemonText(field func(*DaemonOptions) *string) effect {
	return func(p *parser, arg string, _ int) error {
		*field(p.o.Daemon) = arg
		return nil
	}
}

func (p *parser) setSwarm(arg string, _ int) error {
	switch arg {
	case "auto":
		p.o.Swarm.Mode = SwarmAuto
	case "off":
		p.o.Swarm.Mode = SwarmOff
	case "require":
		p.o.Swarm.Mode = SwarmRequire
	default:
		return p.fail("--swarm mode \"%s\" is not one of auto, off, or require", arg)
	}
	return nil
}

func (p *parser) setSwarmTracker(arg string, _ int) error {
	u, err := url.Parse(arg)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return p.fail("--swarm-tracker=%s is not an http:// or https:// URL", arg)
	}
	p.o.Swarm.Tracker = arg
	return nil
}

func (p *parser) setSwarmListen(arg string, _ int) error {
	_, port, err := net.SplitHostPort(arg)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return p.fail("--swarm-listen=%s is not [ADDR]:PORT", arg)
	}
	p.o.Swarm.Listen = arg
	return nil
}

// timeTo returns the effect of an option whose argument is a time: seconds, or
// a number with s, m or h. The field is in nanoseconds.
func timeTo(name string, field func(*parser) *int64) effect {
	return func(p *parser, arg string, _ int) error {
		text := arg
		if text != "" && isDigit(text[len(text)-1]) {
			text += "s"
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return p.fail("--%s=%s is not a time such as 90, 90s, 5m or 1h", name, arg)
		}
		*field(p) = int64(d)
		return nil
	}
}
