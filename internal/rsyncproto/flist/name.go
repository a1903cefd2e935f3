package flist

import (
	"strings"
)

// CleanName removes empty and "." components and trailing slashes; an empty
// result becomes ".", and "/." stays. It reports false if a ".." component is
// left.
// rsync 3.5.0 util1.c:clean_fname.
func CleanName(name string) (clean string, ok bool) {
	if isClean(name) {
		return name, true
	}
	ok = true
	abs := strings.HasPrefix(name, "/")
	parts := strings.Split(name, "/")
	keep := parts[:0]
	for _, p := range parts {
		switch p {
		case "", ".":
			continue
		case "..":
			ok = false
		}
		keep = append(keep, p)
	}
	clean = strings.Join(keep, "/")
	switch {
	case abs && clean == "" && parts[len(parts)-1] == ".":
		clean = "/." // the root's contents
	case abs:
		clean = "/" + clean
	case clean == "":
		clean = "."
	}
	return clean, ok
}

// isClean is the quick test for names that CleanName would not touch.
func isClean(name string) bool {
	if name == "" || name == "." || name[0] == '.' {
		return name == "."
	}
	for i := 0; i < len(name); i++ {
		if name[i] == '/' && (i+1 == len(name) || name[i+1] == '/' || name[i+1] == '.') {
			return false
		}
	}
	return true
}

// Sanitize makes a path safe to use below a root: leading slashes go, and
// ".." cannot climb above depth components from the root. keepDot leaves "."
// components ("/./" marks of --relative); ".." behind one takes that alone with
// it, as in rsync. A path that becomes empty is ".".
// rsync 3.5.0 util1.c:sanitize_path.
func Sanitize(path string, depth int, keepDot bool) string {
	parts := strings.Split(strings.TrimLeft(path, "/"), "/")
	var out []string
	slash := false // what is kept last had a slash behind it
	level := depth
	for i, p := range parts {
		switch p {
		case "":
			continue
		case ".":
			if !keepDot {
				continue
			}
		case "..":
			if n := len(out); n > 0 && out[n-1] != ".." {
				out, slash = out[:n-1], true
				continue
			}
			if level <= 0 {
				continue
			}
			level--
		}
		out, slash = append(out, p), i < len(parts)-1
	}
	s := strings.Join(out, "/")
	if s == "" {
		return "."
	}
	if slash {
		s += "/"
	}
	return s
}
