package rsyncproto

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// Protocol versions (rsync.h).
const (
	Version    = 32
	MinVersion = 20 // refused below
	OurMin     = 27 // the oldest we implement
	MaxVersion = 40 // a larger number is no rsync
)

// Compat are the compatibility flags that a server sends from protocol 30 on
// (compat.c: CF_…).
type Compat int32

const (
	CompatIncRecurse       Compat = 1 << 0
	CompatSymlinkTimes     Compat = 1 << 1
	CompatSymlinkIconv     Compat = 1 << 2
	CompatSafeFlist        Compat = 1 << 3
	CompatAvoidXattrOptim  Compat = 1 << 4
	CompatChecksumSeedFix  Compat = 1 << 5
	CompatInplacePartial   Compat = 1 << 6
	CompatVarintFlistFlags Compat = 1 << 7
	CompatID0Names         Compat = 1 << 8
	// CompatOffer announces that an Offer follows the negotiated strings and
	// that file list entries may carry content ids. Sent only to a client
	// whose capabilities have OfferLetter; far from the bits rsync uses.
	CompatOffer Compat = 1 << 24
)

// OfferLetter is the letter in the capability string by which a client says
// that it understands CompatOffer.
const OfferLetter = 'P'

// maxVstring bounds a list of names (compat.c: MAX_NSTR_STRLEN, with its end).
const maxVstring = 255

// Local is what one side brings to the negotiation.
type Local struct {
	Server bool
	Sender bool
	// Protocol is the highest version this side wants to speak.
	Protocol int
	// Remote is the peer's version where a greeting told it, else 0: then
	// both sides exchange it here.
	Remote int
	// Capabilities is what the client put behind -e, of a server.
	Capabilities string
	// AllowIncRecurse: this side's options allow incremental recursion.
	AllowIncRecurse bool
	// LocalServer: both sides are this process.
	LocalServer bool
	// ReadBatch: the stream is a batch file; nothing is written.
	ReadBatch bool
	// WriteBatch: only what an old reader understands is negotiated.
	WriteBatch bool

	Crtimes        bool
	Iconv          bool
	Compress       bool   // -z
	CompressChoice string // --compress-choice, "" to negotiate
	ChecksumChoice string // --checksum-choice, "" to negotiate
	// ChecksumList and CompressList are $RSYNC_CHECKSUM_LIST and
	// $RSYNC_COMPRESS_LIST.
	ChecksumList string
	CompressList string
	Seed         int32 // --checksum-seed; a server draws one when it is 0
	DrawSeed     func() int32
	// Offer is what a publishing server offers, nil for nothing.
	Offer *content.Offer
	// Check refuses what the version agreed on cannot do; nil takes anything.
	Check func(protocol int) error
}

// Setup is what both sides agreed on.
type Setup struct {
	Protocol int
	Remote   int
	Compat   Compat

	IncRecurse     bool
	SafeErrors     bool // an I/O error may end a file list
	XattrOptim     bool
	ProperSeed     bool
	InplacePartial bool
	VarintFlags    bool
	ID0Names       bool
	Negotiated     bool // strings were exchanged
	// LinkTimes: the receiver can set the times of symbolic links.
	LinkTimes   bool
	LinkIconv   bool // symbolic link targets are converted
	Seed        int32
	XferSum     checksum.Kind // of blocks and whole files
	FileSum     checksum.Kind // of -c
	Compression compress.Choice
	Offer       *content.Offer
	// ChecksumNegotiated and CompressNegotiated hold the wording of --debug=NSTR.
	ChecksumNegotiated, CompressNegotiated bool
	// Lists are the lines of --debug=NSTR2: what each side offered.
	Lists []string
}

