package raid

import "github.com/govmm/govmm/scsi"

// Mapper tells which of the drive's bytes have storage behind them. It is nil if
// the drive's medium does not know.
func (d *PhysicalDrive) Mapper() scsi.Mapper {
	m, ok := besides[scsi.Mapper](d.Drive)
	if !ok {
		return nil
	}
	return driveMapper{d, m}
}

// besides finds what a Drive can do beyond being one, or the medium that NewDrive
// made it of.
func besides[T any](d Drive) (t T, ok bool) {
	if made, is := d.(drive); is {
		t, ok = made.Medium.(T)
	} else {
		t, ok = d.(T)
	}
	return t, ok
}

// driveMapper passes through the drive's gate like all other I/O.
type driveMapper struct {
	d *PhysicalDrive
	m scsi.Mapper
}

// Allocated implements scsi.Mapper.
func (m driveMapper) Allocated(off, n int64) (allocated bool, length int64, err error) {
	if !m.d.gate.enter() {
		return false, 0, ErrRemoved
	}
	defer m.d.gate.leave()
	return m.m.Allocated(off, n)
}

// Mapper tells which of the volume's bytes have storage behind them. It is nil
// if its drive does not know.
func (v *Volume) Mapper() scsi.Mapper {
	m := v.member().Mapper()
	if m == nil {
		return nil
	}
	return volumeMapper{v, m}
}

type volumeMapper struct {
	v *Volume
	m scsi.Mapper
}

// Allocated implements scsi.Mapper.
func (m volumeMapper) Allocated(off, n int64) (allocated bool, length int64, err error) {
	if err := m.v.enter(); err != nil {
		return false, 0, err
	}
	allocated, length, err = m.m.Allocated(off, n)
	return allocated, length, m.v.leave(err)
}
