package megasas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/scsi"
)

// maxState is more than any saved state has, in bytes.
const maxState = 64 << 20

// unfinished is what a restored controller goes on with when it is attached.
type unfinished struct {
	posted []uint64
	quiet  time.Duration // how long no event is told; 0 is as it is
	works  []*zeroing
}

// Restore returns a controller in the state that Save has written, in the place of
// New. It is put on a bus and attached like a new one, and goes on from there: the
// guest, whose memory is as it was, notices nothing.
//
// cfg has to describe the same card. Its drives have to be those that the controller
// had, in any order, each with the contents that it had; of what else cfg says of them
// only OnError counts. Its Battery is not looked at. The NVRAM is written, and not read: what it
// keeps is part of the state.
func Restore(cfg Config, from io.Reader) (*Controller, error) {
	c := newController(cfg)
	p, err := io.ReadAll(io.LimitReader(from, maxState))
	if err != nil {
		return nil, fmt.Errorf("%s: restore: %w", c.name, err)
	}
	x, err := parseState(p)
	if err == nil {
		err = c.restore(x, cfg.Drives)
	}
	if err != nil {
		c.closeUnits()
		return nil, fmt.Errorf("%s: restore: %w", c.name, err)
	}
	return c, nil
}

// parseState reads what Save wrote, as far as it can be understood by itself.
func parseState(p []byte) (*savedState, error) {
	body, err := stateSeal.open(p)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	x := new(savedState)
	if err := d.Decode(x); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the state")
	}
	return x, nil
}

