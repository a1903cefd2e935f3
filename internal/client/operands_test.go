package client

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/options"
)

func TestPlanOperands(t *testing.T) {
	for _, tc := range []struct {
		args string
		want Plan
	}{
		{"a b", Plan{Sources: []string{"a"}, Dest: "b", AmSender: true}},
		{"a", Plan{Sources: []string{"a"}, Dest: ".", AmSender: true, ListOnly: true}},
		{"./a:b c", Plan{Sources: []string{"./a:b"}, Dest: "c", AmSender: true}},
		{"h:a b", Plan{Kind: KindShell, Host: "h", Spec: options.Hostspec{Host: "h", Path: "a"}, Sources: []string{"a"}, Dest: "b"}},
		{"h: b", Plan{Kind: KindShell, Host: "h", Spec: options.Hostspec{Host: "h"}, Sources: []string{"."}, Dest: "b"}},
		{"u@h:a :b h:", Plan{}},
		{"u@h:a :b u@h:c :", Plan{Kind: KindShell, Host: "u@h", Spec: options.Hostspec{Host: "u@h", Path: "a"}, Sources: []string{"a", "b", "c", "."}}},
		{"h:a", Plan{Kind: KindShell, Host: "h", Spec: options.Hostspec{Host: "h", Path: "a"}, Sources: []string{"a"}, ListOnly: true}},
		{"a b [::1]:c", Plan{Kind: KindShell, Host: "::1", Spec: options.Hostspec{Host: "::1", Path: "c"}, Sources: []string{"a", "b"}, Dest: "c", AmSender: true}},
		{"a h:", Plan{Kind: KindShell, Host: "h", Spec: options.Hostspec{Host: "h"}, Sources: []string{"a"}, Dest: ".", AmSender: true}},
		{"a h::", Plan{Kind: KindDaemon, Host: "h", Spec: options.Hostspec{Host: "h", Daemon: true}, Sources: []string{"a"}, AmSender: true}},
		{"h::m/a ::m/b d", Plan{Kind: KindDaemon, Host: "h", Spec: options.Hostspec{Host: "h", Path: "m/a", Daemon: true}, Sources: []string{"m/a", "m/b"}, Dest: "d"}},
		{"--port=7 h::m/a d", Plan{Kind: KindDaemon, Host: "h", Spec: options.Hostspec{Host: "h", Path: "m/a", Daemon: true, Port: 7}, Sources: []string{"m/a"}, Dest: "d"}},
		{"--port=7 h:a d", Plan{Kind: KindShell, Host: "h", Spec: options.Hostspec{Host: "h", Path: "a"}, Sources: []string{"a"}, Dest: "d"}},
		{"--port=7 rsync://h:8/m rsync://h:8/n d", Plan{Kind: KindDaemon, Host: "h", Spec: options.Hostspec{Host: "h", Path: "m", Daemon: true, Port: 8}, Sources: []string{"m", "n"}, Dest: "d"}},
		{"rsync://h:8/m ::n d", Plan{Kind: KindDaemon, Host: "h", Spec: options.Hostspec{Host: "h", Path: "m", Daemon: true, Port: 8}, Sources: []string{"m", "n"}, Dest: "d"}},
		{"rsync://h", Plan{Kind: KindDaemon, Host: "h", Spec: options.Hostspec{Host: "h", Daemon: true}, Sources: []string{""}, ListOnly: true}},
		{"--read-batch=f d", Plan{Dest: "d"}},
		{"--read-batch=f h:a d", Plan{Dest: "d"}},
	} {
		o, operands := parse(t, strings.Fields(tc.args)...)
		p, err := PlanOperands(o, operands)
		if tc.want.Sources == nil && tc.want.Dest == "" {
			if err == nil {
				t.Errorf("%s: %+v", tc.args, p)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.args, err)
		} else if d := cmp.Diff(tc.want, *p); d != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.args, d)
		}
	}
}

// TestOperandErrors compares the refusals with those of the real rsync.
func TestOperandErrors(t *testing.T) {
	batch := "--read-batch=" + tempFile(t, "\x00\x00\x00\x00", 0o600)
	for _, args := range [][]string{
		{"h:a", "g:b"},
		{"h:a", "b", "d"},
		{"h:a", "g:b", "d"},
		{"h:a", "h::b", "d"},
		{"h::a", "h:b", "d"},
		{"h::a", "rsync://h:873/b", "d"},
		{"rsync://h:8/a", "rsync://h:9/b", "d"},
		{"u@h:a", "h:b", "d"},
		{"a", "h:b", "d"},
		{"a", "h:b", "g:d"},
		{"", "d"},
		{"a", "", "d"},
		{"a", ""},
		{"--files-from=g:f", "h:a", "d"},
		{"--files-from=g:f", "a", "h:d"},
		{"--files-from=g:f", "a", "d"},
		{"--files-from=:f", "a", "d"},
		{"--password-file=f", "a", "d"},
		{"--password-file=f", "h:a", "d"},
		{"--contimeout=3", "a", "d"},
		{"--contimeout=3", "h:a", "d"},
		{"--contimeout=3", "-e", "false", "h::a", "d"},
		{"--contimeout=3", "--password-file=f", "h:a", "d"},
		{"--", "-h:a", "d"},
		{"u@-h:a", "d"},
		{"-e", "false", "u@-h::a", "d"},
		{"a", "u@-h:d"},
		{batch, "h:d"},
		{batch, "h::d"},
	} {
		o, operands := parse(t, args...)
		_, err := PlanOperands(o, operands)
		_, stderr, code := runStock(t, nil, args...)
		want := message(stderr)
		var e *exitcode.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v; rsync says %q", args, err, want)
		} else if int(e.Code) != code || e.Error() != want {
			t.Errorf("%q: code %d %q; rsync says %d %q", args, e.Code, e, code, want)
		}
	}
}

func TestRemotePaths(t *testing.T) {
	for _, tc := range []struct {
		args string
		want []string
	}{{"h:a :b d", []string{"a", "b"}}, {"a b h:d", []string{"d"}}} {
		o, operands := parse(t, strings.Fields(tc.args)...)
		p, err := PlanOperands(o, operands)
		if err != nil || !slices.Equal(p.RemotePaths(), tc.want) {
			t.Errorf("%s: %v %v", tc.args, p, err)
		}
	}
}
