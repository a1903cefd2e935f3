package rsyncproto

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseGreeting(t *testing.T) {
	for _, tc := range []struct {
		line string
		want Greeting
		err  string
	}{
		{"@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4", Greeting{32, 0, []string{"sha512", "sha256", "sha1", "md5", "md4"}}, ""},
		{"@RSYNCD: 31.0", Greeting{Protocol: 31}, ""},
		{"@RSYNCD: 30.14 md5", Greeting{30, 14, []string{"md5"}}, ""},
		{"@RSYNCD: 29", Greeting{Protocol: 29}, ""},
		{"@RSYNCD: 31", Greeting{}, "omitted the subprotocol value: @RSYNCD: 31"},
		{"@RSYNCD: 30.", Greeting{}, "omitted the subprotocol value: @RSYNCD: 30."},
		{"@RSYNCD: 32.0", Greeting{}, "omitted the digest name list: @RSYNCD: 32.0"},
		{"@RSYNCD: 32.0 ", Greeting{Protocol: 32, Digests: []string{}}, ""},
		{"@RSYNCD: x", Greeting{}, "protocol startup error"},
		{"@RSYNCD: 31.0x", Greeting{Protocol: 31}, ""},
		{"@RSYNCD: 31.0x md5", Greeting{Protocol: 31, Digests: []string{"md5"}}, ""},
		{"@RSYNCD:31.0", Greeting{Protocol: 31}, ""},
		{"@RSYNCD:\t+31. 0", Greeting{Protocol: 31, Digests: []string{"0"}}, ""},
		{"@RSYNCD: 0x1f.0", Greeting{}, ""},
		{"@RSYNCD: 29 md5", Greeting{Protocol: 29, Digests: []string{"md5"}}, ""},
		{"@RSYNCD: 31.-1", Greeting{}, "omitted the subprotocol value: @RSYNCD: 31.-1"},
		{"@RSYNCD: +-31.0", Greeting{}, "protocol startup error"},
		{"@RSYNCD:", Greeting{}, "protocol startup error"},
		{"@RSYNCD: -1", Greeting{}, "protocol startup error"},
		{"@RSYNCD: 99999999999999999999.0 md5", Greeting{}, "protocol startup error"},
		{"GET / HTTP/1.0", Greeting{}, "protocol startup error"},
		{"", Greeting{}, "protocol startup error"},
	} {
		got, err := ParseGreeting(tc.line)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if d := cmp.Diff(tc.want, got); d != "" || text != tc.err {
			t.Errorf("%q: error %q, want %q %s", tc.line, text, tc.err, d)
		}
	}
}

func TestAgree(t *testing.T) {
	for _, tc := range []struct {
		us, them Greeting
		want     int
	}{
		{Greeting{Protocol: 32}, Greeting{Protocol: 30}, 30},
		{Greeting{Protocol: 32}, Greeting{Protocol: 30, Sub: 2}, 29},
		{Greeting{Protocol: 32}, Greeting{Protocol: 32}, 32},
		{Greeting{Protocol: 32}, Greeting{Protocol: 32, Sub: 1}, 31},
		{Greeting{Protocol: 31}, Greeting{Protocol: 32, Sub: 1}, 31},
		{Greeting{Protocol: 31, Sub: 1}, Greeting{Protocol: 32}, 30},
	} {
		if got := tc.us.Agree(tc.them); got != tc.want {
			t.Errorf("%v with %v: %d, want %d", tc.us, tc.them, got, tc.want)
		}
	}
}

func TestReadLine(t *testing.T) {
	for in, want := range map[string]string{
		"abc\nrest": "abc", "a\r\rb\r\n": "ab", "\n": "", "abcdefg\n": "!", "abcdef\n": "abcdef",
		"ab\x00\n": "!", "abc": "!", "": "!",
	} {
		r := strings.NewReader(in)
		got, err := ReadLine(r, 8)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if rest, _ := io.ReadAll(r); in == "abc\nrest" && string(rest) != "rest" {
			t.Errorf("%q is left", rest)
		}
	}
}

// The responses were made by rsync 3.5.0 clients that a scripted daemon
// challenged with "challenge"; the password is "secret".
func TestAuthResponse(t *testing.T) {
	for _, tc := range []struct {
		protocol int
		digests  []string
		name     string
		response string
	}{
		{32, []string{"md4", "sha512", "md5"}, "sha512", "fpFQjV6h9gfk5thWwm4VeELxEqnf6UV256DBtFnG0tvJzuXc7ACJdFOp7GE06mtnB8/SuVivDnRbZ3d1UieoEg"},
		{32, []string{"sha256", "none"}, "sha256", "tCv+2QfZ80udU1KQumYRbGeYgJ9+m09eIkTanX3/fqs"},
		{31, []string{"sha1"}, "sha1", "ObhKrMte5mG1tJgZSao/bjM8Opo"},
		{31, nil, "md5", "QEiMMf9XE5h9Y4xG3FmQOA"},
		{31, []string{"md4"}, "md4", "JbHKXv/VdlzkkR2P11o+lg"},
		{29, nil, "md4", "8urh/GYQQALsOR6hIDsnZQ"},
	} {
		d, err := AgreeAuthDigest(tc.protocol, tc.digests)
		if err != nil || d.Name() != tc.name {
			t.Errorf("%v: %v %v, want %s", tc.digests, d.Name(), err, tc.name)
			continue
		}
		if got := d.Response("secret", "challenge"); got != tc.response {
			t.Errorf("%s: response %q, want %q", tc.name, got, tc.response)
		}
		one, two := d.NewChallenge(), d.NewChallenge()
		if len(one) != len(tc.response) || one == two {
			t.Errorf("%s: challenge %q", tc.name, d.NewChallenge())
		}
	}
	var none *NoAuthDigestError
	if _, err := AgreeAuthDigest(32, []string{"sha3"}); !errors.As(err, &none) {
		t.Errorf("unknown digests: %v", err)
	}
	if _, err := AgreeAuthDigest(32, []string{}); !errors.As(err, &none) {
		t.Errorf("empty list: %v", err)
	}
}

func TestAuthFloor(t *testing.T) {
	sha256, _ := AgreeAuthDigest(32, []string{"sha256"})
	old, _ := AgreeAuthDigest(29, nil)
	for _, tc := range []struct {
		d             AuthDigest
		floor         string
		enough, known bool
	}{
		{sha256, "sha256", true, true}, {sha256, "MD5", true, true}, {sha256, "sha512", false, true},
		{sha256, "sha3", false, false}, {old, "md4", true, true}, {old, "md5", false, true},
	} {
		if enough, known := tc.d.AtLeast(tc.floor); enough != tc.enough || known != tc.known {
			t.Errorf("%s at least %s: %v %v", tc.d.Name(), tc.floor, enough, known)
		}
	}
}

func FuzzGreeting(f *testing.F) {
	for _, s := range []string{"@RSYNCD: 32.0 sha512 md5", "@RSYNCD: 29", "@RSYNCD:", "@RSYNCD: 30.0 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGreeting(s)
		if err != nil {
			return
		}
		again, err := ParseGreeting(g.String())
		if err == nil && (again.Protocol != g.Protocol || again.Sub != g.Sub) {
			t.Errorf("%q became %v", s, again)
		}
		AgreeAuthDigest(g.Protocol, g.Digests)
	})
}
