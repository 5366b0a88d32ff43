package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// Limits of the family, whatever is configured.
const (
	maxArms        = 32 // drives in an array
	maxSpans       = 8
	maxArrays      = 128
	maxLDsPerArray = 1
)

// controllerInfo is CTRL_GET_INFO.
func controllerInfo(c *Controller, r *request) mfi.Status {
	v := c.set.View()
	p := &c.p
	x := mfi.ControllerInfo{
		Vendor:            p.Vendor,
		Device:            p.Device,
		SubVendor:         p.SubVendor,
		SubDevice:         p.SubDevice,
		HostInterface:     mfi.HostInterfacePCIe,
		DeviceInterface:   mfi.DeviceInterfaceSAS,
		DevicePorts:       ports(&v),
		Components:        p.Components,
		MaxArms:           maxArms,
		MaxSpans:          maxSpans,
		MaxArrays:         maxArrays,
		MaxLDs:            raid.MaxVolumes,
		ProductName:       p.Product,
		Serial:            c.serial,
		HWPresent:         mfi.HWNVRAM | mfi.HWMemory | mfi.HWFlash,
		Time:              mfi.Seconds(c.clock.now()),
		MaxCommands:       p.Limits.MaxCommands,
		MaxSGE:            uint16(p.Limits.MaxSGE),
		MaxRequestSectors: p.MaxRequestSectors,
		LDsPresent:        uint16(len(v.Volumes)),
		PDsPresent:        uint16(len(v.Drives)),
		PDDisksPresent:    uint16(len(v.Drives)),
		NVRAMKiB:          p.NVRAMKiB,
		MemoryMiB:         p.MemoryMiB,
		FlashMiB:          p.FlashMiB,
		MaxStripsPerIO:    p.MaxStripsPerIO,
		RAIDLevels:        mfi.RAIDLevel0,
		StripeMin:         p.StripeMin,
		StripeMax:         p.StripeMax,
		PDMix:             pdMix,
		Properties:        c.settings.properties(),
		PackageVersion:    p.PackageVersion,
		MaxPDs:            raid.MaxDrives,
		MaxLDsPerArray:    maxLDsPerArray,
		MaxTarget:         raid.MaxVolumes - 1,
		CacheMiB:          p.MemoryMiB,
		AdapterOps2:       mfi.AdapterOps2JBOD,
		MaxConfigPDs:      raid.MaxDrives,
	}
	if c.Battery() != NoBattery {
		x.HWPresent |= mfi.HWBattery
		x.AdapterOps |= mfi.AdapterOpsBattery
	}
	x.Levels[mfi.LimitsRAID0] = mfi.LevelLimits{Min: 1, Max: maxArms}
	for _, d := range v.Drives {
		if d.State == raid.Failed {
			x.PDDisksFail++
		}
	}
	for _, l := range v.Volumes {
		switch l.State {
		case raid.VolumeOffline:
			x.LDsOffline++
		case raid.VolumeDegraded:
			x.LDsDegraded++
		}
	}
	return r.putOrRefuse(x.Marshal())
}

// pdMix says which drives may be mixed: SAS and SATA, in an enclosure and in a
// volume.
const pdMix = 0x0f

// ports is the SAS address that is attached to each of the card's eight phys.
func ports(v *raid.View) []uint64 {
	p := make([]uint64, 8)
	for _, d := range v.Drives {
		if slot := int(d.Identity.Slot); slot < len(p) {
			p[slot] = d.Identity.WWN
		}
	}
	return p
}

// cacheFlush is CTRL_CACHE_FLUSH. Whichever of the caches the guest names, all
// data becomes durable.
func cacheFlush(_ *Controller, r *request) mfi.Status {
	return r.flush(mfi.StatusFlushFailed)
}

// shutdown is CTRL_SHUTDOWN. The firmware goes on: the guest may power off, or
// load its driver again.
func shutdown(c *Controller, r *request) mfi.Status {
	if !r.again {
		c.logShutdown()
	}
	return c.rest(r)
}

// hibernate is CTRL_HIBERNATE_SHUTDOWN, sent before the machine is suspended.
func hibernate(c *Controller, r *request) mfi.Status { return c.rest(r) }

// rest makes all data durable, and spins the drives down if the guest wants that
// (FreeBSD's mfireg.h: MFI_SHUTDOWN_SPINDOWN). They turn again when they are used,
// also by a volume.
func (c *Controller) rest(r *request) mfi.Status {
	if s := r.flush(mfi.StatusShutdownFailed); s != mfi.StatusOK {
		return s
	}
	if box := r.frame.Mailbox(); box[0]&mfi.ShutdownSpinDown == 0 {
		return mfi.StatusOK
	}
	for i := range c.physicals {
		if pd := c.physicals[i].Load(); pd != nil && pd.drive.Identity().Media != raid.Optical {
			pd.unit.StandBy()
		}
	}
	return mfi.StatusOK
}

// flush makes all data durable. If that fails on a drive whose policy is to stop, the
// frame is carried out again later, whatever the others' is.
func (r *request) flush(failed mfi.Status) mfi.Status {
	status := mfi.StatusOK
	r.c.set.FlushEach(func(id uint16, err error) {
		if r.driveFailed(id, true, true, err) == ReportError {
			status = failed
		}
	})
	return status
}
