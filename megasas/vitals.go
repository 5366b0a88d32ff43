package megasas

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// driveRecord is what a drive counts over its life, which the NVRAM keeps for it.
type driveRecord struct {
	wwn    uint64
	serial string // at most 20 characters

	seen          uint64 // when it was put on record last, in seconds since 1970
	seconds       uint64 // powered on
	cycles        uint32 // of its power
	read, written uint64 // bytes
}

func (r *driveRecord) marshal() []byte {
	b := make([]byte, driveRecordLen)
	le := binary.LittleEndian
	for i, v := range []uint64{r.wwn, r.seen, r.seconds, r.read, r.written} {
		le.PutUint64(b[8*i:], v)
	}
	le.PutUint32(b[40:], r.cycles)
	copy(b[48:], r.serial)
	return b
}

func parseDriveRecord(b []byte) driveRecord {
	le := binary.LittleEndian
	serial := b[48:driveRecordLen]
	if i := slices.Index(serial, 0); i >= 0 {
		serial = serial[:i]
	}
	return driveRecord{
		wwn:     le.Uint64(b),
		seen:    le.Uint64(b[8:]),
		seconds: le.Uint64(b[16:]),
		read:    le.Uint64(b[24:]),
		written: le.Uint64(b[32:]),
		cycles:  le.Uint32(b[40:]),
		serial:  string(serial),
	}
}

// driveRecords are the records of drives that were there some time, also of
// those that are gone.
type driveRecords struct {
	mu      sync.Mutex
	records []driveRecord // guarded by mu
}

// maxDriveRecords bounds the records: the one that was not seen for longest goes
// first.
const maxDriveRecords = 2 * raid.MaxDrives

func (d *driveRecords) restore(list []driveRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records = list[:min(len(list), maxDriveRecords)]
}

// of returns the record of a drive, an empty one if it is new.
func (d *driveRecords) of(id raid.DriveIdentity) driveRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.records {
		if r.wwn == id.WWN && r.serial == id.Serial {
			return r
		}
	}
	return driveRecord{wwn: id.WWN, serial: id.Serial}
}

func (d *driveRecords) put(r driveRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.records, func(x driveRecord) bool { return x.wwn == r.wwn && x.serial == r.serial })
	if i < 0 && len(d.records) < maxDriveRecords {
		d.records = append(d.records, r)
		return
	}
	if i < 0 {
		for j := range d.records {
			if i < 0 || d.records[j].seen < d.records[i].seen {
				i = j
			}
		}
	}
	d.records[i] = r
}

func (d *driveRecords) list() []driveRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.records)
}

// vitals are how a drive is: what it has counted, how long it has been on and
// how warm it is.
type vitals struct {
	counters scsi.Counters
	before   driveRecord // as it was put in
	since    time.Time   // put in
	now      func() time.Time
	media    raid.MediaType

	mu    sync.Mutex
	heat  float64   // guarded by mu: degrees above idleTemperature
	moved uint64    // guarded by mu: bytes when it was measured
	at    time.Time // guarded by mu: when that was
}

// newVitals are those of a drive that gets power now.
func newVitals(id raid.DriveIdentity, before driveRecord, now func() time.Time) *vitals {
	before.cycles++
	start := now()
	return &vitals{before: before, since: start, now: now, media: id.Media, at: start}
}

// A drive at rest has idleTemperature. Under full load it comes closer to
// idleTemperature+loadHeating, most of the way in the time of heatingTime.
const (
	idleTemperature = 28 // degrees Celsius
	loadHeating     = 17
	heatingTime     = 3 * time.Minute
	fullLoad        = 200 << 20 // bytes a second
)

// temperature is in degrees Celsius: of what the drive has done, and when.
func (v *vitals) temperature() int {
	t := v.counters.Totals()
	moved := t.BytesRead + t.BytesWritten
	now := v.now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if d := now.Sub(v.at); d >= time.Second {
		load := min(1, float64(moved-v.moved)/d.Seconds()/fullLoad)
		toward := loadHeating * load
		v.heat = toward + (v.heat-toward)*math.Exp(-d.Seconds()/heatingTime.Seconds())
		v.moved, v.at = moved, now
	}
	return idleTemperature + int(math.Round(v.heat))
}

// poweredOn is the time with power in the drive's life.
func (v *vitals) poweredOn() time.Duration {
	return time.Duration(v.before.seconds)*time.Second + max(0, v.now().Sub(v.since))
}

// record is the drive's record as of now.
func (v *vitals) record() driveRecord {
	r := v.before
	t := v.counters.Totals()
	r.seen = uint64(max(0, v.now().Unix()))
	r.seconds = uint64(v.poweredOn() / time.Second)
	r.read += t.BytesRead
	r.written += t.BytesWritten
	return r
}

// health is what the drive's log pages tell.
func (v *vitals) health(id raid.DriveIdentity, controller uint64) scsi.Health {
	const maxTemperature, rate6G = 60, 10
	h := scsi.Health{
		Temperature:          v.temperature,
		ReferenceTemperature: maxTemperature,
		PowerOn:              v.poweredOn,
	}
	if id.Interface == raid.SAS {
		h.Ports = []scsi.SASPort{{
			Address: id.WWN, Attached: controller, AttachedPhy: id.Slot % 8, LinkRate: rate6G,
		}}
	}
	return h
}
