package rsyncproto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/delta/checksum"
	"github.com/prsync/prsync/internal/delta/compress"
	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// say runs one side against recorded bytes of the other, in hexadecimal, and
// returns what it wrote.
func say(t testing.TB, l Local, theirs string) (*Setup, string, error) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(theirs, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := wire.NewWriter(&out)
	s, err := Negotiate(wire.NewReader(bytes.NewReader(b)), w, l)
	w.Flush()
	return s, hex.EncodeToString(out.Bytes()), err
}

func vstring(s string) string { return fmt.Sprintf("%02x%x", len(s), s) }

var (
	ourSums  = vstring("xxh128 xxh3 xxh64 md5 md4 sha1")
	ourComps = vstring("zstd lz4 zlibx zlib")
	allSums  = vstring("xxh128 xxh3 xxh64 md5 md4 sha1 none")
	allComps = vstring("zstd lz4 zlibx zlib none")
)

// The bytes of both sides (rsync 3.5.0 compat.c:setup_protocol), and what comes of them.
func TestNegotiate(t *testing.T) {
	const caps = ".iLsfxCIvu"
	for _, tt := range []struct {
		name   string
		local  Local
		theirs string
		wrote  string
		want   Setup
	}{
		{
			"client of 3.5.0", Local{Protocol: 32, AllowIncRecurse: true, Compress: true, Sender: true},
			"20000000 81ff" + allSums + allComps + "78563412", "20000000" + ourSums + ourComps,
			Setup{Protocol: 32, Remote: 32, Compat: 0x1FF, IncRecurse: true, SafeErrors: true, ProperSeed: true, InplacePartial: true, VarintFlags: true,
				ID0Names: true, Negotiated: true, LinkTimes: true, Seed: 0x12345678, XferSum: checksum.XXH128, FileSum: checksum.XXH128, Compression: compress.Zstd,
				ChecksumNegotiated: true, CompressNegotiated: true},
		},
		{
			"client of 3.1.3", Local{Protocol: 32, AllowIncRecurse: true, Compress: true},
			"1f000000 7f 01000000", "20000000",
			Setup{Protocol: 31, Remote: 31, Compat: 0x7F, IncRecurse: true, SafeErrors: true, ProperSeed: true, InplacePartial: true, LinkTimes: true, Seed: 1,
				XferSum: checksum.MD5, FileSum: checksum.MD5, Compression: compress.Zlib},
		},
		{
			"client of 2.6.9", Local{Protocol: 32, Sender: true, Compress: true},
			"1d000000 01000000", "20000000",
			Setup{Protocol: 29, Remote: 29, Seed: 1, XferSum: checksum.Default(29), FileSum: checksum.Default(29), Compression: compress.Zlib},
		},
		{
			"server of 3.5.0", Local{Server: true, Sender: true, Protocol: 32, Capabilities: caps, AllowIncRecurse: true, Compress: true, Seed: 7},
			"20000000" + ourSums + ourComps, "20000000 81ff" + allSums + allComps + "07000000",
			Setup{Protocol: 32, Remote: 32, Compat: 0x1FF, IncRecurse: true, SafeErrors: true, ProperSeed: true, InplacePartial: true, VarintFlags: true,
				ID0Names: true, Negotiated: true, LinkTimes: true, Seed: 7, XferSum: checksum.XXH128, FileSum: checksum.XXH128, Compression: compress.Zstd,
				ChecksumNegotiated: true, CompressNegotiated: true},
		},
		{
			"server follows the client's order", Local{Server: true, Protocol: 31, Capabilities: caps, Compress: true, Seed: 7},
			"1f000000" + vstring("md5 xxh64") + vstring("LZ4 zstd"), "1f000000 81fe" + allSums + allComps + "07000000",
			Setup{Protocol: 31, Remote: 31, Compat: 0x1FE, SafeErrors: true, ProperSeed: true, InplacePartial: true, VarintFlags: true,
				ID0Names: true, Negotiated: true, LinkTimes: true, Seed: 7, XferSum: checksum.MD5, FileSum: checksum.MD5, Compression: compress.LZ4,
				ChecksumNegotiated: true, CompressNegotiated: true},
		},
		{
			"server of the first 3.2 with V", Local{Server: true, Protocol: 31, Capabilities: ".LsfxCIV", Seed: 7},
			"1f000000", "1f000000 fe 07000000",
			Setup{Protocol: 31, Remote: 31, Compat: 0xFE, SafeErrors: true, ProperSeed: true, InplacePartial: true, VarintFlags: true, LinkTimes: true, Seed: 7,
				XferSum: checksum.MD5, FileSum: checksum.MD5},
		},
		{
			"server of a pre-release", Local{Server: true, Protocol: 32, Capabilities: "32.1.LsfxCIvu", Seed: 7, ChecksumChoice: "sha1,md5"},
			"20000000", "1f000000 81fe 07000000",
			Setup{Protocol: 31, Remote: 32, Compat: 0x1FE, SafeErrors: true, ProperSeed: true, InplacePartial: true, VarintFlags: true,
				ID0Names: true, Negotiated: true, LinkTimes: true, Seed: 7, XferSum: checksum.SHA1, FileSum: checksum.MD5},
		},
		{
			"daemon's server, versions known", Local{Server: true, Sender: true, Protocol: 30, Remote: 30, Capabilities: ".s", Iconv: true, Seed: 7},
			"", "06 07000000",
			Setup{Protocol: 30, Remote: 30, Compat: 6, LinkIconv: true, Seed: 7, XferSum: checksum.MD5, FileSum: checksum.MD5},
		},
		{
			"batch", Local{Protocol: 32, ReadBatch: true, AllowIncRecurse: true},
			"20000000 81ff 05000000", "",
			Setup{Protocol: 32, Remote: 32, Compat: 0x1FF, IncRecurse: true, SafeErrors: true, ProperSeed: true, InplacePartial: true, VarintFlags: true,
				ID0Names: true, LinkTimes: true, Seed: 5, XferSum: checksum.MD5, FileSum: checksum.MD5},
		},
		{
			"offer taken", Local{Protocol: 32},
			"20000000 e1be0100" + allSums + vstring("http://h") + vstring("mod") + "00070000 05000000", "20000000" + ourSums,
			Setup{Protocol: 32, Remote: 32, Compat: CompatOffer | 0x1BE, SafeErrors: true, ProperSeed: true, VarintFlags: true, ID0Names: true,
				Negotiated: true, LinkTimes: true, Seed: 5, XferSum: checksum.XXH128, FileSum: checksum.XXH128, ChecksumNegotiated: true,
				Offer: &content.Offer{URL: "http://h", Module: "mod", Generation: 7}},
		},
		{
			"offer made", Local{Server: true, Protocol: 32, Capabilities: ".vP", Seed: 5, Offer: &content.Offer{URL: "http://h", Module: "mod", Generation: 7}},
			"20000000" + ourSums, "20000000 e1860000" + allSums + vstring("http://h") + vstring("mod") + "00070000 05000000",
			Setup{Protocol: 32, Remote: 32, Compat: CompatOffer | 0x86, VarintFlags: true, Negotiated: true, LinkTimes: true, Seed: 5, SafeErrors: true, XattrOptim: true,
				XferSum: checksum.XXH128, FileSum: checksum.XXH128, ChecksumNegotiated: true, Offer: &content.Offer{URL: "http://h", Module: "mod", Generation: 7}},
		},
		{
			"no offer to a stock client", Local{Server: true, Protocol: 32, Capabilities: ".v", Seed: 5, ChecksumChoice: "md5", Offer: &content.Offer{URL: "http://h"}},
			"20000000", "20000000 8086 05000000",
			Setup{Protocol: 32, Remote: 32, Compat: 0x86, VarintFlags: true, Negotiated: true, LinkTimes: true, Seed: 5, SafeErrors: true, XattrOptim: true,
				XferSum: checksum.MD5, FileSum: checksum.MD5},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, wrote, err := say(t, tt.local, tt.theirs)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.ReplaceAll(tt.wrote, " ", ""); wrote != want {
				t.Errorf("wrote %s\nwant  %s", wrote, want)
			}
			s.Lists = nil // only words for --debug=NSTR
			if !reflect.DeepEqual(*s, tt.want) {
				t.Errorf("agreed on\n%+v\nwant\n%+v", *s, tt.want)
			}
		})
	}
}

func TestNegotiateErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		local  Local
		theirs string
		code   exitcode.Code
		text   string
	}{
		{"a shell that greets", Local{Protocol: 32}, "57656c63", exitcode.Protocol, "is your shell clean?"},
		{"too old for anyone", Local{Protocol: 32}, "13000000", exitcode.Protocol, "is your shell clean?"},
		{"too old for us", Local{Protocol: 32}, "1a000000", exitcode.Protocol, "prsync needs 27"},
		{"negative", Local{Protocol: 32}, "ffffffff", exitcode.Protocol, "is your shell clean?"},
		{"a client's --protocol", Local{Protocol: 19}, "20000000", exitcode.Protocol, "--protocol must be at least 20 on the Client."},
		{"a newer batch", Local{Protocol: 30, ReadBatch: true}, "1f000000", exitcode.Protocol, "The protocol version in the batch file is too new (31 > 30)."},
		{"recursion not asked for", Local{Protocol: 32}, "20000000 81ff", exitcode.Syntax, "Incompatible options specified for inc-recursive connection."},
		{"crtimes with an old peer", Local{Protocol: 32, Crtimes: true}, "1f000000 7e", exitcode.Protocol, "at least 3.2.0 for --crtimes"},
		{"nothing in common", Local{Protocol: 32}, "20000000 81fe" + vstring("sha512 crc"), exitcode.Unsupported, "Failed to negotiate a checksum choice.\nServer list: sha512 crc\nClient list: xxh128"},
		{"nothing in common, server", Local{Server: true, Protocol: 32, Capabilities: ".v"}, "20000000" + vstring("crc"), exitcode.Unsupported, "(code 4)"},
		{"a list forbids the old default", Local{Protocol: 30, ChecksumList: "xxh64"}, "1e000000 00", exitcode.Unsupported, "Server list: md5\nClient list: xxh64"},
		{"a choice refused", Local{Server: true, Protocol: 32, Capabilities: ".v", ChecksumChoice: "md4", ChecksumList: "md4 & md5"}, "20000000", exitcode.Unsupported, "Your --checksum-choice value (md4) was refused by the server."},
		{"unknown compression", Local{Server: true, Protocol: 32, Compress: true, CompressChoice: "rar", Capabilities: ".v"}, "20000000" + vstring("md5"), exitcode.Unsupported, "unknown compress name: rar"},
		{"cut", Local{Protocol: 32}, "20000000 81fe 40", exitcode.StreamIO, io.ErrUnexpectedEOF.Error()},
		{"over-long list", Local{Protocol: 32}, "20000000 81fe 8100" + strings.Repeat("78", 256), exitcode.StreamIO, "over-long vstring received (256 > 255)"},
	} {
		s, _, err := say(t, tt.local, tt.theirs)
		if err == nil {
			t.Errorf("%s: agreed on %+v", tt.name, s)
			continue
		}
		if exitcode.Of(err, exitcode.StreamIO) != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v (code %d)", tt.name, err, exitcode.Of(err, exitcode.StreamIO))
		}
	}
}

