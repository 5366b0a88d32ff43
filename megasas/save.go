package megasas

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/scsi"
)

// Saved state is a sealed JSON object, savedState: plain data, in which the packages
// pci, raid and scsi have their own parts, and the NVRAM's contents as
// nvramContents has them. Times are durations: what was left, or had passed, when it
// was saved.
var stateSeal = seal{magic: "GOVMMCTL", version: 1, is: "a controller's saved state"}

// savedState is a controller at one moment.
type savedState struct {
	Card       savedCard
	Function   pci.FunctionState
	Firmware   savedFirmware
	Interrupts savedInterrupts
	Ring       savedRing
	Posted     []uint64 // frames that nobody has looked at, in their order
	Waits      savedWaits
	Battery    Battery
	Learning   savedLearning
	Up         time.Duration // since the card got power
	NVRAM      []byte
	Set        raid.SetState
	Drives     []savedPhysical
	Volumes    []savedLogical
	Works      []savedWork
}

// savedCard is what the controller has to be that goes on.
type savedCard struct {
	Product                              string
	Vendor, Device, SubVendor, SubDevice uint16
	Serial                               string
	SASAddress                           uint64
}

type savedFirmware struct {
	Word     uint32
	Settling bool // on its way to READY
	Halted   bool
	Boot     []BootStep // what is left, that of the present included
	Unlock   int        // how far the unlock sequence is
	Diag     uint32
}

type savedInterrupts struct {
	Latched, Mask uint32
	Owed          bool
}

type savedRing struct {
	Entries                  uint32
	Base, Producer, Consumer uint64
	Next                     uint32
	Wide                     bool
}

type savedWaits struct {
	Held  []savedWait
	Quiet bool          // no event is told,
	Left  time.Duration // for so long; 0 is until INIT
}

// savedWait is an EVENT_WAIT that is held.
type savedWait struct {
	Addr  uint64
	Frame []byte // the private copy
}

// savedLearning is where the battery is with its learn cycle.
type savedLearning struct {
	Phase  uint8
	Since  time.Duration // in the phase
	Failed bool
	Warned uint32
}

// savedPhysical is a drive as a target.
type savedPhysical struct {
	DeviceID uint16
	Unit     scsi.UnitState
	Counters scsi.CountersState
	Before   []byte        // its driveRecord as it was put in
	On       time.Duration // since then
	Heat     float64       // degrees above idleTemperature
	Moved    uint64        // bytes, when that was measured,
	Measured time.Duration // ago
}

// savedLogical is a volume as a target.
type savedLogical struct {
	Target uint8
	Unit   scsi.UnitState
}

// savedWork is work in the background.
type savedWork struct {
	Drive   bool   // or a volume
	ID      uint16 // device id or target id
	Full    bool
	Done    int64 // bytes
	Elapsed time.Duration
}

// Save writes the controller's whole state, from which [Restore] makes another
// controller that goes on in its place. The controller must be paused, the guest's
// processors stopped, and drives and volumes must not come or go meanwhile.
//
// All that a guest can see is part of it, but for guest memory and the drives'
// contents. What is not, since it is not the card's: [Faults] that were asked for and
// have not happened, and [Stats].
func (c *Controller) Save(w io.Writer) error {
	x, err := c.save()
	if err != nil {
		return fmt.Errorf("%s: save: %w", c.name, err)
	}
	body, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("%s: save: %w", c.name, err)
	}
	_, err = w.Write(stateSeal.close(append(make([]byte, sealLen, sealLen+len(body)), body...)))
	return err
}