func (c *Controller) restore(x *savedState, drives []DriveConfig) error {
	if was, is := x.Card, c.card(); was != is {
		return fmt.Errorf("the state is of a %s (%04x:%04x) with serial number %q and SAS address %#x, this is a %s (%04x:%04x) with %q and %#x",
			was.Product, was.Vendor, was.Device, was.Serial, was.SASAddress, is.Product, is.Vendor, is.Device, is.Serial, is.SASAddress)
	}
	if int(x.Battery) >= len(batteryNames) {
		return fmt.Errorf("no such state of a battery: %v", x.Battery)
	}
	l := learning{phase: learnPhase(x.Learning.Phase)}
	if l.phase > learnCharging || l.active() && x.Battery != BatteryGood || x.Learning.Since < 0 {
		return fmt.Errorf("a battery that is %v, in phase %d of learning since %v", x.Battery, l.phase, x.Learning.Since)
	}
	c.battery.Store(uint32(x.Battery))
	c.discharged.Store(l.active())
	c.learning.phase, c.learning.failed, c.learning.warned = l.phase, x.Learning.Failed, x.Learning.Warned
	c.learning.since = c.now().Add(-x.Learning.Since)
	c.clock.start = c.now().Add(-x.Up)
	for _, step := range []func() error{
		func() error { return c.fn.Restore(x.Function) },
		func() error { return c.fw.restore(&x.Firmware) },
		func() error { return c.replies.restore(&x.Ring, c.p.Limits.MaxCommands) },
		func() error { return c.restoreWaits(&x.Waits) },
		func() error { return c.restoreContents(x.NVRAM) },
		func() error { return c.restoreTargets(x, drives) },
		func() error { return c.restoreUnfinished(x) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	c.irq.restore(&x.Interrupts)
	return nil
}

// restore does not interrupt: what it restores did.
func (i *interrupts) restore(x *savedInterrupts) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.latched, i.mask, i.owed = x.Latched, x.Mask, x.Owed
	i.show()
}

// maxBootSteps bounds those of a saved state.
const maxBootSteps = 64

func (fw *firmware) restore(x *savedFirmware) error {
	if x.Unlock < 0 || x.Unlock >= len(unlockSequence) || len(x.Boot) > maxBootSteps {
		return fmt.Errorf("firmware with %d boot steps, %d values of the unlock sequence", len(x.Boot), x.Unlock)
	}
	fw.mu.Lock()
	defer fw.mu.Unlock()
	fw.word.Store(x.Word)
	fw.settling, fw.halted, fw.boot, fw.sequence, fw.diag = x.Settling, x.Halted, x.Boot, x.Unlock, x.Diag
	fw.show()
	return nil
}

// restore takes over the ring. Whether its addresses are in guest memory is seen
// when they are used.
func (q *replies) restore(x *savedRing, most uint16) error {
	if x.Entries > 0 && x.Next >= x.Entries || x.Entries > uint32(most) || (x.Base|x.Producer|x.Consumer)%4 != 0 {
		return fmt.Errorf("reply queue of %d entries at %#x, %#x and %#x, at entry %d", x.Entries, x.Base, x.Producer, x.Consumer, x.Next)
	}
	q.ring = ring{
		entries: x.Entries, base: x.Base, producer: x.Producer, consumer: x.Consumer, next: x.Next, wide: x.Wide,
	}
	return nil
}

func (c *Controller) restoreWaits(x *savedWaits) error {
	if len(x.Held) > maxWaits || x.Left < 0 || x.Left > quietTime || x.Left > 0 && !x.Quiet {
		return fmt.Errorf("%d EVENT_WAIT frames, events wait for %v", len(x.Held), x.Left)
	}
	for _, h := range x.Held {
		f := mfi.Frame(h.Frame)
		if len(f) < mfi.HeaderLen || len(f) > mfi.MaxFrameLen || f.Len() != len(f) || f.Cmd() != mfi.CmdDCMD ||
			f.Opcode() != mfi.OpCtrlEventWait || f.Elements() > int(c.p.Limits.MaxSGE) {
			return fmt.Errorf("the frame at %#x is no EVENT_WAIT", h.Addr)
		}
		r := request{c: c, addr: h.Addr, epoch: c.fw.epoch.Load(), frame: f, senseLen: f.SenseLen(), scsiStatus: scsi.Status(f.SCSIStatus())}
		if c.observer != nil {
			r.posted = c.now()
		}
		c.waits.held = append(c.waits.held, newWait(&r))
	}
	c.waits.quiet = x.Quiet
	return nil
}

// restoreContents takes over what the NVRAM keeps.
func (c *Controller) restoreContents(p []byte) error {
	x, err := parseNVRAM(p)
	if err != nil {
		return fmt.Errorf("NVRAM: %w", err)
	}
	if x.properties == nil || x.bios == nil || checkProperties(x.properties) != mfi.StatusOK || !x.exact {
		return errors.New("NVRAM: it is not a card's that was running")
	}
	c.takeContents(x)
	return nil
}

// restoreTargets makes the drives and volumes.
func (c *Controller) restoreTargets(x *savedState, given []DriveConfig) error {
	there := 0
	for _, d := range x.Set.Drives {
		if !d.Removed {
			there++
		}
	}
	if there != len(given) {
		return fmt.Errorf("the state is of a controller with %d drives, not %d", there, len(given))
	}
	drives, volumes := x.Drives, x.Volumes
	err := c.set.Restore(x.Set, raid.Restorer{
		Find: func(was raid.SavedDrive) raid.Drive {
			for _, d := range given {
				if d.Drive != nil && d.Drive.Identity() == was.Identity {
					return d.Drive
				}
			}
			return nil
		},
		Drive: func(d *raid.PhysicalDrive) error {
			if len(drives) == 0 || drives[0].DeviceID != d.DeviceID() {
				return fmt.Errorf("there is no state of drive %d", d.DeviceID())
			}
			saved := drives[0]
			drives = drives[1:]
			return c.restoreDrive(d, &saved, policyOf(given, d.Identity()))
		},
		Volume: func(v *raid.Volume, _ raid.VolumeConfig) error {
			if len(volumes) == 0 || volumes[0].Target != v.Target() {
				return fmt.Errorf("there is no state of volume %d", v.Target())
			}
			unit := volumes[0].Unit
			volumes = volumes[1:]
			ld, err := c.newLogical(v, unit.WriteBack)
			if err != nil {
				return err
			}
			return ld.unit.Restore(unit)
		},
	})
	if err == nil && len(drives)+len(volumes) > 0 {
		err = errors.New("there is state of drives or volumes that are not there")
	}
	return err
}

// policyOf is what was said about the errors of a drive.
func policyOf(given []DriveConfig, id raid.DriveIdentity) ErrorPolicy {
	for _, d := range given {
		if d.Drive != nil && d.Drive.Identity() == id {
			return d.OnError
		}
	}
	return ErrorPolicy{}
}

func (c *Controller) restoreDrive(d *raid.PhysicalDrive, x *savedPhysical, policy ErrorPolicy) error {
	if len(x.Before) != driveRecordLen || math.IsNaN(x.Heat) || math.Abs(x.Heat) > loadHeating {
		return fmt.Errorf("drive %d: a record of %d bytes, %g degrees", d.DeviceID(), len(x.Before), x.Heat)
	}
	now := c.now()
	v := &vitals{
		before: parseDriveRecord(x.Before), since: now.Add(-x.On), now: c.now, media: d.Identity().Media,
		heat: x.Heat, moved: x.Moved, at: now.Add(-x.Measured),
	}
	v.counters.Restore(x.Counters)
	pd, err := c.newPhysical(d, v, policy)
	if err != nil {
		return err
	}
	return pd.unit.Restore(x.Unit)
}

// restoreUnfinished prepares what Attach goes on with.
func (c *Controller) restoreUnfinished(x *savedState) error {
	if len(x.Posted) > queueDepth {
		return fmt.Errorf("%d frames: at most %d", len(x.Posted), queueDepth)
	}
	c.restored = &unfinished{posted: x.Posted, quiet: x.Waits.Left}
	for _, w := range x.Works {
		z, err := c.restoreWork(w)
		if err != nil {
			return err
		}
		c.restored.works = append(c.restored.works, z)
	}
	return nil
}

// restoreWork is work in the background, as it was.
func (c *Controller) restoreWork(x savedWork) (*zeroing, error) {
	var z *zeroing
	if x.Drive {
		d, w, err := c.set.BeginClear(x.ID, raid.AnySequence)
		if err != nil {
			return nil, err
		}
		z = c.clearing(d, w)
	} else {
		v, w, err := c.set.BeginInit(uint8(min(x.ID, math.MaxUint8)), raid.AnySequence, x.Full)
		if err != nil {
			return nil, err
		}
		z = c.initializing(v, w)
	}
	if all := z.all(); x.Done < 0 || x.Done > all || x.Elapsed < 0 {
		return nil, fmt.Errorf("work that has done %d bytes of %d in %v", x.Done, all, x.Elapsed)
	}
	z.work.Continue(x.Elapsed)
	z.done = x.Done
	z.report(z.all())
	return z, nil
}

// goOn goes on where the controller was saved.
func (c *Controller) goOn(x *unfinished) {
	c.fw.mu.Lock()
	if c.fw.settling {
		go c.settleDown()
	}
	c.fw.mu.Unlock()
	if x.quiet > 0 {
		c.waits.mu.Lock()
		c.speakIn(x.quiet)
		c.waits.mu.Unlock()
	}
	for _, u := range c.units() {
		u.Continue()
	}
	for _, z := range x.works {
		z.goOn()
	}
	for _, addr := range x.posted {
		p := post{addr: addr, epoch: c.fw.epoch.Load()}
		if c.observer != nil {
			p.at = c.now()
		}
		c.outstanding.Add(1)
		c.dispatch(p, false)
	}
	c.eventAdded() // those who wait for events look, and the NVRAM is written
}