// Negotiate exchanges versions, flags and algorithms; the stream is not
// multiplexed yet. rsync 3.5.0 compat.c:setup_protocol.
func Negotiate(r *wire.Reader, w *wire.Writer, l Local) (*Setup, error) {
	s := &Setup{Protocol: l.Protocol, Remote: l.Remote}
	if s.Remote == 0 {
		if l.Server && !l.LocalServer {
			s.Protocol = subProtocol(l.Capabilities, s.Protocol)
		}
		if !l.ReadBatch {
			w.Int(int32(s.Protocol))
			w.Flush()
		}
		s.Remote = int(r.Int())
		if err := r.Err(); err != nil {
			return nil, err
		}
	}
	if l.ReadBatch && s.Remote > s.Protocol {
		return nil, exitcode.New(exitcode.Protocol, "The protocol version in the batch file is too new (%d > %d).", s.Remote, s.Protocol)
	}
	s.Protocol = min(s.Protocol, s.Remote)
	side := "Client"
	if l.Server {
		side = "Server"
	}
	switch {
	case s.Remote < MinVersion || s.Remote > MaxVersion:
		return nil, &exitcode.Error{Code: exitcode.Protocol, Err: exitcode.Lines{
			"protocol version mismatch -- is your shell clean?", "(see the rsync manpage for an explanation)"}}
	case s.Protocol < MinVersion:
		return nil, exitcode.New(exitcode.Protocol, "--protocol must be at least %d on the %s.", MinVersion, side)
	case s.Protocol < OurMin:
		return nil, exitcode.New(exitcode.Protocol, "the peer speaks protocol %d; prsync needs %d (rsync 2.6.0, 2004) or newer", s.Protocol, OurMin)
	case s.Protocol > Version:
		return nil, exitcode.New(exitcode.Protocol, "--protocol must be no more than %d on the %s.", Version, side)
	}
	r.Protocol, w.Protocol = s.Protocol, s.Protocol
	if l.Check != nil {
		if err := l.Check(s.Protocol); err != nil {
			return nil, err
		}
	}
	if s.Protocol >= 30 {
		if l.Server {
			s.Compat = l.serverFlags()
			s.Negotiated = strings.ContainsRune(l.Capabilities, 'v')
			if strings.ContainsRune(l.Capabilities, 'V') && !s.Negotiated {
				if !l.WriteBatch {
					s.Compat |= CompatVarintFlistFlags
				}
				w.Byte(byte(s.Compat))
			} else {
				w.Varint(int32(s.Compat))
			}
		} else {
			s.Compat = Compat(r.Varint())
			s.Negotiated = s.Compat&CompatVarintFlistFlags != 0
		}
	}
	if err := s.apply(l); err != nil {
		return nil, err
	}
	if err := s.strings(r, w, l); err != nil {
		return nil, err
	}
	if s.Compat&CompatOffer != 0 {
		if l.Server {
			sendOffer(w, l.Offer)
			s.Offer = l.Offer
		} else {
			s.Offer = recvOffer(r)
		}
	}
	if l.Server {
		s.Seed = l.Seed
		if s.Seed == 0 && l.DrawSeed != nil {
			s.Seed = l.DrawSeed()
		}
		w.Int(s.Seed)
		w.Flush()
	} else {
		w.Flush()
		s.Seed = r.Int()
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if l.Server {
		return s, w.Err()
	}
	return s, nil // why a server does not read, it says in the stream
}

// subProtocol lowers our version when the client is a pre-release of it
// (compat.c:check_sub_protocol).
func subProtocol(client string, ours int) int {
	var theirs, sub int
	if n, _ := fmt.Sscanf(client, "%d.%d", &theirs, &sub); n < 2 || theirs == 0 || sub == 0 {
		return ours
	}
	switch {
	case theirs < ours:
		return theirs - 1
	case theirs == ours:
		return ours - 1
	}
	return ours
}

func (l *Local) serverFlags() Compat {
	c := CompatSymlinkTimes | CompatSymlinkIconv
	has := func(letter rune, flag Compat) {
		if strings.ContainsRune(l.Capabilities, letter) {
			c |= flag
		}
	}
	if l.AllowIncRecurse {
		has('i', CompatIncRecurse)
	}
	has('f', CompatSafeFlist)
	has('x', CompatAvoidXattrOptim)
	has('C', CompatChecksumSeedFix)
	has('I', CompatInplacePartial)
	has('u', CompatID0Names)
	has('v', CompatVarintFlistFlags)
	if l.Offer != nil && c&CompatVarintFlistFlags != 0 {
		has(OfferLetter, CompatOffer)
	}
	return c
}

func (s *Setup) apply(l Local) error {
	c := s.Compat
	s.IncRecurse = c&CompatIncRecurse != 0
	s.XattrOptim = s.Protocol >= 31 && c&CompatAvoidXattrOptim == 0
	s.ProperSeed = c&CompatChecksumSeedFix != 0
	s.VarintFlags = c&CompatVarintFlistFlags != 0
	s.ID0Names = c&CompatID0Names != 0
	s.SafeErrors = c&CompatSafeFlist != 0 || s.Protocol >= 31
	s.InplacePartial = c&CompatInplacePartial != 0
	switch {
	case !l.Sender:
		s.LinkTimes = s.Protocol >= 29 // compat.c:setup_protocol says so of no older one
	case s.Protocol < 30:
	case l.Server:
		s.LinkTimes = strings.ContainsRune(l.Capabilities, 'L')
	default:
		s.LinkTimes = c&CompatSymlinkTimes != 0
	}
	if l.Iconv && s.Protocol >= 30 {
		if l.Server {
			s.LinkIconv = strings.ContainsRune(l.Capabilities, 's')
		} else {
			s.LinkIconv = c&CompatSymlinkIconv != 0
		}
	}
	if s.Protocol >= 30 && !s.VarintFlags && l.Crtimes {
		return exitcode.New(exitcode.Protocol, "Both rsync versions must be at least 3.2.0 for --crtimes.")
	}
	if s.IncRecurse && !l.AllowIncRecurse {
		what := "connection"
		if l.ReadBatch {
			what = "batch file"
		}
		return exitcode.New(exitcode.Syntax, "Incompatible options specified for inc-recursive %s.", what)
	}
	if l.ReadBatch {
		s.Negotiated = false
	}
	return nil
}

// strings negotiates the checksum and the compression.
func (s *Setup) strings(r *wire.Reader, w *wire.Writer, l Local) error {
	sums, comps := l.lists(s.Protocol)
	askSum := l.ChecksumChoice == ""
	askComp := l.Compress && l.CompressChoice == ""
	if s.Negotiated {
		if askSum {
			w.Vstring(strings.Join(sums, " "))
		}
		if askComp {
			w.Vstring(strings.Join(comps, " "))
		}
		w.Flush()
	}
	pick := func(what string, ours []string, old string, has func(string) bool) (string, error) {
		theirs := old
		if s.Negotiated {
			theirs = r.Vstring(maxVstring)
		}
		if err := r.Err(); err != nil {
			return "", err
		}
		if s.Negotiated {
			us, them := "Client", "Server"
			if l.Server {
				us, them = them, us
			}
			on := strings.ToLower(us)
			s.Lists = append(s.Lists,
				fmt.Sprintf("%s %s list (on %s): %s", us, what, on, strings.Join(ours, " ")),
				fmt.Sprintf("%s %s list (on %s): %s", them, what, on, theirs))
		}
		if name := choose(strings.Fields(theirs), ours, l.Server, has); name != "" {
			return name, nil
		}
		us, them := "Client", "Server"
		if l.Server {
			if s.Negotiated {
				return "", exitcode.Silent(exitcode.Unsupported) // the client tells
			}
			us, them = them, us
		}
		return "", &exitcode.Error{Code: exitcode.Unsupported, Err: exitcode.Lines{
			fmt.Sprintf("Failed to negotiate a %s choice.", what),
			fmt.Sprintf("%s list: %s", them, theirs),
			fmt.Sprintf("%s list: %s", us, strings.Join(ours, " ")),
		}}
	}
	s.XferSum, s.FileSum = checksum.Default(s.Protocol), checksum.Default(s.Protocol)
	if askSum {
		old := "md4"
		if s.Protocol >= 30 {
			old = "md5"
		}
		name, err := pick("checksum", sums, old, func(n string) bool { _, ok := checksum.ByName(n); return ok })
		if err != nil {
			return err
		}
		if s.Negotiated {
			s.XferSum, _ = checksum.ByName(name)
			s.FileSum = s.XferSum
			s.ChecksumNegotiated = true
		}
	} else {
		xfer, file, two := strings.Cut(l.ChecksumChoice, ",")
		if !two {
			file = xfer
		}
		var err error
		if s.XferSum, err = s.sumByName(xfer); err != nil {
			return err
		}
		if s.FileSum, err = s.sumByName(file); err != nil {
			return err
		}
		if err := l.allowed("checksum", l.ChecksumChoice, l.ChecksumList, s.XferSum.Name(), s.FileSum.Name()); err != nil {
			return err
		}
	}
	switch {
	case askComp:
		name, err := pick("compress", comps, "zlib", func(n string) bool { _, ok := compress.ByName(n); return ok })
		if err != nil {
			return err
		}
		s.Compression = compress.Zlib
		if s.Negotiated {
			s.Compression, _ = compress.ByName(name)
			s.CompressNegotiated = true
		}
	case l.CompressChoice != "":
		c, ok := compress.ByName(l.CompressChoice)
		if !ok {
			return exitcode.New(exitcode.Unsupported, "unknown compress name: %s", l.CompressChoice)
		}
		s.Compression = c
		if err := l.allowed("compress", l.CompressChoice, l.CompressList, c.Name()); err != nil {
			return err
		}
	}
	return nil
}

// sumByName resolves a checksum name; "auto" and "" are the default.
func (s *Setup) sumByName(name string) (checksum.Kind, error) {
	if name == "" || strings.EqualFold(name, "auto") {
		return checksum.Default(s.Protocol), nil
	}
	k, ok := checksum.ByName(name)
	if !ok {
		return 0, exitcode.New(exitcode.Unsupported, "unknown checksum name: %s", name)
	}
	return k, nil
}

// allowed refuses, on a server, an explicit choice that its list leaves out.
func (l *Local) allowed(what, choice, list string, names ...string) error {
	if !l.Server {
		return nil
	}
	ours := strings.Fields(serverPart(list))
	if len(ours) == 0 {
		return nil
	}
	for _, n := range names {
		if !slices.ContainsFunc(ours, func(s string) bool { return strings.EqualFold(s, n) }) {
			return exitcode.New(exitcode.Unsupported, "Your --%s-choice value (%s) was refused by the server.", what, choice)
		}
	}
	return nil
}

// serverPart is the list behind '&' of an environment variable, if it has one.
func serverPart(list string) string {
	if _, after, ok := strings.Cut(list, "&"); ok {
		return after
	}
	return list
}

// lists returns the names this side offers, in order of preference.
func (l *Local) lists(protocol int) (sums, comps []string) {
	sums, comps = checksum.Names(), compress.Names()
	if !l.Server {
		// A client does not offer "none": it must be asked for.
		comps = comps[:len(comps)-1]
		sums = sums[:len(sums)-1]
	}
	narrow := func(env string, all []string, known func(string) bool) []string {
		if l.Server {
			env = serverPart(env)
		} else {
			env, _, _ = strings.Cut(env, "&")
		}
		words := strings.Fields(env)
		if len(words) == 0 {
			return all
		}
		var out []string
		for _, n := range words {
			n = strings.ToLower(n)
			if n == "xxhash" {
				n = "xxh64"
			}
			if known(n) && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
		if len(out) == 0 {
			return []string{"INVALID"}
		}
		if !l.Server {
			// Keep to the one order: see choose.
			slices.SortFunc(out, func(a, b string) int { return slices.Index(all, a) - slices.Index(all, b) })
		}
		return out
	}
	if l.WriteBatch {
		comps = []string{"zlib"}
		sums = []string{"md5"}
		if protocol < 30 {
			sums = []string{"md4"}
		}
		return sums, comps
	}
	sums = narrow(l.ChecksumList, sums, func(n string) bool { _, ok := checksum.ByName(n); return ok })
	comps = narrow(l.CompressList, comps, func(n string) bool { _, ok := compress.ByName(n); return ok })
	return sums, comps
}

// choose picks the common name. rsync up to 3.4 takes the first of the
// client's list that the server knows; 3.5.0 takes on each side its own
// favourite. The two agree while clients keep to one order, which ours does;
// a server follows the client's order, which is right with every client.
func choose(theirs, ours []string, server bool, known func(string) bool) string {
	first, second := ours, theirs
	if server {
		first, second = theirs, ours
	}
	for _, n := range first {
		if known(n) && slices.ContainsFunc(second, func(s string) bool { return strings.EqualFold(s, n) }) {
			return strings.ToLower(n)
		}
	}
	return ""
}

// The offer: two strings and the generation as a varlong.

func sendOffer(w *wire.Writer, o *content.Offer) {
	w.Vstring(o.URL)
	w.Vstring(o.Module)
	w.Varlong(o.Generation, 4)
}

const maxOfferString = 2048

func recvOffer(r *wire.Reader) *content.Offer {
	o := &content.Offer{URL: r.Vstring(maxOfferString), Module: r.Vstring(maxOfferString)}
	o.Generation = r.Varlong(4)
	return o
}
