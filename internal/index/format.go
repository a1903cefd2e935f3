package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/prsync/prsync/internal/content"
	"github.com/zeebo/xxh3"
)

// A generation file, all fixed-width numbers little-endian:
//
//	header   512 bytes, see the header type; its last 8 are its own XXH3-64
//	contents 80 bytes each, ascending ids, see the record type
//	fanout   2^fanoutBits+1 times 4 bytes: the first content whose id starts
//	         with the bits of its position, or greater ones
//	blocks   entries in byte order of their paths, blockEntries to a block
//	blockAt  8 bytes for each block: where it starts
//	names    4 bytes each: for each content the ordinals of its entries
//	packs    64 bytes each, see the packRecord type
//	datas    16 bytes each: number (4), zero (4) and live bytes (8) of each
//	         data file that contents refer to
//	pages    8 bytes for every pageSize bytes from the end of the header to
//	         here: their XXH3-64
//
// An entry in a block is: length of the prefix shared with the path before it
// in the block, length of the rest, the rest; size, mtime, ctime less mtime,
// inode, ordinal of the content, seconds when it was retired plus 1 or 0 while
// it is there; all of them variable-length integers, times zigzag.
//
// A page is verified when it is first touched, so that opening a file costs
// the same whatever its size.
const (
	magic         = "prsyncix"
	formatVersion = 1
	headerSize    = 512
	pageSize      = 16 << 10
	blockEntries  = 64
	recordSize    = 80
	packSize      = 64
	dataSize      = 16
	maxFanoutBits = 16
	maxPath       = 4096
)

// ErrCorrupt is wrapped by the errors of a reader that meets damaged state.
var ErrCorrupt = errors.New("index is damaged")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s; remove the module's state directory to have it rebuilt", ErrCorrupt, fmt.Sprintf(format, args...))
}

// header starts a generation file. The fields follow the magic in this order,
// 8 bytes each.
type header struct {
	version, fileSize         uint64
	generation, created       uint64 // created in nanoseconds since 1970
	publish                   uint64 // 1: contents have packs and signatures
	entries, retired          uint64
	blocks, fanoutBits        uint64
	contents, live, liveBytes uint64 // live: contents that have a name
	names, packs, datas       uint64
	fanoutAt, blocksAt        uint64
	blockAt, namesAt          uint64
	packsAt, datasAt          uint64
	pagesAt, pagesSum         uint64
}

func (h *header) fields() []*uint64 {
	return []*uint64{
		&h.version, &h.fileSize, &h.generation, &h.created, &h.publish,
		&h.entries, &h.retired, &h.blocks, &h.fanoutBits,
		&h.contents, &h.live, &h.liveBytes, &h.names, &h.packs, &h.datas,
		&h.fanoutAt, &h.blocksAt, &h.blockAt, &h.namesAt, &h.packsAt, &h.datasAt,
		&h.pagesAt, &h.pagesSum,
	}
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	for i, f := range h.fields() {
		binary.LittleEndian.PutUint64(b[8+8*i:], *f)
	}
	binary.LittleEndian.PutUint64(b[headerSize-8:], xxh3.Hash(b[:headerSize-8]))
	return b
}

// parseHeader checks everything about the header that the rest of the reader
// relies on: sections in order and inside the file.
func parseHeader(b []byte, verify bool) (*header, error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return nil, corrupt("no index header")
	}
	if verify && binary.LittleEndian.Uint64(b[headerSize-8:]) != xxh3.Hash(b[:headerSize-8]) {
		return nil, corrupt("checksum of the header")
	}
	h := new(header)
	for i, f := range h.fields() {
		*f = binary.LittleEndian.Uint64(b[8+8*i:])
	}
	if h.version != formatVersion {
		return nil, fmt.Errorf("index has format version %d, this program reads version %d: remove the module's state directory to have it rebuilt", h.version, formatVersion)
	}
	const most = 1 << 32 // ordinals are 32 bits
	size := uint64(len(b))
	if h.fileSize != size || h.entries >= most || h.contents >= most || h.names >= most || h.packs >= most || h.datas >= most ||
		h.blocks != (h.entries+blockEntries-1)/blockEntries || h.fanoutBits > maxFanoutBits || h.retired > h.entries || h.live > h.contents {
		return nil, corrupt("counts in the header")
	}
	at := []uint64{headerSize, h.fanoutAt, h.blocksAt, h.blockAt, h.namesAt, h.packsAt, h.datasAt, h.pagesAt, size}
	for i := 1; i < len(at); i++ {
		if at[i] < at[i-1] {
			return nil, corrupt("sections in the header")
		}
	}
	pages := (h.pagesAt - headerSize + pageSize - 1) / pageSize
	if h.fanoutAt-headerSize != recordSize*h.contents || h.blocksAt-h.fanoutAt != 4*(1<<h.fanoutBits+1) ||
		h.namesAt-h.blockAt != 8*h.blocks || h.packsAt-h.namesAt != 4*h.names ||
		h.datasAt-h.packsAt != packSize*h.packs || h.pagesAt-h.datasAt != dataSize*h.datas || size-h.pagesAt != 8*pages {
		return nil, corrupt("sections in the header")
	}
	return h, nil
}

