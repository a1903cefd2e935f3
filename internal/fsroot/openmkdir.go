package fsroot

import (
	"errors"
	"strings"
	"syscall"
)

// OpenMkdir is Open that makes a missing directory, and with parents also what
// is missing above it (--mkpath; a --backup-dir). perm is cut by the umask. It
// returns how many directories it made.
func OpenMkdir(path string, p Policy, perm uint32, parents bool) (r *Root, made int, err error) {
	return openMkdir(path, perm, parents, p, func(path string) (*Root, error) { return Open(path, p) })
}

// OpenMkdirAt is OpenMkdir with the path resolved by OpenAt.
func OpenMkdirAt(base *Root, path string, p Policy, perm uint32, parents bool) (r *Root, made int, err error) {
	return openMkdir(path, perm, parents, p, func(path string) (*Root, error) { return OpenAt(base, path, p) })
}

func openMkdir(path string, perm uint32, parents bool, p Policy, open func(string) (*Root, error)) (*Root, int, error) {
	r, err := open(path)
	if err == nil || !errors.Is(err, syscall.ENOENT) {
		return r, 0, err
	}
	above, leaf := splitLast(path)
	if leaf == "" || leaf == "." || leaf == ".." {
		return nil, 0, err
	}
	var dir *Root
	made := 0
	if parents {
		dir, made, err = openMkdir(above, perm, true, p, open)
	} else {
		dir, err = open(above)
	}
	if err != nil {
		return nil, made, err
	}
	defer dir.Close()
	if err := dir.Mkdir(leaf, perm); err != nil && !errors.Is(err, syscall.EEXIST) {
		return nil, made, err
	} else if err == nil {
		made++
	}
	// What is there now is entered without following: we made it, or lost a race.
	fd, err := resolveDir(dir.Fd(), -1, leaf, Policy{Confine: true})
	if err != nil {
		return nil, made, pathError("open", path, err)
	}
	p.Confine = p.Confine || dir.policy.Confine // as OpenAt has it
	return newRoot(fd, dir.Full(leaf), p), made, nil
}

// splitLast cuts the last component off; what is left names a directory.
func splitLast(path string) (above, leaf string) {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	if leaf = path[i+1:]; i < 0 {
		return ".", leaf
	}
	return path[:i+1], leaf
}