func (c *Controller) save() (*savedState, error) {
	c.settings.changing.Lock()
	defer c.settings.changing.Unlock()
	c.works.mu.Lock() // no work ends
	defer c.works.mu.Unlock()
	p := &c.pausing
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.held:
		return nil, errors.New("the controller is not paused")
	case c.outstanding.Load() > 0:
		return nil, errors.New("the guest has posted more frames than it may while the controller was paused")
	}
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	x := &savedState{
		Card:       c.card(),
		Function:   c.fn.Save(),
		Firmware:   c.fw.save(),
		Interrupts: c.irq.save(),
		Ring:       c.replies.ring.save(),
		Waits:      c.waits.save(),
		Battery:    c.Battery(),
		Learning:   c.learning.save(c.now()),
		Up:         c.now().Sub(c.clock.start),
		NVRAM:      c.contents(true).marshal(),
		Set:        c.set.Save(),
	}
	epoch := c.fw.epoch.Load()
	posts := slices.Clone(p.posts)
	for _, s := range p.stalled {
		posts = append(posts, s.post)
	}
	for _, post := range posts {
		if post.epoch == epoch { // a reset has forgotten the others
			x.Posted = append(x.Posted, post.addr)
		}
	}
	for _, d := range x.Set.Drives {
		if d.Removed {
			continue
		}
		pd := c.physicals[d.DeviceID].Load()
		if pd == nil {
			return nil, fmt.Errorf("drive %d is being removed", d.DeviceID)
		}
		x.Drives = append(x.Drives, pd.save())
	}
	for _, v := range x.Set.Volumes {
		ld := c.logicals[v.Target].Load()
		if ld == nil {
			return nil, fmt.Errorf("volume %d is being deleted", v.Target)
		}
		x.Volumes = append(x.Volumes, savedLogical{v.Target, ld.unit.Save()})
	}
	for _, z := range c.works.list {
		// Work whose drive is gone has failed, and only does not know it yet.
		if s, ok := z.on.save(c); ok {
			s.Full, s.Done, s.Elapsed = z.work.Full, z.done, z.work.Status().Elapsed
			x.Works = append(x.Works, s)
		}
	}
	return x, nil
}

func (c *Controller) card() savedCard {
	p := &c.p
	return savedCard{
		Product: p.Product, Vendor: p.Vendor, Device: p.Device, SubVendor: p.SubVendor, SubDevice: p.SubDevice,
		Serial: c.serial, SASAddress: c.sas,
	}
}

// Preconditions: fw.mu is held.
func (fw *firmware) save() savedFirmware {
	x := savedFirmware{
		Word: fw.word.Load(), Settling: fw.settling, Halted: fw.halted, Boot: slices.Clone(fw.boot),
		Unlock: fw.sequence, Diag: fw.diag,
	}
	if left := time.Until(fw.stepEnds); fw.settling && left > 0 {
		x.Boot = slices.Insert(x.Boot, 0, BootStep{State: fw.state(), Delay: left})
	}
	return x
}

func (r *ring) save() savedRing {
	return savedRing{
		Entries: r.entries, Base: r.base, Producer: r.producer, Consumer: r.consumer, Next: r.next, Wide: r.wide,
	}
}

func (i *interrupts) save() savedInterrupts {
	i.mu.Lock()
	defer i.mu.Unlock()
	return savedInterrupts{Latched: i.latched, Mask: i.mask, Owed: i.owed}
}

func (w *waits) save() savedWaits {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := savedWaits{Quiet: w.quiet}
	if w.noise != nil {
		x.Left = max(time.Until(w.until), 1)
	}
	for _, h := range w.held {
		x.Held = append(x.Held, savedWait{Addr: h.addr, Frame: slices.Clone([]byte(h.frame))})
	}
	return x
}

// Preconditions: settings.changing is held.
func (l *learning) save(now time.Time) savedLearning {
	x := savedLearning{Phase: uint8(l.phase), Failed: l.failed, Warned: l.warned}
	if l.phase != learnIdle {
		x.Since = now.Sub(l.since)
	}
	return x
}

func (pd *physical) save() savedPhysical {
	v := pd.vitals
	now := v.now()
	v.mu.Lock()
	defer v.mu.Unlock()
	return savedPhysical{
		DeviceID: pd.drive.DeviceID(), Unit: pd.unit.Save(), Counters: v.counters.Save(),
		Before: v.before.marshal(), On: now.Sub(v.since), Heat: v.heat, Moved: v.moved, Measured: now.Sub(v.at),
	}
}
