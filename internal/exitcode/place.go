package exitcode

import (
	"errors"
	"fmt"
	"strings"
)

// The places in its source where Debian's rsync 3.5.0 ends a run. They stand behind the
// code in the last line of one that failed, and some people's scripts know them:
//
//	rsync error: error in rsync protocol data stream (code 12) at io.c(285) [sender=3.5.0]
//
// An error that does not name its place gets that of its message, or else that
// of its code.
const (
	AtConnect      = "clientserver.c(165)"  // no connection to a daemon
	AtMismatch     = "compat.c(625)"        // versions that do not fit
	AtTimeout      = "io.c(248)"            // --timeout
	AtClosed       = "io.c(285)"            // the other side has closed the connection
	AtStop         = "io.c(927)"            // --stop-at, --stop-after
	AtRead         = "io.c(907)"            // a read from the connection failed
	AtWrite        = "io.c(949)"            // a write to it failed
	AtBatchScript  = "batch.c(257)"         // the script of a batch cannot be made
	AtBatch        = "batch.c(271)"         // a batch cannot be opened
	AtLocalOptions = "pipe.c(148)"          // --remote-option of a local copy
	AtNoArgs       = "main.c(1871)"         // no argument at all
	AtNoOperands   = "main.c(1941)"         // options alone
	AtSenderOption = "options.c(1533)"      // --sender without --server
	AtDaemonOption = "options.c(1596)"      // a wrong one behind --daemon
	AtListOperands = "options.c(2621)"      // too many operands beside --files-from
	AtBatchType    = "batch.c(281)"         // or is no file to read
	AtMakeDest     = "main.c(808)"          // the destination cannot be made
	AtSenderEnd    = "main.c(1394)"         // a client that has sent all
	AtReceiverEnd  = "main.c(1956)"         // a client that has received all
	AtRemoteSource = "main.c(1555)"         // sources on different hosts
	AtBothRemote   = "main.c(1471)"         // source and destination elsewhere
	AtHiddenDest   = "main.c(735)"          // the daemon's rules hide the destination
	AtNotDir       = "main.c(777)"          // several files for one name
	AtClearedDir   = "flist.c(3163)"        // a list of a directory that was dropped
	AtBackup       = "rsync.c(900)"         // what a file replaces cannot be kept
	AtMaxAlloc     = "util2.c(80)"          // --max-alloc
	AtRefused      = "clientserver.c(1267)" // an option that a module refuses
	AtOverflow     = "util2.c(129)"         // a length that is out of bounds
	AtPeerExit     = "io.c(1892)"           // the other side has told that it ends
	AtChangeSource = "flist.c(2791)"        // the directory of --files-from cannot be entered
	AtEnterDest    = "main.c(768)"          // nor the destination
	AtStatDest     = "main.c(789)"          // what the destination is cannot be seen
	AtOverDir      = "main.c(783)"          // a directory for a name that is none
	AtDestNotDir   = "main.c(801)"          // a destination with a slash that is no directory
	AtBackupNotDir = "main.c(1032)"         // a --backup-dir that is none
	AtBackupStat   = "main.c(1036)"         // or cannot be seen
	AtTempNotDir   = "main.c(1052)"         // a --temp-dir that is none
	AtTempMissing  = "main.c(1056)"         // or does not exist
	AtTempStat     = "main.c(1059)"         // or cannot be seen
	AtWriteFile    = "receiver.c(657)"      // a file cannot be written
	AtFileIndex    = "rsync.c(353)"         // an index that no list has
	AtNoParent     = "generator.c(1715)"    // an entry whose directory is not in the list
	AtFuzzyName    = "receiver.c(1025)"     // a similar file that nobody asked for
)

