package megasas

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// AddDrive puts a drive into its slot and puts it to its use: it becomes a system
// drive, or a volume is made on it. The guest is told by events, and needs no
// rescan. It may be called at any time; the result is the drive's device id.
func (c *Controller) AddDrive(cfg DriveConfig) (id uint16, err error) {
	if cfg.Drive == nil {
		return 0, errNoDrive
	}
	d, err := c.set.AddDrive(cfg.Drive, func(d *raid.PhysicalDrive) error { return c.exposeDrive(d, cfg.OnError) })
	if err != nil {
		return 0, err
	}
	id = d.DeviceID()
	if cfg.System {
		err = c.set.SetDriveState(id, raid.AnySequence, raid.System)
	} else {
		_, err = c.CreateVolume(raid.VolumeConfig{Name: cfg.Name, Drives: []uint16{id}, Cache: cfg.Cache})
	}
	if err != nil {
		return 0, errors.Join(err, c.RemoveDrive(id))
	}
	return id, nil
}

// RemoveDrive pulls a drive out of its slot. Commands that are at work on it end
// first; when RemoveDrive has returned, the drive is not used any more. A volume
// on it goes offline and stays so until DeleteVolume. The guest is told by
// events. It does not flush the drive.
func (c *Controller) RemoveDrive(id uint16) error {
	if int(id) >= len(c.physicals) {
		return fmt.Errorf("drive %d: %w", id, raid.ErrNotFound)
	}
	pd := c.physicals[id].Load()
	if err := c.set.RemoveDrive(id); err != nil {
		return err
	}
	if pd != nil {
		pd.unit.Close()
		c.nvram.records.put(pd.vitals.record())
	}
	c.physicals[id].CompareAndSwap(pd, nil) // unless a new drive is there already
	c.pausing.orphan(id)
	return nil
}

// CreateVolume makes a volume of drives that are unconfigured good, and returns
// its target id. The guest is told by an event.
func (c *Controller) CreateVolume(cfg raid.VolumeConfig) (target uint8, err error) {
	list, err := c.createVolumes([]raid.VolumeConfig{cfg})
	if err != nil {
		return 0, err
	}
	return list[0].Target(), nil
}

// createVolumes makes several volumes, all or none.
func (c *Controller) createVolumes(configs []raid.VolumeConfig) ([]*raid.Volume, error) {
	c.settings.changing.Lock() // the battery stays as it is
	defer c.settings.changing.Unlock()
	var exposed []*logical
	list, err := c.set.CreateVolumes(configs, func(v *raid.Volume, cfg raid.VolumeConfig) error {
		ld, err := c.exposeVolume(v, cfg)
		if err == nil {
			exposed = append(exposed, ld)
		}
		return err
	})
	if err != nil {
		for _, ld := range exposed {
			c.logicals[ld.volume.Target()].CompareAndSwap(ld, nil)
		}
	}
	return list, err
}

// DeleteVolume deletes a volume, and frees its drives. Commands that are at work
// on it end first. The guest is told by an event.
func (c *Controller) DeleteVolume(target uint8) error {
	if v := c.set.Volume(target); v != nil {
		if w := v.Work(); w != nil { // an initialization is of no use any more
			w.Abort()
			w.Wait()
		}
	}
	return c.deleteVolume(target, raid.AnySequence)
}

func (c *Controller) deleteVolume(target uint8, seq int) error {
	if int(target) >= len(c.logicals) {
		return fmt.Errorf("volume %d: %w", target, raid.ErrNotFound)
	}
	ld := c.logicals[target].Load()
	if err := c.set.DeleteVolume(target, seq); err != nil {
		return err
	}
	if ld != nil {
		ld.unit.Close()
		c.forget(c.volumeTarget(ld.volume.Drive().Identity()))
	}
	c.logicals[target].CompareAndSwap(ld, nil) // unless a new volume is there already
	return nil
}

// exposeDrive makes a SCSI target of a drive that gets power.
func (c *Controller) exposeDrive(d *raid.PhysicalDrive, policy ErrorPolicy) error {
	id := d.Identity()
	_, err := c.newPhysical(d, newVitals(id, c.nvram.records.of(id), c.now), policy)
	return err
}

