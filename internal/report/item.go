package report

import (
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Item flags: what changed about an entry. The low 16 bits travel (rsync.h:
// ITEM_…).
const (
	ItemReportAtime      = 1 << 0
	ItemReportChange     = 1 << 1
	ItemReportSize       = 1 << 2 // regular files
	ItemReportTimeFail   = 1 << 2 // symbolic links
	ItemReportTime       = 1 << 3
	ItemReportPerms      = 1 << 4
	ItemReportOwner      = 1 << 5
	ItemReportGroup      = 1 << 6
	ItemReportACL        = 1 << 7
	ItemReportXattr      = 1 << 8
	ItemReportCrtime     = 1 << 10
	ItemBasisTypeFollows = 1 << 11
	ItemXnameFollows     = 1 << 12
	ItemIsNew            = 1 << 13
	ItemLocalChange      = 1 << 14
	ItemTransfer         = 1 << 15
	ItemMissingData      = 1 << 16 // not sent: protocol below 29
	ItemDeleted          = 1 << 17
	ItemMatched          = 1 << 18

	// ItemSignificant are the flags that make an item worth a line.
	ItemSignificant = ^(ItemBasisTypeFollows | ItemXnameFollows | ItemLocalChange)
)

// Item is one entry as a line of output shows it.
type Item struct {
	Op    string // "send", "recv" or "del."
	Flags int
	Name  string // relative to the transfer
	// Path is what %f shows: with the source's own path in front.
	Path  string
	Mode  uint32
	Size  int64
	Mtime int64
	UID   uint32
	GID   uint32
	// NoGroup says that the group will not be set: %G shows DEFAULT.
	NoGroup bool
	Link    string // target of a symbolic link
	Hlink   string // name that this one is hard-linked to
	Sum     string // %C, hexadecimal
	Sent    int64  // bytes on the wire for this file
	Recv    int64
}

// Line formats items by --out-format, --log-file-format or "log format".
type Line struct {
	Format string
	Local  bool // a local copy: the direction is always '>'
	// KeepTimes is -t; LinkTimes that the receiver can set a link's time.
	KeepTimes, LinkTimes bool
	SumLen               int // bytes of a checksum, for the blanks where there is none
	PID                  int
	Sender               bool
	Now                  func() time.Time
	Numbers              Numbers

	// Of a daemon: %h %a %m %P %u.
	Host, Addr, Module, ModulePath, User string
	Daemon                               bool
}

// maxWidth is how many characters a width has at most, its sign included; a
// digit behind them is an unknown escape (log.c: LOG_FMT_SIZE).
const maxWidth = 22

// parseEscape reads what follows a '%': quotes that make numbers readable, a
// width, and the letter, which is rest[0] unless the format ends.
func parseEscape(f string) (human int, width, rest string) {
	quotes := func() {
		for f != "" && f[0] == '\'' {
			human, f = human+1, f[1:]
		}
	}
	quotes()
	n := 0
	if f != "" && f[0] == '-' {
		n = 1
	}
	for n <= maxWidth && n < len(f) && f[n] >= '0' && f[n] <= '9' {
		n++
	}
	width, f = f[:n], f[n:]
	quotes()
	return human, width, f
}

// Render returns the line with its newline. What is no escape stays as it is.
// rsync 3.5.0 log.c:log_formatted.
func (ln *Line) Render(it *Item) string {
	var b strings.Builder
	f := ln.Format
	for {
		before, after, found := strings.Cut(f, "%")
		b.WriteString(before)
		if !found {
			break
		}
		human, width, rest := parseEscape(after)
		if rest == "" {
			b.WriteByte('%')
			b.WriteString(after)
			break
		}
		if text, ok := ln.expand(rest[0], it, human, width); ok {
			b.WriteString(text)
		} else {
			b.WriteByte('%')
			b.WriteString(after[:len(after)-len(rest)+1])
		}
		f = rest[1:]
	}
	b.WriteByte('\n')
	return b.String()
}

// Has reports whether the format contains %c.
func (ln *Line) Has(c byte) bool { return FormatHas(ln.Format, c) }

// FormatHas reports whether the format contains the escape %c.
// rsync 3.5.0 log.c:log_format_has.
func FormatHas(format string, c byte) bool {
	for {
		_, after, found := strings.Cut(format, "%")
		if !found {
			return false
		}
		_, _, rest := parseEscape(after)
		if rest == "" {
			return false
		}
		if rest[0] == c {
			return true
		}
		format = rest[1:]
	}
}

// maxPad is the widest that a column can be: what lies beyond is cut by
// rsync's buffer, too.
const maxPad = 4095

// pad fills s with blanks as printf's %*s does.
func pad(s, width string) string {
	left := strings.HasPrefix(width, "-")
	digits := strings.TrimPrefix(width, "-")
	if digits == "" {
		return s
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return "" // printf gives up
	}
	blanks := strings.Repeat(" ", max(0, min(int(n), maxPad)-len(s)))
	if left {
		return s + blanks
	}
	return blanks + s
}

// padNumber is pad for what C prints as a number: a width that begins with 0
// fills with zeros.
func padNumber(s, width string) string {
	padded := pad(s, width)
	if strings.HasPrefix(width, "0") && padded != "" {
		return strings.Repeat("0", len(padded)-len(s)) + s
	}
	return padded
}

func (ln *Line) expand(c byte, it *Item, human int, width string) (string, bool) {
	s := ""
	switch c {
	case 'h', 'a', 'P', 'u':
		if !ln.Daemon {
			return "", false
		}
	}
	switch c {
	case 'h':
		s = ln.Host
	case 'a':
		s = ln.Addr
	case 'l':
		s = ln.Numbers.Number(it.Size, human)
	case 'U':
		return padNumber(strconv.FormatUint(uint64(it.UID), 10), width), true
	case 'G':
		if !it.NoGroup {
			return padNumber(strconv.FormatUint(uint64(it.GID), 10), width), true
		}
		s = "DEFAULT"
	case 'p':
		return padNumber(strconv.Itoa(ln.PID), width), true
	case 'M':
		s = strings.ReplaceAll(TimeString(time.Unix(it.Mtime, 0)), " ", "-")
	case 'B':
		s = ModeString(it.Mode)[1:]
	case 'o':
		s = it.Op
	case 'f':
		s = strings.TrimPrefix(it.Path, "/")
	case 'n':
		s = it.Name
		if it.Mode&unix.S_IFMT == unix.S_IFDIR {
			s += "/"
		}
	case 'L':
		switch {
		case it.Hlink != "":
			return " => " + pad(it.Hlink, width), true
		case it.Mode&unix.S_IFMT == unix.S_IFLNK && it.Flags&ItemDeleted == 0:
			return " -> " + pad(it.Link, width), true
		case width == "":
			return "", true
		}
		return "    " + pad("", width), true
	case 'm':
		s = ln.Module
	case 't':
		s = TimeString(ln.Now())
	case 'P':
		s = ln.ModulePath
	case 'u':
		s = ln.User
	case 'b', 'c':
		var n int64
		if it.Flags&ItemTransfer != 0 {
			if ln.Sender != (c == 'c') {
				n = it.Sent
			} else {
				n = it.Recv
			}
		}
		s = ln.Numbers.Number(n, human)
	case 'C':
		if s = it.Sum; s == "" {
			s = strings.Repeat(" ", 2*ln.SumLen)
		}
	case 'i':
		s = ln.changes(it)
	case '%':
		s = "%"
	default:
		return "", false
	}
	return pad(s, width), true
}

// changes is %i: YXcstpoguax.
func (ln *Line) changes(it *Item) string {
	fl := it.Flags
	if fl&ItemDeleted != 0 {
		return "*deleting  "
	}
	c := []byte("...........")
	on := func(at, flag int, ch byte) {
		if fl&flag != 0 {
			c[at] = ch
		}
	}
	switch {
	case fl&ItemLocalChange != 0 && fl&ItemXnameFollows != 0:
		c[0] = 'h'
	case fl&ItemLocalChange != 0:
		c[0] = 'c'
	case fl&ItemTransfer == 0:
	case !ln.Local && it.Op == "send":
		c[0] = '<'
	default:
		c[0] = '>'
	}
	kind := it.Mode & unix.S_IFMT
	t := byte('t')
	if !ln.KeepTimes {
		t = 'T'
	}
	switch kind {
	case unix.S_IFLNK:
		c[1] = 'L'
		if !ln.LinkTimes || fl&ItemReportTimeFail != 0 {
			t = 'T'
		}
	case unix.S_IFDIR:
		c[1] = 'd'
	case unix.S_IFIFO, unix.S_IFSOCK:
		c[1] = 'S'
	case unix.S_IFCHR, unix.S_IFBLK:
		c[1] = 'D'
	default:
		c[1] = 'f'
	}
	if kind != unix.S_IFLNK {
		on(3, ItemReportSize, 's')
	}
	on(4, ItemReportTime, t)
	on(2, ItemReportChange, 'c')
	on(5, ItemReportPerms, 'p')
	on(6, ItemReportOwner, 'o')
	on(7, ItemReportGroup, 'g')
	switch fl & (ItemReportAtime | ItemReportCrtime) {
	case ItemReportAtime:
		c[8] = 'u'
	case ItemReportCrtime:
		c[8] = 'n'
	case ItemReportAtime | ItemReportCrtime:
		c[8] = 'b'
	}
	on(9, ItemReportACL, 'a')
	on(10, ItemReportXattr, 'x')
	switch {
	case fl&ItemIsNew != 0:
		return string(c[:2]) + "+++++++++"
	case fl&ItemMissingData != 0:
		return string(c[:2]) + "?????????"
	case strings.IndexByte(".hc", c[0]) >= 0 && string(c[2:]) == ".........":
		return string(c[:2]) + "         "
	}
	return string(c)
}