// fanoutBitsFor leaves about 16 contents to a slot.
func fanoutBitsFor(contents int) uint64 {
	return uint64(max(0, min(maxFanoutBits, bits.Len(uint(contents))-4)))
}

// fanoutSlot returns the leading bits of id.
func fanoutSlot(id *content.ID, fanoutBits uint64) uint64 {
	return uint64(binary.BigEndian.Uint32(id[:])) >> (32 - fanoutBits)
}

const (
	noPack = 1<<32 - 1

	flagSignature = 1 // the data record has a signature
	flagKept      = 2 // the data record has the content's bytes
	flagBits      = 2 // the rest of the field is the length of the data record
)

// record is one content.
type record struct {
	id      content.ID
	size    int64
	offset  int64  // in the blob of its pack
	dataOff int64  // of its data record
	retired int64  // seconds when its last name went, 0 while it has names
	pack    uint32 // ordinal of its pack, noPack when it is in none
	names   uint32 // first of its names; the next content's first ends them
	data    uint32 // number of its data file, 0 when it has no data record
	flags   uint32
	dataLen uint32 // bytes of the data record
}

func (c *record) append(b []byte) []byte {
	b = append(b, c.id[:]...)
	for _, v := range [...]int64{c.size, c.offset, c.dataOff, c.retired} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	for _, v := range [...]uint32{c.pack, c.names, c.data, c.flags | c.dataLen<<flagBits} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func parseRecord(b []byte) record {
	le := binary.LittleEndian
	return record{
		id:   content.ID(b[:32]),
		size: int64(le.Uint64(b[32:])), offset: int64(le.Uint64(b[40:])),
		dataOff: int64(le.Uint64(b[48:])), retired: int64(le.Uint64(b[56:])),
		pack: le.Uint32(b[64:]), names: le.Uint32(b[68:]),
		data: le.Uint32(b[72:]), flags: le.Uint32(b[76:]) & (1<<flagBits - 1),
		dataLen: le.Uint32(b[76:]) >> flagBits,
	}
}

// packRecord is one pack: 20 bytes info hash, 4 zero bytes, then the numbers.
type packRecord struct {
	hash       content.InfoHash
	length     int64 // of the blob
	bytes      int64 // of its contents
	liveBytes  int64 // of its contents that have names
	generation int64 // that made it
	contents   uint32
	live       uint32
}

func (p *packRecord) append(b []byte) []byte {
	b = append(b, p.hash[:]...)
	b = append(b, 0, 0, 0, 0)
	for _, v := range [...]int64{p.length, p.bytes, p.liveBytes, p.generation} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	b = binary.LittleEndian.AppendUint32(b, p.contents)
	return binary.LittleEndian.AppendUint32(b, p.live)
}

func parsePackRecord(b []byte) packRecord {
	le := binary.LittleEndian
	return packRecord{
		hash:   content.InfoHash(b[:20]),
		length: int64(le.Uint64(b[24:])), bytes: int64(le.Uint64(b[32:])),
		liveBytes: int64(le.Uint64(b[40:])), generation: int64(le.Uint64(b[48:])),
		contents: le.Uint32(b[56:]), live: le.Uint32(b[60:]),
	}
}

// entry is one path as a generation stores it.
type entry struct {
	path    []byte
	st      Stat
	ref     uint32 // ordinal of the content
	retired int64  // seconds, 0 while it is in the tree
}

// appendEntry appends e to a block whose entry before it had the path prev.
func appendEntry(b, prev []byte, e *entry) []byte {
	shared := 0
	for shared < len(prev) && shared < len(e.path) && prev[shared] == e.path[shared] {
		shared++
	}
	b = binary.AppendUvarint(b, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(e.path)-shared))
	b = append(b, e.path[shared:]...)
	b = binary.AppendUvarint(b, uint64(e.st.Size))
	b = binary.AppendVarint(b, e.st.Mtime)
	b = binary.AppendVarint(b, e.st.Ctime-e.st.Mtime)
	b = binary.AppendUvarint(b, e.st.Inode)
	b = binary.AppendUvarint(b, uint64(e.ref))
	if e.retired == 0 {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(e.retired)+1)
}

// parseEntry reads the entry at the start of b into e, whose path still is
// that of the entry before it, and returns what follows.
func parseEntry(b []byte, e *entry) (rest []byte, ok bool) {
	ok = true
	num := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	zigzag := func() int64 {
		u := num()
		return int64(u>>1) ^ -int64(u&1)
	}
	shared, n := num(), num()
	if !ok || shared > uint64(len(e.path)) || n > uint64(len(b)) || shared+n > maxPath {
		return nil, false
	}
	e.path = append(e.path[:shared], b[:n]...)
	b = b[n:]
	e.st.Size = int64(num())
	e.st.Mtime = zigzag()
	e.st.Ctime = e.st.Mtime + zigzag()
	e.st.Inode = num()
	ref, retired := num(), num()
	if ref >= 1<<32 || e.st.Size < 0 {
		return nil, false
	}
	e.ref = uint32(ref)
	e.retired = 0
	if retired > 0 {
		e.retired = int64(retired - 1)
	}
	return b, ok
}