// said are the places of errors that rsync words in one place only, by how the
// message begins, behind "rsync: " and the name of the process.
var said = []struct{ begins, at string }{
	{"recv_acl_access: value out of range", "acls.c(921)"},
	{"recv_acl_index:", "acls.c(971)"},
	{"could not open password file", "authenticate.c(247)"},
	{"ERROR: password file must not be other-accessible", "authenticate.c(261)"},
	{"ERROR: password file must be owned by root", "authenticate.c(265)"},
	{"ERROR: failed to read a password from", "authenticate.c(279)"},
	{"Please specify the --iconv option", "batch.c(141)"},
	{"Do not specify the --iconv option", "batch.c(141)"},
	{"cannot write a filter rule containing a newline", "batch.c(229)"},
	{"unknown checksum name:", "checksum.c(157)"},
	{"Invalid checksum-choice for --checksum:", "checksum.c(551)"},
	{"unknown compress name:", "compat.c(190)"},
	{"Failed to negotiate a", "compat.c(406)"},
	{"Your --checksum-choice value", "compat.c(450)"},
	{"Your --compress-choice value", "compat.c(450)"},
	{"The protocol version in the batch file is too new", "compat.c(614)"},
	{"protocol version mismatch", AtMismatch},
	{"--protocol must be at least", "compat.c(634)"},
	{"--protocol must be no more than", "compat.c(639)"},
	{"--acls requires protocol", "compat.c(672)"},
	{"--xattrs requires protocol", "compat.c(679)"},
	{"--fuzzy requires protocol", "compat.c(696)"},
	{"Using more than one", "compat.c(712)"},
	{"--prune-empty-dirs requires protocol", "compat.c(720)"},
	{"Both rsync versions must be at least 3.2.0 for --crtimes", "compat.c(764)"},
	{"Incompatible options specified for inc-recursive", "compat.c(785)"},
	{"Unknown filter rule:", "exclude.c(136)"},
	{"invalid modifier", "exclude.c(1379)"},
	{"merge-file include depth limit", "exclude.c(1626)"},
	{"failed to open exclude file", "exclude.c(1719)"},
	{"failed to open include file", "exclude.c(1719)"},
	{"filter rules are too modern for remote rsync", "exclude.c(1926)"},
	{"ABORTING due to unsafe pathname from sender", "flist.c(1079)"},
	{"hard-link reference out of range", "flist.c(1106)"},
	{"invalid file mode", "flist.c(1206)"},
	{"Offset underflow", "flist.c(1349)"},
	{"ERROR: rejecting non-directory transfer-root entry", "flist.c(1358)"},
	{"ERROR: rejecting excluded file-list name", "flist.c(1366)"},
	{"ERROR: rejecting unrequested file-list name", "flist.c(1370)"},
	{"found \"..\" dir in relative path", "flist.c(2905)"},
	{"refusing sub-flist after final flist was freed", "flist.c(3147)"},
	{"refusing malicious duplicate flist", "flist.c(3167)"},
	{"got transfer request in phase 2 [sender]", "sender.c(608)"},
	{"got transfer request in phase 2 [receiver]", "receiver.c(943)"},
	{"Invalid flist flag:", "flist.c(3207)"},
	{"ABORTING due to invalid path from sender", "flist.c(3230)"},
	{"Invalid dir index:", "flist.c(3359)"},
	{"hard-link gnum", "hlink.c(141)"},
	{"safe_read failed to read", "io.c(340)"},
	{"safe_write failed to write", "io.c(387)"},
	{"invalid multi-message", "io.c(1799)"},
	{"multiplexing overflow", "io.c(1838)"},
	{"unexpected tag", "io.c(1896)"},
	{"Overflow in read_varint()", "io.c(2002)"},
	{"Overflow in read_varlong()", "io.c(2039)"},
	{"wire value", "io.c(2080)"},
	{"Invalid file index:", "io.c(2585)"},
	{"Invalid checksum count", "io.c(2202)"},
	{"Invalid block length", "io.c(2223)"},
	{"Invalid zero block length", "io.c(2228)"},
	{"Invalid checksum length", "io.c(2244)"},
	{"Invalid remainder length", "io.c(2250)"},
	{"Invalid copy-as user:", "main.c(270)"},
	{"Invalid copy-as group:", "main.c(276)"},
	{"Missing trailing-", "main.c(547)"},
	{"Empty destination arg specified", "main.c(685)"},
	{"Invalid packet at end of run (", "main.c(937)"},
	{"Invalid packet at end of run", "main.c(1112)"},
	{"ERROR: module is write only", "main.c(951)"},
	{"ERROR: do_server_sender called without args", "main.c(961)"},
	{"ERROR: module is read only", "main.c(1185)"},
	{"Your options have been rejected by the server", "main.c(1268)"},
	{"--files-from cannot be remote when the transfer is local", "main.c(1510)"},
	{"remote destination is not allowed with --read-batch", "main.c(1524)"},
	{"Empty source arg specified", "main.c(1551)"},
	{"Unexpected remote arg:", "main.c(1555)"},
	{"Unexpected local arg:", "main.c(1571)"},
	{"All source args must come from the same machine", "main.c(1575)"},
	{"All source args must use the same", "main.c(1582)"},
	{"The --password-file option may only be used", "main.c(1602)"},
	{"The --contimeout option may only be used", "main.c(1608)"},
	{"Invalid remote host: hostnames may not start with", "main.c(1620)"},
	{"Unknown --info item:", "options.c(487)"},
	{"Unknown --debug item:", "options.c(487)"},
	{"Invalid literal token with no data", "receiver.c(564)"},
	{"Invalid block index", "receiver.c(586)"},
	{"got a block match with no basis file", "receiver.c(617)"},
	{"ERROR: rejecting file transfer request for daemon excluded file", "receiver.c(905)"},
	{"invalid basis_dir index", "receiver.c(1046)"},
	{"refusing unconfined partial basis", "receiver.c(1116)"},
	{"iconv_open(", "rsync.c(134)"},
	{"received request to transfer non-regular file", "rsync.c(442)"},
	{"File-list index", "rsync.c(982)"},
	{"invalid token number in compressed stream", "token.c(531)"},
	{"Invalid ID number:", "uidlist.c(85)"},
	{"No colon found in --", "uidlist.c(514)"},
	{"No name found after colon --", "uidlist.c(519)"},
	{"Invalid number in --", "uidlist.c(529)"},
	{"xattr rel_pos accumulation overflow", "xattrs.c(733)"},
	{"could not find xattr #", "xattrs.c(766)"},
	{"receive_xattr: xa index", "xattrs.c(818)"},
	{"xattr datum_len exceeds per-value limit", "xattrs.c(841)"},
	{"xattr list exceeds per-file limit", "xattrs.c(850)"},
	{"Invalid xattr name received", "xattrs.c(859)"},
}

