package fsroot

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Glance reads extended attributes of an entry by its name in a held directory,
// without a descriptor of its own: with -A and -X that is most of the work, and
// most entries have none. The entry may be replaced between two of its calls,
// as between a look at it and a Glance; what has to stay with one inode takes a
// Pin.
type Glance struct {
	d    *dir
	leaf string
	root *Root
	name string // below root
	pin  *Pin   // where the kernel cannot read by name in a directory
}

// Glance is for the entry of that name; a symlink is not followed.
func (r *Root) Glance(name string) (*Glance, error) {
	if hasXattrat() {
		d, leaf, err := r.at(name)
		switch {
		case err != nil:
			return nil, pathError("open", name, err)
		case leaf != "":
			return &Glance{d: d, leaf: leaf, root: r, name: name}, nil
		}
		d.release()
	}
	p, err := r.Pin(name)
	if err != nil {
		return nil, err
	}
	return &Glance{pin: p}, nil
}

// Close lets the directory go.
func (g *Glance) Close() error {
	if g.pin != nil {
		return g.pin.Close()
	}
	g.d.release()
	return nil
}

// Name returns the path of the entry, for messages.
func (g *Glance) Name() string {
	if g.pin != nil {
		return g.pin.Name()
	}
	return g.root.Full(g.name)
}

// Getxattr returns the value of an extended attribute (ENODATA if there is none).
func (g *Glance) Getxattr(name string) ([]byte, error) {
	if g.pin != nil {
		return g.pin.Getxattr(name)
	}
	val, err := sized(func(buf []byte) (n int, err error) {
		err = retry(func() (err error) {
			n, err = xattrat(unix.SYS_GETXATTRAT, g.d.fd, g.leaf, g.how(), name, buf)
			return err
		})
		return n, err
	})
	if err == nil || err == syscall.ENODATA { // as most say, and nobody reports
		return val, err
	}
	return nil, pathError("getxattr", g.Name(), err)
}

// Listxattr returns the names of the extended attributes in the kernel's order.
func (g *Glance) Listxattr() ([]string, error) {
	if g.pin != nil {
		return g.pin.Listxattr()
	}
	list, err := sized(func(buf []byte) (n int, err error) {
		err = retry(func() (err error) {
			n, err = listxattrat(g.d.fd, g.leaf, g.how(), buf)
			return err
		})
		return n, err
	})
	if err != nil {
		return nil, pathError("listxattr", g.Name(), err)
	}
	return splitNames(list), nil
}

// how is how its calls are made: see local.go.
func (g *Glance) how() xattrWay { return xattrWay{flags: unix.AT_SYMLINK_NOFOLLOW, local: g.d.local} }
