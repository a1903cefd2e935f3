package session

import (
	"context"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/meta"
	"github.com/prsync/prsync/internal/options"
	"github.com/prsync/prsync/internal/rsyncproto/wire"
)

// TestSilentSender waits for a file list that never comes: --timeout ends it,
// whatever the sender says of timeouts, and though our own keep-alives would
// get through.
func TestSilentSender(t *testing.T) {
	getenv := func(string) string { return "" }
	dst := t.TempDir()
	o, _, err := options.Parse([]string{"-a", "--timeout=2", "host:src/", dst}, options.Env{Getenv: getenv, ReadFile: os.ReadFile, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	toC, fromS := wire.Pipe()
	toS, fromC := wire.Pipe()
	closeAll := func() { toC.Close(); fromS.Close(); toS.Close(); fromC.Close() }
	defer closeAll()
	var hello []byte
	hello = binary.LittleEndian.AppendUint32(hello, 31)
	hello = append(hello, 0)                            // no compatibility flags
	hello = binary.LittleEndian.AppendUint32(hello, 42) // checksum seed
	hello = binary.LittleEndian.AppendUint32(hello, uint32(7+wire.MsgIOTimeout)<<24|4)
	hello = binary.LittleEndian.AppendUint32(hello, 0)
	go fromS.Write(hello)
	go io.Copy(io.Discard, toS)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = Run(ctx, Params{
		Opts: o, In: toC, Out: fromC, Close: closeAll, Args: []string{dst},
		Env: Env{
			Cwd: "/", Umask: 022, EUID: uint32(os.Geteuid()), PID: 1, Now: time.Now, Getenv: getenv,
			Stdin: strings.NewReader(""), Out: io.Discard, Err: io.Discard, Names: meta.NewSystemNames(),
		},
	})
	if exitcode.Of(err, exitcode.OK) != exitcode.Timeout || ctx.Err() != nil {
		t.Errorf("ended with %v (%v)", err, ctx.Err())
	}
}