// placeOf returns the place of what rsync says as text, "" if there is none.
func placeOf(text string) string {
	text = strings.TrimPrefix(text, "rsync: ")
	if strings.HasPrefix(text, "[") {
		if _, after, ok := strings.Cut(text, "] "); ok {
			text = after
		}
	}
	text = strings.TrimPrefix(text, "rsync: ")
	for i := range said {
		if strings.HasPrefix(text, said[i].begins) {
			return said[i].at
		}
	}
	return ""
}

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
	if e != nil && e.Err != nil {
		if at := placeOf(e.Err.Error()); at != "" {
			return at
		}
	}
	if at, ok := places[code]; ok {
		return at
	}
	if sender {
		return AtSenderEnd
	}
	return AtReceiverEnd
}

// Line is the last line of a run that failed, as who would print it, a process
// of the given version. rsync 3.5.0 log.c:log_exit.
func Line(err error, code Code, who, version string) string {
	kind := "error"
	if code == Vanished {
		kind = "warning"
	}
	return fmt.Sprintf("rsync %s: %s (code %d) at %s [%s=%s]", kind, code.Text(), code, Place(err, code, who == "sender"), who, version)
}

// Placed sets the place of an error and returns it.
func (e *Error) Placed(at string) *Error {
	e.At = at
	return e
}
