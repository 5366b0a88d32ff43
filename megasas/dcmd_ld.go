package megasas

import (
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// ldList is LD_GET_LIST.
func ldList(c *Controller, r *request) mfi.Status {
	v := c.set.View()
	var list []mfi.LDListEntry
	for _, l := range v.Volumes {
		list = append(list, mfi.LDListEntry{
			Target:   l.Target,
			Sequence: l.Sequence,
			State:    ldState(l.State),
			Blocks:   l.Blocks,
		})
	}
	return r.putOrRefuse(mfi.MarshalLDList(list))
}

// ldQuery is LD_LIST_QUERY. Volumes that are offline keep their target ids, but
// the host does not see them.
func ldQuery(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	query := mfi.LDQuery(box[0])
	switch query {
	case mfi.LDQueryAll, mfi.LDQueryExposedToHost, mfi.LDQueryUsedTargetIDs:
	default:
		return mfi.StatusInvalidParameter
	}
	v := c.set.View()
	var targets []uint8
	for _, l := range v.Volumes {
		if query == mfi.LDQueryExposedToHost && l.State == raid.VolumeOffline {
			continue
		}
		targets = append(targets, l.Target)
	}
	return r.putOrRefuse(mfi.MarshalLDTargets(targets))
}

// ldInfo is LD_GET_INFO.
func ldInfo(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	v := c.set.View()
	l, ok := v.Volume(box[0])
	if !ok {
		return mfi.StatusDeviceNotFound
	}
	ld := c.logicals[l.Target].Load()
	if ld == nil {
		return mfi.StatusDeviceNotFound // it was deleted just now
	}
	x := mfi.LDInfo{
		Config: ldConfig(&v, l),
		Blocks: l.Blocks,
		VPD83:  inquiry(ld.unit, vpdIdentification, 64),
	}
	return r.putOrRefuse(x.Marshal())
}

// ldProperties is LD_GET_PROP.
func ldProperties(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	v := c.set.View()
	l, ok := v.Volume(box[0])
	if !ok {
		return mfi.StatusDeviceNotFound
	}
	x := ldConfig(&v, l).Properties
	return r.putOrRefuse(x.Marshal())
}

// ldConfig describes a volume.
func ldConfig(v *raid.View, l raid.VolumeStatus) mfi.LDConfig {
	return mfi.LDConfig{
		Properties: mfi.LDProperties{
			Target:        l.Target,
			Sequence:      l.Sequence,
			Name:          l.Name,
			DefaultCache:  cacheBits(l.Cache),
			CurrentCache:  cacheBits(l.Cache),
			Access:        access(l),
			DiskCache:     mfi.DiskCacheUnchanged,
			NoBackgroundI: true,
		},
		Parameters: mfi.LDParameters{
			StripeSize:    l.Stripe,
			DrivesPerSpan: uint8(l.Drives),
			SpanDepth:     1,
			State:         ldState(l.State),
			Consistent:    true, // there is nothing to be inconsistent with
		},
		Spans: []mfi.Span{{Blocks: arrayBlocks(v, l.Array), Array: l.Array}},
	}
}

// cacheBits is a cache policy on the wire. Write-back is in force without a
// battery, and says so.
func cacheBits(p raid.CachePolicy) uint8 {
	bits := uint8(mfi.CacheAllowWrite | mfi.CacheAllowRead)
	if p == raid.WriteBack {
		bits |= mfi.CacheWriteBack | mfi.CacheWriteBackBadBBU
	}
	return bits
}

func access(l raid.VolumeStatus) uint8 {
	if l.ReadOnly {
		return mfi.AccessReadOnly
	}
	return mfi.AccessReadWrite
}

// configRead is CFG_READ.
func configRead(c *Controller, r *request) mfi.Status {
	v := c.set.View()
	var x mfi.Config
	for _, a := range v.Arrays {
		array := mfi.Array{Blocks: a.Blocks, Ref: a.Ref}
		for _, id := range a.Drives {
			d, _ := v.Drive(id)
			array.Drives = append(array.Drives, mfi.ArrayDrive{
				DeviceID: id,
				Sequence: d.Sequence,
				State:    pdState(d.State),
				Slot:     d.Identity.Slot,
			})
		}
		x.Arrays = append(x.Arrays, array)
	}
	for _, l := range v.Volumes {
		x.LDs = append(x.LDs, ldConfig(&v, l))
	}
	return r.putOrRefuse(x.Marshal())
}

// arrayBlocks is the size of an array on each of its drives.
func arrayBlocks(v *raid.View, ref uint16) uint64 {
	for _, a := range v.Arrays {
		if a.Ref == ref {
			return a.Blocks
		}
	}
	return 0
}
