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
		Config: c.ldConfig(l),
		Blocks: l.Blocks,
		VPD83:  inquiry(ld.unit, vpdIdentification, 64),
	}
	if l.Initializing != nil {
		x.ActiveOps = mfi.LDOpForegroundInit
		x.ForegroundInit = progressOf(*l.Initializing)
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
	x := c.ldConfig(l).Properties
	return r.putOrRefuse(x.Marshal())
}

// ldConfig describes a volume.
func (c *Controller) ldConfig(l raid.VolumeStatus) mfi.LDConfig {
	return mfi.LDConfig{
		Properties: mfi.LDProperties{
			Target:        l.Target,
			Sequence:      l.Sequence,
			Name:          l.Name,
			DefaultCache:  cacheBits(l.Cache),
			CurrentCache:  c.currentCache(l.Cache),
			Access:        access(l),
			DiskCache:     mfi.DiskCacheUnchanged,
			NoBackgroundI: true,
		},
		Parameters: mfi.LDParameters{
			StripeSize:    l.Stripe,
			DrivesPerSpan: uint8(l.Drives),
			SpanDepth:     1,
			State:         ldState(l.State),
			InitState:     uint8(l.Init), // its values are those of the wire
			Consistent:    true,          // there is nothing to be inconsistent with
		},
		Spans: []mfi.Span{{Blocks: l.Blocks, Array: l.Array}}, // on its one drive
	}
}

// cacheBits is a cache policy on the wire.
func cacheBits(p raid.CachePolicy) uint8 {
	bits := uint8(mfi.CacheAllowWrite | mfi.CacheAllowRead)
	switch p {
	case raid.WriteBack:
		bits |= mfi.CacheWriteBack | mfi.CacheWriteBackBadBBU
	case raid.WriteBackWithBattery:
		bits |= mfi.CacheWriteBack
	}
	return bits
}

// currentCache is the policy's bits as far as they are in force.
func (c *Controller) currentCache(p raid.CachePolicy) uint8 {
	bits := cacheBits(p)
	if c.cacheInForce(p) == raid.WriteThrough {
		bits &^= mfi.CacheWriteBack
	}
	return bits
}

func access(l raid.VolumeStatus) uint8 {
	if l.ReadOnly {
		return mfi.AccessReadOnly
	}
	return mfi.AccessReadWrite
}

// parseCache is the policy that bits on the wire ask for. There is no read-ahead,
// and nothing adapts.
func parseCache(bits uint8) (raid.CachePolicy, error) {
	const known = mfi.CacheWriteBack | mfi.CacheWriteBackBadBBU | mfi.CacheAllowWrite | mfi.CacheAllowRead
	switch {
	case bits&^known != 0:
		return 0, &mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "cache policy that the firmware has not"}
	case bits&mfi.CacheWriteBack == 0:
		return raid.WriteThrough, nil
	case bits&mfi.CacheWriteBackBadBBU == 0:
		return raid.WriteBackWithBattery, nil
	}
	return raid.WriteBack, nil
}

// setLDProperties is LD_SET_PROP: name and cache policy. With the change to
// write-through, all that was accepted becomes durable.
func setLDProperties(c *Controller, r *request) mfi.Status {
	var p [mfi.LDPropertiesLen]byte
	if err := r.take(p[:]); err != nil {
		return r.refuse(err)
	}
	box, x := r.frame.Mailbox(), mfi.ParseLDProperties(&p)
	target := box[0]
	c.settings.changing.Lock()
	defer c.settings.changing.Unlock()
	v := c.set.View()
	l, ok := v.Volume(target)
	if !ok {
		return mfi.StatusDeviceNotFound
	}
	cache, err := parseCache(x.DefaultCache)
	if err != nil {
		return r.refuse(err)
	}
	if x.Target != target || x.Access != access(l) || x.DiskCache != mfi.DiskCacheUnchanged {
		return r.refuse(&mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "only name and cache policy can be set"})
	}
	err = c.set.SetVolumeProperties(target, int(box.S(1)), raid.VolumeProperties{Name: x.Name, Cache: cache})
	if err != nil {
		return r.statusOf(err)
	}
	ld := c.logicals[target].Load()
	if ld == nil {
		return mfi.StatusDeviceNotFound
	}
	if err := ld.unit.SetWriteCache(c.cacheInForce(cache) == raid.WriteBack); err != nil {
		c.log.Error("flushing a volume failed", "target", target, "err", err)
		return mfi.StatusFlushFailed
	}
	return mfi.StatusOK
}

// deleteLD is LD_DELETE.
func deleteLD(c *Controller, r *request) mfi.Status {
	box := r.frame.Mailbox()
	return r.statusOf(c.deleteVolume(box[0], int(box.S(1))))
}
