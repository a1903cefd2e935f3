package index

import (
	"encoding/binary"
	"fmt"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

// builder writes what a scan found as a generation.
type builder struct {
	*scan
	number int64
	h      header
	out    *pageWriter
	// Live names of contents, by their ordinal before or in scan.contents.
	oldNames, newNames []uint32
	// Their ordinals in the new generation, lost for contents left out.
	oldAt, newAt []uint32
	firstName    []uint32 // by ordinal in the new generation
	// Ordinals in the new generation of packs before and of scan.packs.
	oldPack, newPack []uint32
	packs            []packRecord
	dataLive         map[uint32]int64 // bytes of each data file that are referred to
	compact          map[uint32]bool  // data files to be copied from
	added, dropped   []content.ID
}

const lost = 1<<32 - 1

// tinyData live bytes make a data file tiny.
const tinyData = 4 << 20

func (s *scan) build(number int64) error {
	b := builder{
		scan: s, number: number,
		newNames: make([]uint32, len(s.contents)), newAt: make([]uint32, len(s.contents)),
		dataLive: map[uint32]int64{}, compact: map[uint32]bool{},
	}
	if s.old != nil {
		b.oldNames = make([]uint32, s.old.h.contents)
		b.oldAt = make([]uint32, s.old.h.contents)
	}
	if err := b.count(); err != nil {
		return err
	}
	if err := b.usage(); err != nil {
		return err
	}
	if err := s.x.step("write generation"); err != nil {
		return err
	}
	var err error
	if b.out, err = newPageWriter(s.x.root, generationName(number)+fsroot.TempSuffix); err != nil {
		return err
	}
	defer b.out.f.Close()
	if err := b.writeContents(); err != nil {
		return err
	}
	if err := b.writeEntries(); err != nil {
		return err
	}
	b.writePacks()
	b.h.generation, b.h.created = uint64(number), uint64(s.now.UnixNano())
	if s.publish {
		b.h.publish = 1
	}
	if err := b.out.finish(&b.h); err != nil {
		return fmt.Errorf("%s: %w", generationName(number), err)
	}
	if err := s.data.finish(); err != nil {
		return err
	}
	m := s.made
	m.Entries, m.Contents, m.Bytes = int(b.h.entries-b.h.retired), int(b.h.live), int64(b.h.liveBytes)
	m.Packs, m.Added, m.Dropped = int(b.h.packs), len(b.added), len(b.dropped)
	return s.x.commit(number, b.added, b.dropped)
}

// resolve returns where the content of a staged entry is: an ordinal before,
// or with refNew set one in scan.contents; ok is false for a file that could
// not be read. todos counts the files to read.
func (b *builder) resolve(e *staged, todos *uint32) (ref uint32, ok bool) {
	ref = e.ref
	if e.todo {
		ref = b.results[*todos]
		if st, changed := b.stats[*todos]; changed {
			e.st = st
		}
		*todos++
		if ref == refSkipped {
			return 0, false
		}
	}
	if ref&refNew == 0 {
		if n, ok := b.moved[ref]; ok {
			ref = n | refNew
		}
	}
	return ref, true
}

// count counts the names of every content.
func (b *builder) count() error {
	todos := uint32(0)
	return b.stage.each(func(e *staged) error {
		ref, ok := b.resolve(e, &todos)
		switch {
		case !ok || e.retired != 0:
		case ref&refNew != 0:
			b.newNames[ref&^refNew]++
		default:
			b.oldNames[ref]++
		}
		return nil
	})
}

// kept returns the content before with ordinal i as it goes into the new
// generation, if it does.
func (b *builder) kept(i uint32) (c record, ok bool, err error) {
	if _, moved := b.moved[i]; moved {
		return record{}, false, nil
	}
	if c, err = b.old.record(i); err != nil {
		return record{}, false, err
	}
	b.retire(&c, b.oldNames[i])
	return c, c.retired == 0 || b.publish && b.inGrace(c.retired), nil
}

func (b *builder) retire(c *record, names uint32) {
	switch {
	case names > 0:
		c.retired = 0
	case c.retired == 0:
		c.retired = b.now.Unix()
	}
}

// usage finds out which packs and data files the new generation refers to.
func (b *builder) usage() error {
	var packUsed []bool
	if b.old != nil {
		packUsed = make([]bool, b.old.h.packs)
	}
	use := func(c *record) {
		if !b.publish {
			c.pack, c.data = noPack, 0
		}
		if c.pack != noPack && c.pack&packNew == 0 && int(c.pack) < len(packUsed) {
			packUsed[c.pack] = true
		}
		if c.data != 0 {
			b.dataLive[c.data] += int64(c.dataLen)
		}
	}
	for i := range b.oldAt {
		c, ok, err := b.kept(uint32(i))
		if err != nil {
			return err
		}
		if ok {
			use(&c)
		}
	}
	for i := range b.contents {
		use(&b.contents[i])
	}
	for number, live := range b.dataLive {
		if number == b.data.number {
			continue
		}
		f, err := b.old.dataFile(number)
		if err != nil {
			return err
		}
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if live*2 < fi.Size() || live < tinyData && len(b.dataLive) > b.x.cfg.tiny {
			b.compact[number] = true
		}
	}
	b.oldPack = make([]uint32, len(packUsed))
	for i, used := range packUsed {
		if !used {
			continue
		}
		p, err := b.old.packRecord(uint32(i))
		if err != nil {
			return err
		}
		p.live, p.liveBytes = 0, 0
		b.oldPack[i] = uint32(len(b.packs))
		b.packs = append(b.packs, p)
	}
	b.newPack = make([]uint32, len(b.scan.packs))
	for i, p := range b.scan.packs {
		b.newPack[i] = uint32(len(b.packs))
		b.packs = append(b.packs, p)
	}
	return nil
}

// writeContents merges the contents before with the new ones, and writes the
// fan-out table.
func (b *builder) writeContents() error {
	sorted := order(b.contents)
	n := uint32(0)        // ordinal of the next content
	names := uint32(0)    // before it
	perSlot := []uint32{} // counted at the widest, summed up below
	perSlot = append(perSlot, make([]uint32, 1<<maxFanoutBits)...)
	buf := make([]byte, 0, recordSize)
	emit := func(c *record, live uint32) error {
		if !b.publish {
			c.pack, c.data, c.dataLen, c.dataOff, c.offset, c.flags = noPack, 0, 0, 0, 0, 0
		}
		if c.pack != noPack {
			if c.pack&packNew != 0 {
				c.pack = b.newPack[c.pack&^packNew]
			} else {
				c.pack = b.oldPack[c.pack]
			}
			if live > 0 {
				b.packs[c.pack].live++
				b.packs[c.pack].liveBytes += c.size
			}
		}
		if c.data != 0 && b.compact[c.data] {
			sig, kept, err := b.old.readData(c)
			if err != nil {
				return err
			}
			if c.dataOff, err = b.data.append(sig, kept); err != nil {
				return err
			}
			b.dataLive[c.data] -= int64(c.dataLen)
			c.data = b.data.number
			b.dataLive[c.data] += int64(c.dataLen)
		}
		if live > 0 {
			b.h.live++
			b.h.liveBytes += uint64(c.size)
		}
		c.names = names
		b.firstName = append(b.firstName, names)
		names += live
		perSlot[fanoutSlot(&c.id, maxFanoutBits)]++
		buf = c.append(buf[:0])
		b.out.write(buf)
		n++
		return nil
	}
	emitNew := func(i uint32) error {
		c := b.contents[i]
		b.retire(&c, b.newNames[i])
		b.newAt[i] = n
		return emit(&c, b.newNames[i])
	}
	for i := range b.oldAt {
		c, ok, err := b.kept(uint32(i))
		if err != nil {
			return err
		}
		if !ok {
			b.oldAt[i] = lost
			if err := b.drop(uint32(i)); err != nil {
				return err
			}
			continue
		}
		for len(sorted) > 0 && string(b.contents[sorted[0]].id[:]) < string(c.id[:]) {
			if err := emitNew(sorted[0]); err != nil {
				return err
			}
			sorted = sorted[1:]
		}
		b.oldAt[i] = n
		if err := b.note(uint32(i), c.id); err != nil {
			return err
		}
		if err := emit(&c, b.oldNames[i]); err != nil {
			return err
		}
	}
	for _, i := range sorted {
		if err := emitNew(i); err != nil {
			return err
		}
	}
	if err := b.noteNew(); err != nil {
		return err
	}
	b.h.contents, b.h.names, b.h.fanoutAt = uint64(n), uint64(names), b.out.off
	b.h.fanoutBits = fanoutBitsFor(int(n))
	sum := uint32(0)
	wide := 1 << (maxFanoutBits - b.h.fanoutBits)
	for i := 0; i < len(perSlot); i += wide {
		b.out.uint32(sum)
		for _, k := range perSlot[i : i+wide] {
			sum += k
		}
	}
	b.out.uint32(sum)
	return b.out.err
}

// note records whether a content before came or went.
func (b *builder) note(i uint32, id content.ID) error {
	was, err := b.old.record(i)
	if err != nil {
		return err
	}
	switch live := b.oldNames[i] > 0; {
	case live && was.retired != 0:
		b.added = append(b.added, id)
	case !live && was.retired == 0:
		b.dropped = append(b.dropped, id)
	}
	return nil
}

// drop is note for a content that is left out or replaced.
func (b *builder) drop(i uint32) error {
	if _, moved := b.moved[i]; moved {
		return nil
	}
	was, err := b.old.record(i)
	if err == nil && was.retired == 0 {
		b.dropped = append(b.dropped, was.id)
	}
	return err
}

// noteNew does so for the new contents, some of which replace one before.
func (b *builder) noteNew() error {
	replaced := make(map[uint32]bool, len(b.moved)) // whether it was live
	for old, i := range b.moved {
		was, err := b.old.record(old)
		if err != nil {
			return err
		}
		replaced[i] = was.retired == 0
	}
	for i := range b.contents {
		live, was := b.newNames[i] > 0, replaced[uint32(i)]
		switch id := b.contents[i].id; {
		case live && !was:
			b.added = append(b.added, id)
		case !live && was:
			b.dropped = append(b.dropped, id)
		}
	}
	return nil
}

// writeEntries writes the blocks, where they start, and the names.
func (b *builder) writeEntries() error {
	b.h.blocksAt = b.out.off
	names := make([]uint32, b.h.names)
	var starts []uint64
	var prev, buf []byte
	todos := uint32(0)
	err := b.stage.each(func(e *staged) error {
		ref, ok := b.resolve(e, &todos)
		if !ok {
			return nil
		}
		if ref&refNew != 0 {
			ref = b.newAt[ref&^refNew]
		} else {
			ref = b.oldAt[ref]
		}
		if ref == lost {
			if e.retired != 0 {
				return nil
			}
			return fmt.Errorf("path %q has no content", e.path)
		}
		if b.h.entries%blockEntries == 0 {
			starts = append(starts, b.out.off)
			prev = prev[:0]
		}
		if e.retired != 0 {
			b.h.retired++
		} else {
			names[b.firstName[ref]] = uint32(b.h.entries)
			b.firstName[ref]++
		}
		e.ref = ref
		buf = appendEntry(buf[:0], prev, &e.entry)
		prev = append(prev[:0], e.path...)
		b.out.write(buf)
		if b.h.entries++; b.h.entries >= refNew {
			return fmt.Errorf("more than %d paths", refNew-1)
		}
		return b.out.err
	})
	if err != nil {
		return err
	}
	b.h.blocks, b.h.blockAt = uint64(len(starts)), b.out.off
	for _, at := range starts {
		b.out.uint64(at)
	}
	b.h.namesAt = b.out.off
	for _, ordinal := range names {
		b.out.uint32(ordinal)
	}
	return b.out.err
}

func (b *builder) writePacks() {
	b.h.packs, b.h.packsAt = uint64(len(b.packs)), b.out.off
	for i := range b.packs {
		b.out.write(b.packs[i].append(nil))
	}
	b.h.datasAt = b.out.off
	for number, live := range b.dataLive {
		if live == 0 {
			continue
		}
		var d [dataSize]byte
		binary.LittleEndian.PutUint32(d[:], number)
		binary.LittleEndian.PutUint64(d[8:], uint64(live))
		b.out.write(d[:])
		b.h.datas++
	}
}