// newPhysical makes a SCSI target of a drive with its vitals.
func (c *Controller) newPhysical(d *raid.PhysicalDrive, v *vitals, policy ErrorPolicy) (*physical, error) {
	id := d.Identity()
	config := scsi.UnitConfig{
		Medium: d,
		Mapper: d.Mapper(),
		Trier:  d.Trier(),
		Identity: scsi.Identity{
			Vendor:   id.Vendor,
			Product:  id.Product,
			Revision: id.Revision,
			Serial:   id.Serial,
			NAA:      driveName(id),
		},
		BlockSize:         id.BlockSize,
		PhysicalBlockSize: id.PhysicalBlockSize,
		RotationRate:      rotation(id),
		WriteBack:         true, // a drive's own cache; the host flushes it
		Initiator:         c.sas,
		ATA:               ataOf(id, v.before),
		Health:            v.health(id, c.sas),
		Counters:          &v.counters,
		CDROM:             id.Media == raid.Optical,
		Limits:            scsi.Limits{MaxTransfer: c.maxBlocks(id)},
	}
	c.remembering(&config, driveTarget(id))
	unit, err := scsi.NewUnit(config)
	if err != nil {
		return nil, err
	}
	pd := &physical{drive: d, unit: unit, vitals: v, onError: policy}
	c.physicals[d.DeviceID()].Store(pd)
	return pd, nil
}

// exposeVolume makes a SCSI target of a volume that is made.
func (c *Controller) exposeVolume(v *raid.Volume, cfg raid.VolumeConfig) (*logical, error) {
	return c.newLogical(v, c.cacheInForce(cfg.Cache) == raid.WriteBack)
}

// newLogical makes a SCSI target of a volume.
func (c *Controller) newLogical(v *raid.Volume, writeBack bool) (*logical, error) {
	member := v.Drive()
	id := member.Identity()
	counters := new(scsi.Counters) // of a drive that was removed, nobody asks
	if pd := c.physicals[member.DeviceID()].Load(); pd != nil && pd.drive == member {
		counters = &pd.vitals.counters // what the volume moves, its drive moves
	}
	name := c.volumeName(id)
	identity := scsi.Identity{
		Vendor:   c.p.VolumeVendor,
		Product:  c.p.VolumeProduct,
		Revision: c.p.VolumeRevision,
		Serial:   hex.EncodeToString(name),
		NAA:      name,
	}
	if id.Media == raid.Optical {
		// The disc is no volume. It has a volume's target id, because that is
		// where firmware which boots from the controller looks for it.
		identity.Vendor, identity.Product, identity.Revision = id.Vendor, id.Product, id.Revision
	}
	config := scsi.UnitConfig{
		Medium:   v,
		Mapper:   v.Mapper(),
		Trier:    v.Trier(),
		Identity: identity,
		CDROM:    id.Media == raid.Optical,
		// A volume has the blocks of its drives.
		BlockSize:         id.BlockSize,
		PhysicalBlockSize: id.PhysicalBlockSize,
		RotationRate:      rotation(id),
		WriteBack:         writeBack,
		Initiator:         c.sas,
		Counters:          counters,
		// The cache is the controller's, and the volume's property rules it.
		FixedWriteCache: true,
		Limits:          scsi.Limits{MaxTransfer: c.maxBlocks(id)},
	}
	c.remembering(&config, c.volumeTarget(id))
	unit, err := scsi.NewUnit(config)
	if err != nil {
		return nil, err
	}
	ld := &logical{volume: v, unit: unit}
	c.logicals[v.Target()].Store(ld)
	return ld, nil
}

// opticalBlock is a block of a CD-ROM in bytes.
const opticalBlock = 2048

// maxBlocks is how many of its logical blocks can be moved to or from a drive in one
// frame.
func (c *Controller) maxBlocks(id raid.DriveIdentity) uint32 {
	size := max(id.BlockSize, raid.BlockSize)
	if id.Media == raid.Optical {
		size = opticalBlock
	}
	return c.p.MaxRequestSectors / (size / raid.BlockSize)
}

// ataOf makes a SATA drive what it is to ATA commands.
func ataOf(id raid.DriveIdentity, before driveRecord) *scsi.ATA {
	if id.Interface != raid.SATA {
		return nil
	}
	return &scsi.ATA{
		Model:    id.Product,
		Serial:   id.Serial,
		Firmware: id.Revision,
		Life:     scsi.Life{BytesRead: before.read, BytesWritten: before.written, PowerCycles: before.cycles},
	}
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
	switch id.Media {
	case raid.SolidState:
		return 1
	case raid.Optical:
		return 0
	}
	return 7200
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
