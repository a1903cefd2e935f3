// Package daemon is the rsync daemon: it listens, or serves the connection on
// its standard input, and takes each client through the exchange that comes
// before a transfer. What the client then asks for is run by a function that
// the program injects (Config.Serve).
//
//	peer → PROXY header → access by address → @RSYNCD greeting, motd
//	     → #list | #early_input | module name
//	     → hosts allow/deny → max connections → auth users
//	     → uid, gid, path → exec hooks → chroot, pinned root, setuid
//	     → @RSYNCD: OK → arguments (twice when secluded) → Serve
//
// Every connection is a process of its own, as operators of rsync expect: the
// listener runs the program again with the socket as standard input, so that
// the connection can chroot, change its user and be killed alone. A connection
// whose module has a post-xfer exec hands the part after authentication to one
// more process and waits for its status; a hook that has to outlive the change
// of user runs in a helper process started before it. All of these processes
// are this program again, told apart by an environment variable (see Stage).
//
// Facts: rsync 3.5.0 clientserver.c, authenticate.c, access.c, clientname.c,
// connection.c, socket.c, log.c; rsyncd.conf(5).
package daemon
