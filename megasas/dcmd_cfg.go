package megasas

import (
	"errors"

	"github.com/govmm/govmm/internal/iov"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

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
		x.LDs = append(x.LDs, c.ldConfig(l))
	}
	return r.putOrRefuse(x.Marshal())
}

// configAdd is CFG_ADD: new arrays, and the volumes on them, all or none.
func configAdd(c *Controller, r *request) mfi.Status {
	p := make([]byte, min(r.dataLen(), mfi.MaxConfigLen))
	if err := r.mapData(uint64(len(p))); err != nil {
		return r.refuse(err)
	}
	iov.Gather(p, r.data)
	x, err := mfi.ParseConfig(p)
	if err != nil {
		return r.refuse(err)
	}
	volumes, err := newVolumes(&x, &c.p)
	if err != nil {
		return r.refuse(err)
	}
	_, err = c.createVolumes(volumes)
	return r.statusOf(err)
}

// newVolumes is the volumes that a configuration describes. Each must have an
// array of its own.
func newVolumes(x *mfi.Config, p *Personality) ([]raid.VolumeConfig, error) {
	arrays := map[uint16]*mfi.Array{}
	for i := range x.Arrays {
		a := &x.Arrays[i]
		if arrays[a.Ref] != nil {
			return nil, &mfi.Error{Status: mfi.StatusConfigConflict, Reason: "two arrays of one number"}
		}
		arrays[a.Ref] = a
	}
	var list []raid.VolumeConfig
	for i := range x.LDs {
		v, err := newVolume(&x.LDs[i], arrays, p)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if len(arrays) > 0 || len(list) == 0 {
		return nil, &mfi.Error{Status: mfi.StatusInvalidParameter, Reason: "array without a volume, or nothing at all"}
	}
	return list, nil
}

// newVolume is a volume and its array, which is taken out of arrays.
func newVolume(ld *mfi.LDConfig, arrays map[uint16]*mfi.Array, p *Personality) (raid.VolumeConfig, error) {
	refuse := func(s mfi.Status, reason string) (raid.VolumeConfig, error) {
		return raid.VolumeConfig{}, &mfi.Error{Status: s, Reason: reason}
	}
	shape, props := &ld.Parameters, &ld.Properties
	if shape.PrimaryLevel != 0 || shape.SecondaryLevel != 0 || shape.SpanDepth != 1 || shape.DrivesPerSpan != 1 {
		return refuse(mfi.StatusLDWrongRAIDLevel, "volume of another shape than one drive")
	}
	span := ld.Spans[0]
	a := arrays[span.Array]
	switch {
	case a == nil:
		return refuse(mfi.StatusConfigConflict, "volume on an array that is not new, or has one")
	case len(a.Drives) != 1:
		return refuse(mfi.StatusLDWrongRAIDLevel, "array of another number of drives than one")
	case span.Start != 0 || span.Blocks > a.Blocks:
		return refuse(mfi.StatusDriveTooSmall, "volume beyond its array")
	case shape.StripeSize < p.StripeMin || shape.StripeSize > p.StripeMax:
		return refuse(mfi.StatusInvalidParameter, "stripe size out of range")
	case props.Access != mfi.AccessReadWrite || props.DiskCache != mfi.DiskCacheUnchanged:
		return refuse(mfi.StatusInvalidParameter, "policy that the firmware has not")
	}
	delete(arrays, span.Array)
	cache, err := parseCache(props.DefaultCache)
	if err != nil {
		return raid.VolumeConfig{}, err
	}
	d := a.Drives[0]
	return raid.VolumeConfig{
		Name:      props.Name,
		Drives:    []uint16{d.DeviceID},
		Sequences: []uint16{d.Sequence},
		Cache:     cache,
		Blocks:    span.Blocks,
		Stripe:    shape.StripeSize,
		Place:     &raid.Place{Target: props.Target, Array: a.Ref},
	}, nil
}

// configClear is CFG_CLEAR: all volumes and arrays go. Drivers look at the lists
// again on its event.
func configClear(c *Controller, r *request) mfi.Status {
	v := c.set.View()
	for _, l := range v.Volumes {
		if err := c.deleteVolume(l.Target, raid.AnySequence); err != nil && !errors.Is(err, raid.ErrNotFound) {
			return r.statusOf(err)
		}
	}
	c.logConfigCleared()
	return mfi.StatusOK
}
