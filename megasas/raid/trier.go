package raid

import "github.com/govmm/govmm/scsi"

// Trier makes transfers to the drive that need not wait. It is nil if the drive's
// medium can't tell.
func (d *PhysicalDrive) Trier() scsi.Trier {
	t, ok := besides[scsi.Trier](d.Drive)
	if !ok {
		return nil
	}
	return driveTrier{d, t}
}

// driveTrier passes through the drive's gate like all other I/O.
type driveTrier struct {
	d *PhysicalDrive
	t scsi.Trier
}

// TryReadV implements scsi.Trier.
func (t driveTrier) TryReadV(bufs [][]byte, off int64) bool {
	if !t.d.gate.enter() {
		return false
	}
	defer t.d.gate.leave()
	return t.t.TryReadV(bufs, off)
}

// TryWriteV implements scsi.Trier.
func (t driveTrier) TryWriteV(bufs [][]byte, off int64) bool {
	if !t.d.gate.enter() {
		return false
	}
	defer t.d.gate.leave()
	return t.t.TryWriteV(bufs, off)
}

// Trier makes transfers to the volume that need not wait. It is nil if its drive
// can't tell.
func (v *Volume) Trier() scsi.Trier {
	t := v.member().Trier()
	if t == nil {
		return nil
	}
	return volumeTrier{v, t}
}

type volumeTrier struct {
	v *Volume
	t scsi.Trier
}

// TryReadV implements scsi.Trier.
func (t volumeTrier) TryReadV(bufs [][]byte, off int64) bool {
	if t.v.enter() != nil {
		return false
	}
	defer t.v.gate.leave()
	return t.t.TryReadV(bufs, off)
}

// TryWriteV implements scsi.Trier.
func (t volumeTrier) TryWriteV(bufs [][]byte, off int64) bool {
	if t.v.enter() != nil {
		return false
	}
	defer t.v.gate.leave()
	return t.t.TryWriteV(bufs, off)
}
