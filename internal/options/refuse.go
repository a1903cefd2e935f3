package options

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/prsync/prsync/internal/exitcode"
	"github.com/prsync/prsync/internal/filter/wildmatch"
)

// Refuse is the set of options that a server does not accept. The zero value
// refuses what this platform cannot do.
//
// A rule names a capability: all spellings of one option stand and fall
// together. Wildcards match any name or letter, save those that the protocol
// needs; "!" accepts again. (rsyncd.conf(5), "refuse options"; rsync 3.5.0
// options.c:set_refuse_options)
type Refuse struct {
	rows map[*row]bool
}

// archiveParts are the letters of which -a consists, in the order in which the
// last refused one gives the message its name.
const archiveParts = "rdptogDl"

// Refused in any case.
var platformRefuses = []string{"crtimes"}

// NewRefuse returns what a daemon module with these words refuses. Where the
// module has no "charset", append the word "iconv". The error names words that
// match no option; it is for the log only, the Refuse is valid.
func NewRefuse(words []string) (*Refuse, error) {
	r := &Refuse{rows: map[*row]bool{}}
	exact := map[*row]bool{}
	for _, row := range clientTable.rows {
		exact[row] = row.exact
	}
	var unmatched []error
	rule := func(word string) {
		negated := len(word) > 1 && word[0] == '!'
		if negated {
			word = word[1:]
		}
		if !r.rule(word, !negated, exact) {
			unmatched = append(unmatched, fmt.Errorf("No match for refuse-options string \"%s\"", word))
		}
	}
	// Reading and writing devices has to be allowed by name.
	rule("copy-devices")
	rule("write-devices")
	for _, word := range words {
		rule(word)
	}
	rule("log-file*")
	rule("insecure-links")
	for _, word := range platformRefuses {
		rule(word)
	}
	return r, errors.Join(unmatched...)
}

func (r *Refuse) rule(word string, refuse bool, exact map[*row]bool) bool {
	wild := strings.ContainsAny(word, "*?[")
	if word == "a" || word == "archive" {
		word, wild = "["+archiveParts+"]", true
	}
	if !wild {
		row := clientTable.named(word)
		if row == nil {
			return false
		}
		for _, other := range clientTable.rows {
			if other.sameEffect(row) {
				r.rows[other] = refuse
			}
		}
		return true
	}
	found := false
	for _, row := range clientTable.rows {
		if matchesRow(word, row) {
			found = true
			if !exact[row] {
				r.rows[row] = refuse
			}
		}
	}
	return found
}

func matchesRow(pattern string, r *row) bool {
	return r.long != "" && wildmatch.Match(pattern, r.long) ||
		r.short != 0 && wildmatch.Match(pattern, string(r.short))
}

var refusedByPlatform = sync.OnceValue(func() *Refuse {
	r := &Refuse{rows: map[*row]bool{}}
	for _, word := range platformRefuses {
		r.rule(word, true, nil)
	}
	return r
})

func (r *Refuse) refuses(row *row) bool {
	if r == nil || r.rows == nil {
		r = refusedByPlatform()
	}
	return r.rows[row]
}

// named returns the row of an option that is refused, or nil. The name is a
// long name, or a letter.
func (r *Refuse) named(name string) *row {
	if row := clientTable.named(name); row != nil && r.refuses(row) {
		return row
	}
	return nil
}

// firstOf returns the row of the first of these options that is refused, or
// nil.
func (r *Refuse) firstOf(names ...string) *row {
	for _, name := range names {
		if row := r.named(name); row != nil {
			return row
		}
	}
	return nil
}

// implied returns the refused row that using the given row comes to, or nil.
func (r *Refuse) implied(used *row) *row {
	switch {
	case r.refuses(used):
		return used
	case used.undo:
		return nil
	}
	switch used.opt.key() {
	case "archive":
		var last *row
		for i := range archiveParts {
			if row := r.named(archiveParts[i : i+1]); row != nil {
				last = row
			}
		}
		return last
	case "P":
		return r.firstOf("partial", "progress")
	}
	return nil
}

// Check returns the error that a daemon sends for refused options, by what they
// mean as well as by name, or nil. ParseServer does the same at once when it
// gets the Refuse in its Env; then a refusal also steers the default of
// --delete, so prefer that.
func (r *Refuse) Check(o *Options) error {
	for _, used := range o.used {
		if row := r.implied(used); row != nil {
			return refusal(row, o.Server, true)
		}
	}
	if row := r.byMeaning(o); row != nil {
		return refusal(row, o.Server, true)
	}
	return nil
}

// byMeaning looks at what options come to once all are known.
func (r *Refuse) byMeaning(o *Options) *row {
	deletes := o.Delete != DeleteNone || o.DeleteMissingArgs
	switch {
	case (o.Compress || o.CompressLevelSet) && r.named("compress") != nil:
		return r.named("compress")
	case o.Iconv == "" && r.named("no-iconv") != nil:
		return r.named("no-iconv")
	case o.Delete == DeleteAuto && r.named("delete-before") != nil && r.named("delete-during") != nil:
		return r.named("delete-before")
	case (deletes || o.RemoveSourceFiles && o.Sender) && r.named("delete") != nil:
		return r.named("delete")
	case (o.Append != AppendNone || o.WriteDevices) && r.named("inplace") != nil:
		return r.named("inplace")
	case o.Inplace && r.named("partial") != nil:
		return r.named("partial")
	}
	return nil
}

// refusal is the error for a refused row. (rsync 3.5.0
// options.c:create_refuse_error)
func refusal(row *row, server, daemon bool) error {
	who, code := "This rsync does not support", exitcode.Syntax
	switch {
	case daemon:
		who, code = "The server is configured to refuse", exitcode.Unsupported
	case server:
		who = "The server does not support"
	}
	name := row.name()
	if row.long != "" && row.short != 0 {
		name += " (-" + string(row.short) + ")"
	}
	return exitcode.New(code, "rsync: %s %s", who, name)
}
