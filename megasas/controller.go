package megasas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/internal/loglimit"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/scsi"
)

// Config describes a controller and what is attached to it.
type Config struct {
	// Name is what the controller is called in logs and errors. Empty is
	// "megasas".
	Name string
	// Profile is the card to be, SAS9260 or one made from it. The zero value is
	// SAS9260.
	Profile Personality
	Drives  []DriveConfig
	// Serial is the board's serial number. Empty is the profile's.
	Serial string
	// SASAddress is the controller's own address, and the root of the names of
	// its volumes: it should differ between the controllers of a machine. 0 is
	// DefaultSASAddress.
	SASAddress uint64
	// Battery is how the battery is at first, on which the cache of volumes with
	// raid.WriteBackWithBattery depends. The zero value is none.
	Battery Battery
	// Learn is how long its learn cycles take. The zero value is hours, as a real one's.
	Learn LearnTimes
	// NVRAM keeps settings, the event log and what drives count over their lives.
	// nil keeps them as long as the Controller lives.
	NVRAM NVRAM
	// Logger gets what the guest does wrong and what fails on the host. nil
	// discards it.
	Logger *slog.Logger
	// Clock is the wall clock. nil is time.Now.
	Clock func() time.Time
	// Observer, if not nil, sees every frame.
	Observer Observer
	// Listener, if not nil, is told of events and failures.
	Listener Listener
	// Workers is how many frames are carried out at a time. 0 is 32.
	Workers int
}

// DefaultSASAddress is the address of a controller that was given none.
const DefaultSASAddress = 0x500605b000000010

// DriveConfig is a drive and its use.
type DriveConfig struct {
	Drive raid.Drive
	// System exposes the drive to the guest as it is. Otherwise a volume of RAID
	// level 0 is made on it, and Name and Cache are the volume's.
	System bool
	Name   string
	Cache  raid.CachePolicy
	// OnError says what becomes of what the host can't do.
	OnError ErrorPolicy
}

// Controller is an emulated MegaRAID controller. See the package comment.
type Controller struct {
	name     string
	p        Personality
	serial   string
	sas      uint64
	log      *slog.Logger
	quiet    loglimit.Limiter // of what the guest provokes
	failures loglimit.Limiter // of I/O on the host
	now      func() time.Time
	observer Observer
	listener Listener
	workers  int

	fn        *pci.Function
	registers *registerFile
	face      *face
	irq       interrupts
	dma       pci.DMA // set by Attach

	clock    clock
	settings settings
	battery  atomic.Uint32 // a Battery; written with settings.changing held
	learning learning
	// discharged is whether the battery learns, and keeps nothing meanwhile; written
	// with settings.changing held.
	discharged atomic.Bool
	set        *raid.Set
	logicals   [raid.MaxVolumes]atomic.Pointer[logical]
	physicals  [raid.MaxDrives]atomic.Pointer[physical]

	// life is read-locked while a frame is carried out, and locked when no frame
	// may be.
	life  sync.RWMutex
	fw    firmware
	queue chan post
	first first
	// outstanding is how many frames wait for a worker or are being carried out.
	outstanding atomic.Int64
	inlining    inlining
	replies     replies
	events      *eventLog
	waits       waits
	news        chan struct{} // there are new events
	unsaved     chan struct{} // there is something to save
	nvram       nvram

	restored *unfinished // what Attach has to go on with; nil if it is to boot

	faults  Faults
	stats   counters
	pausing pausing
	closed  atomic.Bool
	done    chan struct{}  // closed by Close
	tasks   sync.WaitGroup // goroutines of Attach

	works         works
	progressPause time.Duration
}

// New returns a controller with its drives. It does nothing yet: attach its
// Function to a bus, and then give it access to guest memory by Attach.
func New(cfg Config) (*Controller, error) {
	c := newController(cfg)
	if err := c.loadNVRAM(); err != nil {
		return nil, err
	}
	c.battery.Store(uint32(cfg.Battery))
	c.logBoot()
	for i, d := range cfg.Drives {
		if _, err := c.AddDrive(d); err != nil {
			return nil, fmt.Errorf("%s: drive %d: %w", c.name, i, err)
		}
	}
	return c, nil
}

