package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"sync"

	"github.com/prsync/prsync/internal/content"
)

// A journal record is u32 length, u32 CRC-32C of the payload, payload: a kind
// byte, then the fields below. Records are not synced one by one: the kernel
// keeps them when the process is killed, and after a crash of the machine the
// versions tell what is missing.
const (
	recVolunteer = 1 // JSON
	recDelta     = 2 // u32 name length, name, u64 base, version, more, u32 bytes added, added, dropped
	recForget    = 3 // name

	maxRecord = content.MaxAnnounceBody + 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the open one; its methods do nothing on nil. A write error stops
// it until the next rotation, which reports it.
type journal struct {
	mu  sync.Mutex
	f   *os.File
	seq uint64
	err error
}

func (j *journal) volunteer(v *Volunteer) {
	if j == nil {
		return
	}
	js, err := json.Marshal(v)
	if err == nil {
		j.write(append([]byte{recVolunteer}, js...))
	}
}

func (j *journal) forget(name string) {
	if j != nil {
		j.write(append([]byte{recForget}, name...))
	}
}

func (j *journal) delta(name string, h *content.Holdings) {
	if j == nil {
		return
	}
	b := make([]byte, 0, 64+len(name)+len(h.Added)+len(h.Dropped))
	b = append(b, recDelta)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Base))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Version))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.More))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.Added)))
	b = append(b, h.Added...)
	j.write(append(b, h.Dropped...))
}

func (j *journal) write(payload []byte) {
	rec := make([]byte, 8, 8+len(payload))
	binary.LittleEndian.PutUint32(rec, uint32(len(payload)))
	binary.LittleEndian.PutUint32(rec[4:], crc32.Checksum(payload, castagnoli))
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil || j.err != nil {
		return
	}
	_, j.err = j.f.Write(append(rec, payload...))
}

// rotate goes on in a new file and returns what went wrong with the old one
// only if the new one cannot be had: a snapshot makes up for lost records.
func (j *journal) rotate(name string, seq uint64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(err, j.err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f != nil {
		j.f.Close()
	}
	j.f, j.seq, j.err = f, seq, nil
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	err := j.f.Close()
	j.f = nil
	return err
}

// replay applies the records of a journal up to the first damaged one.
func (m *Memory) replay(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("tracker journal: %w", err)
	}
	r := reader{data: data}
	for len(r.data) > 0 {
		n, sum := r.u32(), r.u32()
		if n > maxRecord {
			return nil
		}
		payload := r.bytes(uint64(n))
		if r.short || len(payload) == 0 || crc32.Checksum(payload, castagnoli) != sum {
			return nil
		}
		m.redo(payload)
	}
	return nil
}

func (m *Memory) redo(payload []byte) {
	rest := payload[1:]
	switch payload[0] {
	case recVolunteer:
		var v Volunteer
		if json.Unmarshal(rest, &v) != nil || m.volunteers[v.Name] != nil {
			return
		}
		if n, err := m.add(v.Name); err == nil {
			n.Volunteer = Volunteer{Name: v.Name, URL: v.URL, Addr: v.Addr, Seen: v.Seen, First: v.Seen}
		}
	case recForget:
		if v := m.volunteers[string(rest)]; v != nil {
			delete(m.volunteers, v.Name)
			m.holdings.clear(v.slot)
			m.bySlot[v.slot] = nil
		}
	case recDelta:
		r := reader{data: rest}
		v := m.volunteers[string(r.bytes(uint64(r.u32())))]
		h := content.Holdings{Base: int64(r.u64()), Version: int64(r.u64()), More: int(r.u64())}
		h.Added = r.bytes(uint64(r.u32()))
		h.Dropped = r.data
		if v != nil && !r.short && (h.Base == 0 || h.Base == v.Version) {
			m.apply(v, &h)
		}
	}
}

func sortUint64(s []uint64) { slices.Sort(s) }
