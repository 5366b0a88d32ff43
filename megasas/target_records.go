package megasas

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// target is what tells a target from others, from one life of the card to the next. A
// real disk keeps what it is told to save on its own medium; here the card's NVRAM
// does, and so it keeps it by this.
type target struct {
	volume bool     // or a drive
	name   [32]byte // the volume's NAA name, or the drive's WWN (8 bytes) and serial number
}

// driveTarget is the drive of an identity.
func driveTarget(id raid.DriveIdentity) (t target) {
	copy(t.name[:8], driveName(id))
	copy(t.name[8:], id.Serial)
	return t
}

// volumeTarget is the volume on a drive.
func (c *Controller) volumeTarget(id raid.DriveIdentity) target {
	t := target{volume: true}
	copy(t.name[:], c.volumeName(id))
	return t
}

// modeRecord is the mode parameters that a target was told to save.
type modeRecord struct {
	target target
	saved  scsi.ModeParameters
}

// modeRecordLen is the length of a modeRecord in the NVRAM: the target's name (32), the
// bits below (1), zero (7).
const modeRecordLen = 40

// Bits of records.
const (
	recordOfVolume = 1 << iota
	recordWriteCache
	recordDescriptorSense
	recordWriteProtect
)

func (r modeRecord) marshal() []byte {
	b := make([]byte, modeRecordLen)
	copy(b, r.target.name[:])
	for bit, set := range map[byte]bool{
		recordOfVolume: r.target.volume, recordWriteCache: r.saved.WriteCache,
		recordDescriptorSense: r.saved.DescriptorSense, recordWriteProtect: r.saved.WriteProtect,
	} {
		if set {
			b[32] |= bit
		}
	}
	return b
}

func parseModeRecord(b []byte) modeRecord {
	is := func(bit byte) bool { return b[32]&bit != 0 }
	return modeRecord{
		target: target{is(recordOfVolume), [32]byte(b)},
		saved: scsi.ModeParameters{
			WriteCache: is(recordWriteCache), DescriptorSense: is(recordDescriptorSense), WriteProtect: is(recordWriteProtect),
		},
	}
}

// reservationRecord is the registrations and the persistent reservation of a target
// that outlive the loss of power.
type reservationRecord struct {
	target target
	saved  scsi.ReservationState
}

// reservationRecordLen is the length of a reservationRecord in the NVRAM: the target's
// name (32), recordOfVolume (1), the type of the reservation (1), zero (6), the key, and
// SAS address and key of the other registrant (8 bytes each).
const reservationRecordLen = 64

func (r reservationRecord) marshal() []byte {
	b := make([]byte, 40, reservationRecordLen)
	copy(b, r.target.name[:])
	if r.target.volume {
		b[32] = recordOfVolume
	}
	b[33] = r.saved.Held
	le := binary.LittleEndian
	for _, v := range []uint64{r.saved.Key, r.saved.OtherInitiator, r.saved.OtherKey} {
		b = le.AppendUint64(b, v)
	}
	return b
}

func parseReservationRecord(b []byte) reservationRecord {
	le := binary.LittleEndian
	return reservationRecord{
		target: target{b[32]&recordOfVolume != 0, [32]byte(b)},
		saved: scsi.ReservationState{
			Held: b[33], Key: le.Uint64(b[40:]), OtherInitiator: le.Uint64(b[48:]), OtherKey: le.Uint64(b[56:]), Persist: true,
		},
	}
}

func (r modeRecord) of() target        { return r.target }
func (r reservationRecord) of() target { return r.target }

// targetRecords are records of targets, also of those that are gone, one for each: the
// one that was made last is the last.
type targetRecords[R interface{ of() target }] struct {
	mu      sync.Mutex
	records []R // guarded by mu; their array does not change
}

// maxTargetRecords bounds the records: the one that was made first goes first.
const maxTargetRecords = 2*raid.MaxDrives + raid.MaxVolumes

func (m *targetRecords[R]) restore(list []R) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = list[max(0, len(list)-maxTargetRecords):]
}

func (m *targetRecords[R]) list() []R {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records
}

// of returns the record of a target, or nil.
func (m *targetRecords[R]) of(t target) *R {
	for _, r := range m.list() {
		if r.of() == t {
			return &r
		}
	}
	return nil
}

// replace makes r the record of a target; nil is none.
func (m *targetRecords[R]) replace(t target, r *R) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = slices.DeleteFunc(slices.Clone(m.records), func(x R) bool { return x.of() == t })
	if r != nil {
		m.records = append(m.records, *r)
	}
	m.records = m.records[max(0, len(m.records)-maxTargetRecords):]
}

// keep makes r the record of a target, also in the NVRAM: if that fails, the record is
// the one before.
func keep[R interface{ of() target }](c *Controller, m *targetRecords[R], t target, r *R) error {
	before := m.of(t)
	m.replace(t, r)
	err := c.saveNVRAM(false)
	if err != nil {
		m.replace(t, before)
	}
	return err
}

// remembering has a target save what it is told to in its records.
func (c *Controller) remembering(u *scsi.UnitConfig, t target) {
	n := &c.nvram
	if r := n.modes.of(t); r != nil {
		u.SavedMode = &r.saved
	}
	u.SaveMode = func(p scsi.ModeParameters) error { return keep(c, &n.modes, t, &modeRecord{t, p}) }
	if r := n.reservations.of(t); r != nil {
		u.SavedReservation = &r.saved
	}
	u.SaveReservation = func(x *scsi.ReservationState) error {
		if x == nil {
			return keep(c, &n.reservations, t, nil)
		}
		return keep(c, &n.reservations, t, &reservationRecord{t, *x})
	}
}

// forget forgets what a target was told to save.
func (c *Controller) forget(t target) {
	c.nvram.modes.replace(t, nil)
	c.nvram.reservations.replace(t, nil)
}