// newController returns a controller that nothing has happened to: it has no
// drives.
func newController(cfg Config) *Controller {
	c := &Controller{
		name:     orElse(cfg.Name, "megasas"),
		p:        cfg.Profile,
		serial:   cfg.Serial,
		sas:      orElse(cfg.SASAddress, DefaultSASAddress),
		log:      cfg.Logger,
		now:      cfg.Clock,
		observer: cfg.Observer,
		workers:  orElse(cfg.Workers, defaultWorkers),
		queue:    make(chan post, queueDepth),
		news:     make(chan struct{}, 1),
		unsaved:  make(chan struct{}, 1),
		done:     make(chan struct{}),

		progressPause: progressPause,
	}
	if c.p.layout.registers == nil {
		c.p = SAS9260()
	}
	c.serial = orElse(c.serial, c.p.BoardSerial)
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.registers = newRegisterFile(c.p.layout.registers)
	c.face = newFace()
	c.fw.face, c.irq.face = c.face, c.face
	c.fw.settled.L = &c.fw.mu
	c.fw.epoch.Store(1)
	c.fw.begun = make(chan struct{}, 1)
	c.fw.boot = c.p.Boot
	c.faults.c = c
	c.replies.init()
	c.inlining.init(c)
	c.fn = c.newFunction()
	c.irq.pin, c.irq.mask, c.irq.reply = c.fn, maskAll, c.p.layout.replyBit
	c.irq.show()
	c.clock.host, c.clock.start = c.now, c.now()
	c.events = newEventLog(c.clock.now, c.eventAdded)
	c.listener = cfg.Listener
	if c.listener != nil {
		c.events.logged = c.listener.Logged
	}
	c.settings.init()
	c.learning.init(cfg.Learn)
	c.nvram.store = cfg.NVRAM
	c.set = raid.NewSet(c.logChange)
	return c
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// newFunction builds the PCI function, with the capabilities where the card has
// them.
func (c *Controller) newFunction() *pci.Function {
	f := pci.NewFunction(pci.Config{
		Name:         c.name,
		Vendor:       c.p.Vendor,
		Device:       c.p.Device,
		SubVendor:    c.p.SubVendor,
		SubDevice:    c.p.SubDevice,
		Class:        0x010400, // RAID controller
		Revision:     c.p.Revision,
		InterruptPin: 1,
	})
	l := &c.p.layout
	f.AddBAR(l.ioBAR, pci.IO, ioWindow, window{c})
	f.AddBAR(l.memoryBAR, pci.Mem64, l.memorySize, memoryWindow{window{c}})
	f.AddBAR(3, pci.Mem64, queueWindow, nil) // no driver touches it
	f.AddPowerManagement(l.powerManagement)
	f.AddExpress(l.express, pci.Express{
		Type:          pci.ExpressEndpoint,
		MaxPayload:    256,
		LinkSpeed:     l.linkSpeed,
		LinkWidth:     8,
		FunctionReset: true,
	})
	f.AddMSI(l.msi, l.messages, true)
	f.AddMSIX(l.msix, c.p.Vectors, l.memoryBAR, l.msixTable, l.msixPending)
	f.OnReset(c.powerOn)
	return f
}

// Function is the controller's place on the PCI bus.
func (c *Controller) Function() *pci.Function { return c.fn }

// Drives is the controller's drives and volumes.
func (c *Controller) Drives() *raid.Set { return c.set }

// State is the firmware's state now.
func (c *Controller) State() mfi.State { return c.fw.state() }

// Attach gives the controller access to guest memory and starts its firmware. It
// must be called once, before the guest runs.
func (c *Controller) Attach(dma pci.DMA) {
	c.dma = dma
	for range c.queueWorkers() {
		c.tasks.Go(c.work)
	}
	if c.queueWorkers() < c.workers {
		c.tasks.Go(c.workFirst)
	}
	c.tasks.Go(c.courier)
	c.tasks.Go(c.learner)
	if c.nvram.store != nil {
		c.tasks.Go(c.saver)
	}
	if c.restored != nil {
		c.goOn(c.restored)
		c.restored = nil
		return
	}
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	c.settle(c.p.Boot)
}

// Close carries out the frames that were posted, stops, and makes all data and
// the NVRAM durable. Frames that the guest posts from now on are dropped, and so are
// those that it posted during a pause which has not ended. If ctx ends first, Close
// returns its error and leaves what is being done to itself.
//
// The drives are not closed.
func (c *Controller) Close(ctx context.Context) error {
	if c.closed.Swap(true) {
		return nil
	}
	close(c.done)
	c.pausing.drop()
	c.waits.forget() // they may have gone on elsewhere, with what was saved
	c.Resume()
	drained := make(chan error, 1)
	go func() {
		if c.dma != nil { // else Attach never started anything
			c.first.end()
			for range c.queueWorkers() {
				c.queue <- post{}
			}
			c.tasks.Wait()
		}
		c.awaitSettled()
		c.awaitWorks()
		c.life.Lock() // a vCPU may be in inline
		c.closeUnits()
		c.life.Unlock()
		drained <- errors.Join(c.set.Flush(), c.saveNVRAM(true))
	}()
	select {
	case err := <-drained:
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: commands are still being carried out: %w", c.name, context.Cause(ctx))
	}
}

// closeUnits ends what targets do in the background.
func (c *Controller) closeUnits() {
	for _, u := range c.units() {
		u.Close()
	}
}

// units are all targets.
func (c *Controller) units() (list []*scsi.Unit) {
	for i := range c.physicals {
		if pd := c.physicals[i].Load(); pd != nil {
			list = append(list, pd.unit)
		}
	}
	for i := range c.logicals {
		if ld := c.logicals[i].Load(); ld != nil {
			list = append(list, ld.unit)
		}
	}
	return list
}

var errNoDrive = errors.New("no drive given")
