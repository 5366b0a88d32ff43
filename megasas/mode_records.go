package megasas

import (
	"slices"
	"sync"

	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// modeRecord is the mode parameters that an initiator had a target save. A real disk
// keeps its own on its medium; here the card's NVRAM does, and so it keeps them by
// what tells one target from others.
type modeRecord struct {
	volume bool     // or a drive
	key    [32]byte // the volume's NAA name, or the drive's WWN (8 bytes) and serial number
	saved  scsi.ModeParameters
}

// modeRecordLen is the length of a modeRecord in the NVRAM: key (32), the bits below
// (1), zero (7).
const modeRecordLen = 40

// Bits of a record.
const (
	modeOfVolume = 1 << iota
	modeWriteCache
	modeDescriptorSense
	modeWriteProtect
)

func (r *modeRecord) marshal() []byte {
	b := make([]byte, modeRecordLen)
	copy(b, r.key[:])
	for bit, set := range map[byte]bool{
		modeOfVolume: r.volume, modeWriteCache: r.saved.WriteCache,
		modeDescriptorSense: r.saved.DescriptorSense, modeWriteProtect: r.saved.WriteProtect,
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
		volume: is(modeOfVolume),
		key:    [32]byte(b),
		saved: scsi.ModeParameters{
			WriteCache: is(modeWriteCache), DescriptorSense: is(modeDescriptorSense), WriteProtect: is(modeWriteProtect),
		},
	}
}

// modeRecords are the records of targets, also of those that are gone: the one that
// was saved last is the last.
type modeRecords struct {
	mu      sync.Mutex
	records []modeRecord // guarded by mu
}

// maxModeRecords bounds the records: the one that was saved first goes first.
const maxModeRecords = 2*raid.MaxDrives + raid.MaxVolumes

func (m *modeRecords) restore(list []modeRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = list[max(0, len(list)-maxModeRecords):]
}

func (m *modeRecords) list() []modeRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

// of returns what the target of a record saved last, or nil.
func (m *modeRecords) of(r modeRecord) *scsi.ModeParameters {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, x := range m.records {
		if x.volume == r.volume && x.key == r.key {
			return &x.saved
		}
	}
	return nil
}

func (m *modeRecords) put(r modeRecord) {
	m.drop(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, r)
	m.records = m.records[max(0, len(m.records)-maxModeRecords):]
}

// drop forgets what the target of a record saved.
func (m *modeRecords) drop(r modeRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = slices.DeleteFunc(m.records, func(x modeRecord) bool { return x.volume == r.volume && x.key == r.key })
}

// driveMode is the record of a drive, without parameters.
func driveMode(id raid.DriveIdentity) (r modeRecord) {
	copy(r.key[:8], driveName(id))
	copy(r.key[8:], id.Serial)
	return r
}

// volumeMode is the record of the volume on a drive, without parameters.
func (c *Controller) volumeMode(id raid.DriveIdentity) modeRecord {
	r := modeRecord{volume: true}
	copy(r.key[:], c.volumeName(id))
	return r
}

// savedMode has a target save its mode parameters in its record.
func (c *Controller) savedMode(u *scsi.UnitConfig, r modeRecord) {
	u.SavedMode = c.nvram.modes.of(r)
	u.SaveMode = func(p scsi.ModeParameters) error {
		before := c.nvram.modes.of(r)
		r.saved = p
		c.nvram.modes.put(r)
		err := c.saveNVRAM(false)
		if err != nil { // they are not saved
			if c.nvram.modes.drop(r); before != nil {
				r.saved = *before
				c.nvram.modes.put(r)
			}
		}
		return err
	}
}