// With every protocol we agree with a real server, which then sends its list.
func TestNegotiateWithRsync(t *testing.T) {
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("no rsync to talk to")
	}
	for protocol := 27; protocol <= 32; protocol++ {
		for _, comp := range []bool{false, true} {
			flags := "-r"
			if comp {
				flags = "-rz"
			}
			cmd := exec.Command("rsync", "--server", "--sender", flags+"e.iLsfxCIvu", fmt.Sprintf("--protocol=%d", protocol), ".", t.TempDir())
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r, w := wire.NewReader(out), wire.NewWriter(in)
			s, err := Negotiate(r, w, Local{Protocol: protocol, AllowIncRecurse: true, Compress: comp})
			if err != nil {
				t.Fatalf("%d: %v", protocol, err)
			}
			if s.Protocol != protocol || s.Negotiated != (protocol >= 30) || comp != (s.Compression != compress.None) {
				t.Errorf("%d: %+v", protocol, s)
			}
			r.StartMux()
			if protocol >= 30 {
				w.StartMux()
			}
			w.Int(0) // no filter rules
			w.Flush()
			if r.Byte() == 0 || r.Err() != nil {
				t.Errorf("%d: no list follows: %v", protocol, r.Err())
			}
			in.Close()
			io.Copy(io.Discard, out)
			cmd.Wait()
		}
	}
}

// FuzzNegotiate lets a hostile peer speak to either side.
func FuzzNegotiate(f *testing.F) {
	add := func(theirs string, server bool, bits byte) {
		b, err := hex.DecodeString(strings.ReplaceAll(theirs, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, server, bits, ".iLsfxCIvuP")
	}
	add("20000000 81ff"+allSums+allComps+"78563412", false, 3)
	add("20000000 e1be0100"+allSums+vstring("http://h")+vstring("mod")+"00070000 05000000", false, 0)
	add("20000000"+ourSums+ourComps, true, 3)
	add("1f000000 7f 01000000", false, 2)
	f.Fuzz(func(t *testing.T, theirs []byte, server bool, bits byte, caps string) {
		l := Local{Server: server, Protocol: 32, Compress: bits&1 != 0, AllowIncRecurse: bits&2 != 0, Sender: bits&4 != 0, Iconv: bits&8 != 0,
			ReadBatch: bits&16 != 0 && !server, Capabilities: caps, Seed: 1}
		if bits&32 != 0 {
			l.ChecksumChoice = caps
		}
		if bits&64 != 0 {
			l.ChecksumList, l.CompressList = caps, caps
		}
		if server {
			l.Offer = &content.Offer{URL: "http://h", Module: "m", Generation: 1}
		}
		var out bytes.Buffer
		w := wire.NewWriter(&out)
		s, err := Negotiate(wire.NewReader(bytes.NewReader(theirs)), w, l)
		var e *exitcode.Error
		if err != nil {
			if errors.As(err, &e) && e.Code == exitcode.OK {
				t.Fatal("an error that is none")
			}
			return
		}
		if s.Protocol < OurMin || s.Protocol > Version || s.IncRecurse && !l.AllowIncRecurse {
			t.Fatalf("%+v", s)
		}
		if !server && s.Offer != nil && (len(s.Offer.URL) > maxOfferString || len(s.Offer.Module) > maxOfferString) {
			t.Fatal("an endless offer")
		}
		if _, known := checksum.ByName(s.XferSum.Name()); !known {
			t.Fatalf("checksum %v", s.XferSum)
		}
	})
}
