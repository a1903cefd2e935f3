package options

import "time"

// Env is all that parsing may know of the world. Nil functions answer
// nothing: no variable is set, no file exists, the time is the zero time.
type Env struct {
	Getenv   func(string) string
	Home     string // of the user, for .popt; empty: none
	ReadFile func(string) ([]byte, error)
	Glob     func(pattern string) []string // for /etc/popt.d
	Now      func() time.Time              // its location is the local time zone

	// For ParseServer.

	Daemon   bool    // the arguments were sent to a daemon
	Refuse   *Refuse // what the daemon's module refuses
	Secluded bool    // argv includes the arguments that came over the connection
}

func (e Env) getenv(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

func (e Env) now() time.Time {
	if e.Now == nil {
		return time.Time{}
	}
	return e.Now()
}
