package report

// InfoFlag is a kind of information that --info turns up or down. The order is
// that in which package options lists the words.
type InfoFlag int

// The kinds of information.
const (
	InfoBackup InfoFlag = iota
	InfoCopy
	InfoDel
	InfoFlist
	InfoMisc
	InfoMount
	InfoName
	InfoNonreg
	InfoProgress
	InfoRemove
	InfoSkip
	InfoStats
	InfoSwarm // ours; never sent to a server
	InfoSymsafe
	infoCount
)

// DebugFlag is a kind of debugging output.
type DebugFlag int

// The kinds of debugging output.
const (
	DebugACL DebugFlag = iota
	DebugBackup
	DebugBind
	DebugChdir
	DebugConnect
	DebugCmd
	DebugDel
	DebugDeltasum
	DebugDup
	DebugExit
	DebugFilter
	DebugFlist
	DebugFuzzy
	DebugGenr
	DebugHash // prints nothing: rsync tells how its hash tables grow
	DebugHlink
	DebugIconv
	DebugIO // prints nothing: rsync tells of its buffers and descriptors
	DebugNstr
	DebugOwn
	DebugProto
	DebugRecv
	DebugSend
	DebugSwarm // ours; never sent to a server
	DebugTime
	debugCount
)

// InfoLevels holds the level of each InfoFlag, 0 to 4.
type InfoLevels [infoCount]uint8

// DebugLevels holds the level of each DebugFlag, 0 to 4.
type DebugLevels [debugCount]uint8
