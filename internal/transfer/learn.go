package transfer

import (
	"context"
	"path"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

// Learn takes note of the contents of files that were put in place, for a
// service of this machine that would have to read them otherwise.
type Learn struct {
	// Wants reports whether files in the directory, an absolute path, are of
	// interest.
	Wants func(dir string) bool
	// Note takes a file as it is in its place. It may be called by several
	// goroutines.
	Note func(path string, st fsroot.Stat, id content.ID)
}

// wants reports whether a name of the destination is of interest.
func (l *Learn) wants(name string) bool { return l != nil && l.Wants(path.Dir(name)) }

// maxLearning bounds the files that wait to be hashed.
const maxLearning = 256

// learner hashes what the connection brought, beside the roles: what was just
// written is in memory still.
type learner struct {
	r    *Receiving
	todo chan learning
	done chan struct{}
}

type learning struct {
	at   place
	path string
}

// learnFrom takes a file that the receiver has put in place under the name.
func (v *receiver) learnFrom(name string) {
	full := join(v.destPath, name)
	if !v.learns || !v.c.Learn.wants(full) {
		return
	}
	if v.learner == nil {
		v.learner = &learner{r: v.Receiving, todo: make(chan learning, maxLearning), done: make(chan struct{})}
		go v.learner.run()
	}
	v.learner.todo <- learning{v.at(name), full}
}

func (l *learner) run() {
	defer close(l.done)
	for j := range l.todo {
		l.learn(j)
	}
}

// learn hashes one file. One that is not what it was when it began counts for
// nothing.
func (l *learner) learn(j learning) {
	f, err := j.at.root.Open(j.at.name)
	if err != nil {
		return
	}
	defer f.Close()
	st, err := fsroot.Fstat(f)
	if err != nil || !st.IsRegular() {
		return
	}
	id, err := hashFile(context.Background(), f, st.Size)
	if err != nil || !unchangedSince(f, &st, false) {
		return
	}
	l.r.c.Learn.Note(j.path, st, id)
}

// close waits until all is hashed.
func (l *learner) close() {
	if l != nil {
		close(l.todo)
		<-l.done
	}
}
