package filter

// DaemonRules are the parameters of a module that hold filter rules.
type DaemonRules struct {
	Filter, IncludeFrom, Include, ExcludeFrom, Exclude string
}

// ParseDaemon returns a module's rules: what they exclude does not exist for
// its clients. Rules with a slash are about paths inside the module, and
// excluding "dir/" covers what is below it. Names are checked with a Walk
// whose Dir is the directory inside the module that they are relative to.
//
// rsync 3.5.0 clientserver.c:rsync_module.
func ParseDaemon(cfg Config, params DaemonRules) (*List, error) {
	cfg.Dir, cfg.DeleteExcluded, cfg.EOLNulls = "/", false, false
	l := New(cfg)
	l.rules.label = " [daemon]"
	p := l.parser()
	p.dir = "/"
	const m = absIfSlash | dirToWild3
	for _, step := range []func() error{
		func() error { return p.text(&l.rules, params.Filter, &rule{flags: wordSplit}, m) },
		func() error { return p.file(&l.rules, params.IncludeFrom, &rule{flags: include}, m|oldPrefixes|fatal) },
		func() error {
			return p.text(&l.rules, params.Include, &rule{flags: include | wordSplit}, m|oldPrefixes)
		},
		func() error { return p.file(&l.rules, params.ExcludeFrom, &rule{}, m|oldPrefixes|fatal) },
		func() error { return p.text(&l.rules, params.Exclude, &rule{flags: wordSplit}, m|oldPrefixes) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return l, nil
}
