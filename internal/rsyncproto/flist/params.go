package flist

// MaxPath is the longest name that rsync takes, its terminating byte included.
const MaxPath = 4096

// Entry flags on the wire (rsync.h: XMIT_…).
const (
	xmitTopDir          = 1 << 0
	xmitSameMode        = 1 << 1
	xmitSameRdevPre28   = 1 << 2 // protocol 27
	xmitExtended        = 1 << 2 // protocol 28
	xmitSameUID         = 1 << 3
	xmitSameGID         = 1 << 4
	xmitSameName        = 1 << 5
	xmitLongName        = 1 << 6
	xmitSameTime        = 1 << 7
	xmitSameRdevMajor   = 1 << 8 // protocol 28, devices
	xmitNoContentDir    = 1 << 8 // protocol 30, directories
	xmitHlinked         = 1 << 9 // protocol 28
	xmitSameDevPre30    = 1 << 10
	xmitUserName        = 1 << 10 // protocol 30
	xmitRdevMinor8Pre30 = 1 << 11
	xmitGroupName       = 1 << 11 // protocol 30
	xmitHlinkFirst      = 1 << 12 // protocol 30, with xmitHlinked
	xmitIOErrorEnd      = 1 << 12 // protocol 31 or the 'f' capability
	xmitModNsec         = 1 << 13 // protocol 31
	xmitSameAtime       = 1 << 14
	xmitCrtimeIsMtime   = 1 << 17
	// xmitContentID says that 32 bytes of content id end the entry. Sent only
	// between prsync peers that agreed on the offer; rsync has no flag there.
	xmitContentID = 1 << 20
)

// Params fix the shape of entries for one connection.
type Params struct {
	Protocol    int
	IncRecurse  bool
	VarintFlags bool // flags travel as a varint ('v' capability)
	SafeErrors  bool // an I/O error may end a list
	ID0Names    bool // the name of id 0 is sent too
	ContentIDs  bool // entries may carry a content id

	UID, GID   bool // -o, -g
	Links      bool // -l
	Devices    bool
	Specials   bool
	HardLinks  bool // -H
	ACLs       bool
	Xattrs     bool
	Atimes     bool
	Crtimes    bool
	Checksum   bool // -c
	SumLen     int  // bytes of the -c checksum
	NumericIDs bool
	Relative   bool
}
