package filter

// cvsDefaults are the names that --cvs-exclude ignores from the start:
// rsync(1), option --cvs-exclude.
const cvsDefaults = "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo" +
	" *~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe" +
	" *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/"

// loadCVS fills the list that stands in the place of a "-C" rule, once. A rule
// in a per-directory file may ask for it, so that walks can meet here.
//
// rsync 3.5.0 exclude.c:get_cvs_excludes.
func (l *List) loadCVS(f flags) error {
	l.cvsLoad.Lock()
	defer l.cvsLoad.Unlock()
	if !l.cvsLoaded {
		l.cvsLoaded = true
		l.cvsErr = l.readCVS(f)
	}
	return l.cvsErr
}

func (l *List) readCVS(f flags) error {
	p := l.parser()
	defaults := &rule{flags: f &^ fromFile}
	if l.protocol >= 30 {
		defaults.flags |= perishable
	}
	if err := p.text(&l.cvs, cvsDefaults, defaults, 0); err != nil {
		return err
	}
	own := &rule{flags: f &^ fromFile}
	if err := p.file(&l.cvs, l.cfg.HomeCVSIgnore, own, 0); err != nil {
		return err
	}
	return p.text(&l.cvs, l.cfg.CVSIgnore, own, 0)
}

// addCVS adds the two rules of --cvs-exclude.
func (l *List) addCVS(rules ...string) error {
	for _, r := range rules {
		if err := l.parser().text(&l.rules, r, &rule{}, 0); err != nil {
			return err
		}
	}
	return nil
}
