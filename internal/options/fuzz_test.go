package options

import (
	"strings"
	"testing"
)

func addArgvSeeds(f *testing.F) {
	for _, c := range serverArgSpecials {
		f.Add(strings.Join(c, "\x00"), poptFile)
	}
	for _, c := range errorCommands {
		f.Add(strings.Join(c, "\x00"), "")
	}
}

// FuzzParse looks for panics and for command lines that never end.
func FuzzParse(f *testing.F) {
	addArgvSeeds(f)
	f.Fuzz(func(t *testing.T, argv, popt string) {
		env := testEnv()
		env.ReadFile = func(string) ([]byte, error) { return []byte(popt), nil }
		o, _, err := Parse(strings.Split(argv, "\x00"), env)
		if o == nil && err == nil {
			t.Fatalf("options %v, error %v", o, err)
		}
		if err == nil && o.Action == ActionTransfer {
			o.ServerArgs(true, o.Protocol, "W")
			o.ServerArgs(false, o.Protocol, "")
		}
	})
}

// FuzzParseServer does the same for what a client can send to a daemon.
func FuzzParseServer(f *testing.F) {
	addArgvSeeds(f)
	f.Fuzz(func(t *testing.T, argv, refuse string) {
		r, _ := NewRefuse(strings.Fields(refuse[:min(len(refuse), 500)]))
		words := append([]string{"--server"}, strings.Split(argv, "\x00")...)
		o, _, err := ParseServer(words, Env{Daemon: true, Refuse: r})
		if o == nil && err == nil {
			t.Fatalf("options %v, error %v", o, err)
		}
		if err == nil && o.Action == ActionTransfer && !o.Server {
			t.Fatal("a server's options are a client's")
		}
	})
}
