package exitcode

import "errors"

// The places in its source where rsync 3.5.0 ends a run. They stand behind the
// code in the last line of one that failed, and some people's scripts know them:
//
//	rsync error: error in rsync protocol data stream (code 12) at io.c(285) [sender=3.5.0]
//
// An error that does not name its place gets that of its code.
const (
	AtConnect      = "clientserver.c(165)" // no connection to a daemon
	AtMismatch     = "compat.c(625)"       // versions that do not fit
	AtTimeout      = "io.c(248)"           // --timeout
	AtClosed       = "io.c(285)"           // the other side has closed the connection
	AtStop         = "io.c(927)"           // --stop-at, --stop-after
	AtRead         = "io.c(907)"           // a read from the connection failed
	AtWrite        = "io.c(949)"           // a write to it failed
	AtBatchScript  = "batch.c(257)"        // the script of a batch cannot be made
	AtBatch        = "batch.c(271)"        // a batch cannot be opened
	AtMakeDest     = "main.c(808)"         // the destination cannot be made
	AtSenderEnd    = "main.c(1394)"        // a client that has sent all
	AtReceiverEnd  = "main.c(1956)"        // a client that has received all
	AtRemoteSource = "main.c(1555)"        // sources on different hosts
	AtBothRemote   = "main.c(1471)"        // source and destination elsewhere
	AtNotDir       = "main.c(777)"         // several files for one name
	AtClearedDir   = "flist.c(3163)"       // a list of a directory that was dropped
	AtBackup       = "rsync.c(900)"        // what a file replaces cannot be kept
	AtMaxAlloc     = "util2.c(80)"         // --max-alloc
)

var places = map[Code]string{
	Syntax:           "main.c(1886)",
	Protocol:         AtMismatch,
	FileSelect:       "main.c(855)",
	Unsupported:      "checksum.c(157)",
	StartClient:      "main.c(1954)",
	SocketIO:         AtConnect,
	FileIO:           "receiver.c(657)",
	StreamIO:         AtClosed,
	Message:          "log.c(263)",
	IPC:              "pipe.c(85)",
	Crashed:          AtClosed,
	Terminated:       AtClosed,
	Signal1:          "main.c(1660)",
	Signal:           "rsync.c(874)",
	Malloc:           AtMaxAlloc,
	Timeout:          AtTimeout,
	ConTimeout:       "socket.c(429)",
	RemoteShellFail:  AtClosed,
	RemoteShellKill:  AtClosed,
	RemoteShellStart: AtClosed,
	RemoteShellNone:  AtClosed,
}

// Place returns where rsync would have ended a run with this error, "main.c(…)"
// or the like. sender says that it is a sending side.
func Place(err error, code Code, sender bool) string {
	var e *Error
	if errors.As(err, &e) && e.At != "" {
		return e.At
	}
	if at, ok := places[code]; ok {
		return at
	}
	if sender {
		return AtSenderEnd
	}
	return AtReceiverEnd
}

// Placed sets the place of an error and returns it.
func (e *Error) Placed(at string) *Error {
	e.At = at
	return e
}
