package megasas

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// addDrive takes in a drive and puts it to its use.
func (c *Controller) addDrive(cfg DriveConfig) error {
	if cfg.Drive == nil {
		return errNoDrive
	}
	d, err := c.set.AddDrive(cfg.Drive)
	if err != nil {
		return err
	}
	id := d.Identity()
	unit, err := scsi.NewUnit(scsi.UnitConfig{
		Medium: d,
		Identity: scsi.Identity{
			Vendor:   id.Vendor,
			Product:  id.Product,
			Revision: id.Revision,
			Serial:   id.Serial,
			NAA:      driveName(id),
		},
		RotationRate: rotation(id),
		WriteBack:    true, // a drive's own cache; the host flushes it
		Limits:       scsi.Limits{MaxTransfer: c.p.MaxRequestSectors},
	})
	if err != nil {
		return err
	}
	c.physicals[d.DeviceID()].Store(&physical{d, unit})
	if cfg.System {
		return c.set.SetDriveState(d.DeviceID(), raid.System)
	}
	return c.addVolume(d, cfg)
}

// addVolume makes a volume of one drive.
func (c *Controller) addVolume(d *raid.PhysicalDrive, cfg DriveConfig) error {
	v, err := c.set.CreateVolume(raid.VolumeConfig{
		Name:   cfg.Name,
		Level:  raid.RAID0,
		Drives: []uint16{d.DeviceID()},
		Cache:  cfg.Cache,
	})
	if err != nil {
		return err
	}
	id := d.Identity()
	name := c.volumeName(id)
	unit, err := scsi.NewUnit(scsi.UnitConfig{
		Medium: v,
		Identity: scsi.Identity{
			Vendor:   c.p.VolumeVendor,
			Product:  c.p.VolumeProduct,
			Revision: c.p.VolumeRevision,
			Serial:   hex.EncodeToString(name),
			NAA:      name,
		},
		RotationRate: rotation(id),
		WriteBack:    cfg.Cache == raid.WriteBack,
		Limits:       scsi.Limits{MaxTransfer: c.p.MaxRequestSectors},
	})
	if err != nil {
		return err
	}
	c.logicals[v.Target()].Store(&logical{v, unit})
	return nil
}

// driveName is a drive's NAA name, if it has one.
func driveName(id raid.DriveIdentity) []byte {
	if id.WWN == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, id.WWN)
}

// volumeName is the NAA name of the volume on a drive: the card maker's number,
// then what tells this controller from others, then what tells the drive from
// others. It stays the same as long as these do.
func (c *Controller) volumeName(id raid.DriveIdentity) []byte {
	h := fnv.New64a()
	fmt.Fprintf(h, "%016x %d %d %s", id.WWN, id.Enclosure, id.Slot, id.Serial)
	name := []byte{0x60, 0x06, 0x05, 0xb0} // NAA 6, LSI
	name = binary.BigEndian.AppendUint32(name, uint32(c.sas))
	return h.Sum(name)
}

// rotation is a drive's rotation rate as SCSI has it.
func rotation(id raid.DriveIdentity) uint16 {
	if id.Media == raid.SolidState {
		return 1
	}
	return 7200
}

// ioFailed tells of I/O that the host could not do for a frame: in the host's
// log, and in the controller's.
func (c *Controller) ioFailed(f mfi.Frame, cause error) {
	if !c.failures.allow(c.now()) {
		return
	}
	c.log.Error("I/O failed", "cmd", f.Cmd().String(), "target", f.Target(), "err", cause)
	id := uint16(f.Target())
	if f.Cmd() != mfi.CmdPDSCSIIO {
		id = c.memberOf(f.Target())
	}
	v := c.set.View()
	if d, ok := v.Drive(id); ok {
		c.logDriveError(d, cause)
	}
}

// memberOf is the drive under a volume.
func (c *Controller) memberOf(target uint8) uint16 {
	v := c.set.View()
	l, _ := v.Volume(target)
	for _, a := range v.Arrays {
		if a.Ref == l.Array && len(a.Drives) > 0 {
			return a.Drives[0]
		}
	}
	return mfi.NoDevice
}
