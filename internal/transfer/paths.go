package transfer

import (
	"path"
	"strings"
)

// fullName is how a name appears in messages: quoted, with the directory in
// front that it is relative to, and the module behind. rsync 3.5.0
// util1.c:full_fname.
func (c *Config) fullName(dir, name string) string {
	s := name
	if !strings.HasPrefix(name, "/") {
		switch {
		case dir == "/":
			if c.Top == "" { // of a module that is not the root itself, nothing is left
				s = "/" + name
			}
		case dir != "":
			s = dir + "/" + name
		}
	}
	s = `"` + s + `"`
	if c.Module != "" {
		s += " (in " + c.Module + ")"
	}
	return s
}

// shownDir is a directory that an option names, as messages name it.
func (c *Config) shownDir(dir string) string {
	if strings.HasPrefix(dir, "/") {
		return c.Top + dir
	}
	return dir
}

// abs joins a path to Cwd; the result is clean.
func (c *Config) abs(p string) string {
	if strings.HasPrefix(p, "/") {
		return path.Clean(p)
	}
	return path.Join(c.Cwd, p)
}

// join joins a directory and a name below it; "" and "." are the root.
func join(dir, name string) string {
	switch dir {
	case "", ".":
		return name
	case "/":
		return "/" + name
	}
	if name == "" || name == "." {
		return dir
	}
	return dir + "/" + name
}

// dirOf returns the parent of a name, "." for a top one.
func dirOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		if i == 0 {
			return "/"
		}
		return name[:i]
	}
	return "."
}

// baseOf returns the last component of a name.
func baseOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// UnsafeLink reports whether a symbolic link at name with this target leads
// out of the tree, or might. rsync 3.5.0 util1.c:unsafe_symlink.
func UnsafeLink(target, name string) bool {
	if target == "" || target[0] == '/' {
		return true
	}
	rest := target
	for strings.HasPrefix(rest, "../") {
		rest = strings.TrimLeft(rest[3:], "/")
	}
	if strings.Contains(rest, "/../") || len(target) > 3 && strings.HasSuffix(target, "/..") {
		return true
	}
	depth := 0
	parts := strings.Split(name, "/")
	for i, p := range parts {
		last := i == len(parts)-1
		switch {
		case p == "..":
			depth = 0
		case last || p == "." || p == "" && i > 0:
		default:
			depth++
		}
	}
	parts = strings.Split(target, "/")
	for i, p := range parts {
		last := i == len(parts)-1
		switch {
		case p == "..":
			depth--
			if depth < 0 {
				return true
			}
		case last || p == "." || p == "" && i > 0:
		default:
			depth++
		}
	}
	return false
}
