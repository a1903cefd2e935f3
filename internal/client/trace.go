package client

import (
	"fmt"
	"strings"
)

// plainChars are the characters of words that a trace shows without quotes.
const plainChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.-_=+@/"

// traceArgs is how --debug=cmd shows a command (rsync 3.5.0
// pipe.c:piped_child and rsync.c:print_child_argv).
func traceArgs(what string, args []string) string {
	var b strings.Builder
	b.WriteString(what)
	b.WriteByte(' ')
	for _, arg := range args {
		if strings.Trim(arg, plainChars) != "" {
			arg = `"` + arg + `"`
		}
		b.WriteString(arg)
		b.WriteByte(' ')
	}
	fmt.Fprintf(&b, " (%d args)", len(args))
	return b.String()
}
