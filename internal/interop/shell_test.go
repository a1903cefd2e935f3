package interop

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// The test binary serves as a remote shell, in the role that this variable
// names: "record" runs the server and notes what passes into a file, "play"
// speaks a server's part out of a transcript.
const (
	shellRole  = "PRSYNC_INTEROP_SHELL"
	shellFile  = "PRSYNC_INTEROP_FILE"  // the transcript
	shellHeard = "PRSYNC_INTEROP_HEARD" // where "play" puts what the client said
)

func playShell(role string) int {
	var err error
	switch role {
	case "record":
		err = record(os.Args[2:], os.Getenv(shellFile))
	case "play":
		err = playServer(os.Getenv(shellFile), os.Getenv(shellHeard))
	default:
		err = fmt.Errorf("no such role: %s", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "remote shell:", err)
		return 14
	}
	return 0
}

func playServer(name, heardName string) error {
	t, err := loadTranscript(name)
	if err != nil {
		return err
	}
	heard, err := t.play(server, os.Stdin, os.Stdout)
	if werr := os.WriteFile(heardName, heard, 0o600); err == nil {
		err = werr
	}
	return err
}

// record runs a server and writes its arguments and the chunks to name.
func record(words []string, name string) error {
	line := strings.Join(words, " ")
	args, err := exec.Command("sh", "-c", `printf '%s\0' `+line).Output()
	if err != nil {
		return err
	}
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := fmt.Fprintf(out, "%d\n%s", len(args), args); err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var mu sync.Mutex
	note := func(from byte, data []byte) {
		mu.Lock()
		defer mu.Unlock()
		chunk{from, data}.write(out)
	}
	go func() { // ends with the process at the latest
		tee(client, os.Stdin, stdin, note)
		stdin.Close()
	}()
	tee(server, stdout, os.Stdout, note)
	return cmd.Wait()
}

// tee copies, noting each piece before it goes on.
func tee(from byte, r io.Reader, w io.Writer, note func(byte, []byte)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			note(from, buf[:n])
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
