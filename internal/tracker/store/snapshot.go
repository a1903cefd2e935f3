package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/prsync/prsync/internal/content"
	"github.com/prsync/prsync/internal/fsroot"
)

// What is kept in the state dir:
//
//	tracker.snapshot   magic, u64 sequence, u32 length and JSON of the
//	                   volunteers in slot order, u32 words per row, u64 rows,
//	                   per row the content id and its bits, SHA-256 of it all
//	tracker-N.journal  changes since the snapshot with sequence N
//
// Numbers are little-endian. A snapshot is written beside the old one, synced
// and renamed. Replay applies a delta only to the version it was made for, so
// that a lost or torn record costs a volunteer a full statement, never a wrong
// entry. Peers of swarms are not kept: they announce again within seconds.
const (
	snapshotMagic = "prsync tracker 1\n"
	snapshotName  = "tracker.snapshot"
	journalName   = "tracker-%d.journal"
)

// ErrBadSnapshot is wrapped when a snapshot cannot be used.
var ErrBadSnapshot = errors.New("damaged tracker snapshot")

type storedVolunteer struct {
	Volunteer
	Issued int64 `json:"issued"`
	Free   bool  `json:"free,omitempty"` // the slot is not taken
}

// Open returns a store that is kept in dir: what a snapshot and the journals
// there say, with no volunteer Confirmed. A damaged snapshot is reported as
// err (wrapping ErrBadSnapshot) beside a usable empty store, since announces
// rebuild everything; any other error comes with a nil store.
func Open(dir string) (*Memory, error) {
	m := New()
	seq, err := m.load(filepath.Join(dir, snapshotName))
	var damaged error
	if errors.Is(err, ErrBadSnapshot) {
		damaged, m = err, New()
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	m.dir = dir
	last := seq
	for _, n := range journals(dir) {
		if n >= seq {
			if err := m.replay(filepath.Join(dir, fmt.Sprintf(journalName, n))); err != nil {
				return nil, err
			}
		}
		last = max(last, n)
	}
	m.journal = &journal{seq: last}
	for _, v := range m.volunteers {
		v.Confirmed = false
	}
	if err := m.Save(context.Background()); err != nil {
		return nil, err
	}
	return m, damaged
}

// journals lists the sequence numbers of the journals in dir, ascending.
func journals(dir string) []uint64 {
	names, _ := filepath.Glob(filepath.Join(dir, "tracker-*.journal"))
	var out []uint64
	for _, n := range names {
		var q uint64
		if _, err := fmt.Sscanf(filepath.Base(n), journalName, &q); err == nil {
			out = append(out, q)
		}
	}
	sortUint64(out)
	return out
}

// Save implements Store: it writes a snapshot and starts a new journal.
func (m *Memory) Save(ctx context.Context) error {
	if m.journal == nil {
		return nil
	}
	m.gate.Lock()
	seq := m.journal.seq + 1
	err := m.journal.rotate(filepath.Join(m.dir, fmt.Sprintf(journalName, seq)), seq)
	var data []byte
	if err == nil {
		data, err = m.encode(seq)
	}
	m.gate.Unlock()
	if err != nil {
		return fmt.Errorf("tracker snapshot: %w", err)
	}
	if err := fsroot.ReplacePath(filepath.Join(m.dir, snapshotName), data, 0o600); err != nil {
		return fmt.Errorf("tracker snapshot: %w", err)
	}
	for _, n := range journals(m.dir) {
		if n < seq {
			os.Remove(filepath.Join(m.dir, fmt.Sprintf(journalName, n)))
		}
	}
	return ctx.Err()
}

// Close implements Store, with a last snapshot.
func (m *Memory) Close() error {
	if m.journal == nil {
		return nil
	}
	err := m.Save(context.Background())
	return errors.Join(err, m.journal.close())
}

// encode returns a snapshot; m.gate is held for writing.
func (m *Memory) encode(seq uint64) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	vols := make([]storedVolunteer, len(m.bySlot))
	for i, v := range m.bySlot {
		if v == nil {
			vols[i].Free = true
			continue
		}
		vols[i] = storedVolunteer{Volunteer: v.Volunteer, Issued: v.issued}
	}
	js, err := json.Marshal(vols)
	if err != nil {
		return nil, err
	}
	width, rows := m.holdings.size()
	buf := make([]byte, 0, len(snapshotMagic)+24+len(js)+rows*(len(content.ID{})+8*width)+sha256.Size)
	buf = append(buf, snapshotMagic...)
	buf = binary.LittleEndian.AppendUint64(buf, seq)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(js)))
	buf = append(buf, js...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(width))
	buf = binary.LittleEndian.AppendUint64(buf, uint64(rows))
	buf = m.holdings.append(buf)
	sum := sha256.Sum256(buf)
	return append(buf, sum[:]...), nil
}

// load reads a snapshot into an empty store.
func (m *Memory) load(file string) (seq uint64, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	bad := func(what string) (uint64, error) {
		return 0, fmt.Errorf("%s: %w: %s; volunteers will be asked for everything again", file, ErrBadSnapshot, what)
	}
	n := len(data) - sha256.Size
	if n < len(snapshotMagic) || string(data[:len(snapshotMagic)]) != snapshotMagic {
		return bad("unknown format")
	}
	if sum := sha256.Sum256(data[:n]); !bytes.Equal(sum[:], data[n:]) {
		return bad("checksum mismatch")
	}
	r := reader{data: data[len(snapshotMagic):n]}
	seq = r.u64()
	var vols []storedVolunteer
	if err := json.Unmarshal(r.bytes(uint64(r.u32())), &vols); r.short || err != nil || len(vols) > MaxVolunteers {
		return bad("volunteers are unreadable")
	}
	width, rows := int(r.u32()), r.u64()
	if r.short || width < 1 || width > MaxVolunteers/64 || uint64(len(r.data)) != rows*uint64(len(content.ID{})+8*width) {
		return bad("holdings are unreadable")
	}
	m.holdings.widen(width * 64)
	for i := range vols {
		v := &volunteer{slot: i, Volunteer: vols[i].Volunteer, issued: vols[i].Issued}
		if vols[i].Free {
			m.bySlot = append(m.bySlot, nil)
			continue
		}
		m.bySlot = append(m.bySlot, v)
		m.volunteers[v.Name] = v
	}
	for range rows {
		id := content.ID(r.bytes(uint64(len(content.ID{}))))
		m.holdings.put(id, width, r.bytes(uint64(8*width)))
	}
	return seq, nil
}

// reader consumes a byte slice; short sticks.
type reader struct {
	data  []byte
	short bool
}

func (r *reader) bytes(n uint64) []byte {
	if r.short || n > uint64(len(r.data)) {
		r.short = true
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}
