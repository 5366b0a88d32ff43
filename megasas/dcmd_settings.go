package megasas

import (
	"slices"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// controllerProperties is CTRL_GET_PROPERTIES.
func controllerProperties(c *Controller, r *request) mfi.Status {
	x := c.settings.properties()
	return r.putOrRefuse(x.Marshal())
}

// setControllerProperties is CTRL_SET_PROPERTIES.
func setControllerProperties(c *Controller, r *request) mfi.Status {
	var p [mfi.ControllerPropertiesLen]byte
	if err := r.take(p[:]); err != nil {
		return r.refuse(err)
	}
	v := c.set.View()
	system := slices.ContainsFunc(v.Drives, func(d raid.DriveStatus) bool { return d.State == raid.System })
	status := c.settings.setProperties(mfi.ParseControllerProperties(&p), system)
	if status != mfi.StatusOK {
		return status
	}
	c.logPropertiesChanged()
	return c.remember()
}

// manufacturingDefaults is CTRL_MFC_DEFAULTS_GET.
func manufacturingDefaults(c *Controller, r *request) mfi.Status {
	f := factoryProperties()
	x := mfi.ManufacturingDefaults{
		SASAddress:       c.sas,
		BackgroundRate:   f.BGIRate,
		StripeSize:       raid.DefaultStripe,
		FlushSeconds:     f.CacheFlushInterval,
		CachedIO:         true, // as cacheBits has it
		AlarmDisabled:    !f.AlarmEnable,
		Coercion:         f.CoercionMode,
		MixInEnclosure:   true, // as pdMix has it
		MixInLD:          true,
		ExposeEnclosures: f.ExposeEnclosures,
	}
	return r.putOrRefuse(x.Marshal())
}

// biosData is CTRL_BIOS_DATA_GET.
func biosData(c *Controller, r *request) mfi.Status {
	x := c.settings.biosData()
	return r.putOrRefuse(x.Marshal())
}

// setBIOSData is CTRL_BIOS_DATA_SET. What it boots from must be there.
func setBIOSData(c *Controller, r *request) mfi.Status {
	var p [mfi.BIOSDataLen]byte
	if err := r.take(p[:]); err != nil {
		return r.refuse(err)
	}
	x := mfi.ParseBIOSData(&p)
	if x.BootTarget >= raid.MaxVolumes || c.set.Volume(uint8(x.BootTarget)) == nil {
		return mfi.StatusDeviceNotFound
	}
	c.settings.setBIOSData(x)
	return c.remember()
}

// patrolStatus is CTRL_PR_GET_STATUS. There are no patrol reads.
func patrolStatus(_ *Controller, r *request) mfi.Status {
	return r.putOrRefuse(mfi.PatrolStatus{State: mfi.PatrolStopped}.Marshal())
}

// patrolProperties is CTRL_PR_GET_PROPERTIES.
func patrolProperties(_ *Controller, r *request) mfi.Status {
	return r.putOrRefuse(mfi.PatrolProperties{Mode: mfi.PatrolDisabled}.Marshal())
}

// setPatrolProperties is CTRL_PR_SET_PROPERTIES: patrol reads stay disabled.
func setPatrolProperties(_ *Controller, r *request) mfi.Status {
	var p [mfi.PatrolPropertiesLen]byte
	if err := r.take(p[:]); err != nil {
		return r.refuse(err)
	}
	if mfi.PatrolMode(p[0]) != mfi.PatrolDisabled {
		return mfi.StatusPRDisabled
	}
	return mfi.StatusOK
}
