package vmm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/internal/loglimit"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/bus"
	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

// Machine is a virtual machine.
type Machine struct {
	config Config
	log    *slog.Logger
	quiet  loglimit.Limiter // of what the guest provokes
	layout firmware.Layout

	vm     *kvm.VM
	ram    *memory.Memory
	leaves []kvm.CPUIDEntry // of the first processor
	rom    firmware.ROM     // of a machine with a BIOS
	video  *memory.Memory   // of a machine with a BIOS: the window of a VGA adapter
	shadow shadow           // of a machine with a BIOS
	ports  *bus.Space
	mmio   *bus.Space

	platform    *platform
	links       interruptLinks // of a machine with a BIOS
	pciBus      *pci.Bus
	chips       chips
	cpus        []*cpu
	devices     []Device
	memorySlots int                           // of KVM, in use
	releases    []func(context.Context) error // what undoes New's steps, in order

	powerOn   powerOnState
	resetters []func()          // of the chips
	resets    chan Cause        // a reset that Run has to carry out
	pauses    chan pauseRequest // a pause that Run has to carry out; sent with mu held
	remaps    chan struct{}     // a change of memory that Run has to carry out
	control   chan struct{}     // full while the machine is paused, resumed or reset

	started atomic.Bool
	ending  atomic.Bool     // vCPUs leave their loops; set before they are kicked
	life    context.Context // ends when the outcome is known
	end     context.CancelFunc
	told    chan struct{} // closed when Config.Notify was told of the end
	holds   atomic.Uint32 // reasons not to run; stored with mu held

	mu        sync.Mutex
	turn      sync.Cond // on mu: holds, parked or ending changed
	parked    int       // guarded by mu: processors that wait for holds to go
	status    Status    // guarded by mu: Running or why it is paused, from Run on
	resumes   uint64    // guarded by mu: how often it was resumed
	clock     uint64    // guarded by mu: the guest's, in ns, when it was paused; 0: not known
	exitValue uint32    // guarded by mu
	outcome   Outcome   // guarded by mu
	failure   error     // guarded by mu
}

// Device is a PCI device with a life of its own.
type Device interface {
	// Function is what the guest sees on the bus.
	Function() *pci.Function
	// Attach gives the device the guest's RAM, before the guest runs.
	Attach(dma pci.DMA)
	// Close waits until the device no longer touches the guest's RAM nor
	// signals, and makes durable what it promised. If ctx ends first it returns
	// an error, and may still touch the RAM.
	Close(ctx context.Context) error
}

// New builds a machine without PCI devices. It must be closed.
func New(c Config) (_ *Machine, err error) {
	m := &Machine{config: c, log: c.Logger, resets: make(chan Cause, 1), pauses: make(chan pauseRequest, 1), remaps: make(chan struct{}, 1), control: make(chan struct{}, 1), told: make(chan struct{})}
	m.life, m.end = context.WithCancel(context.Background())
	m.turn.L = &m.mu
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.giveBack(context.Background()))
		}
	}()
	system, err := kvm.Open()
	if err != nil {
		return nil, err
	}
	defer system.Close()
	if err := c.check(system); err != nil {
		return nil, err
	}
	leaves, err := system.SupportedCPUID()
	if err != nil {
		return nil, err
	}
	if m.layout, err = firmware.NewLayout(c.Memory, kvm.PhysBits(leaves)); err != nil {
		return nil, err
	}
	if m.vm, err = system.CreateVM(); err != nil {
		return nil, err
	}
	m.onRelease(ignoring(m.vm.Close))
	m.ports = bus.NewSpace("port", math.MaxUint16)
	m.mmio = bus.NewSpace("memory", math.MaxUint64)
	// Memory comes before KVM's own devices: these have the kernel wait at the next
	// change of memory, until a grace period of several clock ticks is over.
	if err := m.addMemory(); err != nil {
		return nil, err
	}
	if err := m.addKernelDevices(); err != nil {
		return nil, err
	}
	m.platform = &platform{vm: m.vm, ram: m.ram, ports: m.ports, mmio: m.mmio, log: m.log}
	m.platform.mirrors.vm, m.platform.mirrors.log = m.vm, m.log
	m.onRelease(ignoring(m.platform.mirrors.close))
	m.pciBus = pci.NewBus(m.platform, m.routing())
	if err := m.addChips(); err != nil {
		return nil, err
	}
	if err := m.addCPUs(system, leaves); err != nil {
		return nil, err
	}
	if err := m.keepPowerOn(system); err != nil {
		return nil, err
	}
	if err := m.addReporters(); err != nil {
		return nil, err
	}
	if c.BIOS != nil {
		if err := m.addBIOS(c.BIOS); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// addKernelDevices creates what KVM models itself.
func (m *Machine) addKernelDevices() error {
	return errors.Join(
		m.vm.SetReservedPages(firmware.IdentityMapBase),
		m.vm.CreateIRQChip(),
		m.vm.CreatePIT(),
		m.vm.SetRouting(kvm.PCRoutes()),
	)
}

// addMemory creates the guest's memory and shows it to the guest.
func (m *Machine) addMemory() error {
	if err := m.addRAM(); err != nil || m.config.BIOS == nil {
		return err
	}
	if err := m.addROM(m.config.BIOS.Image); err != nil {
		return err
	}
	return m.addVideoMemory()
}

// addRAM creates the RAM. With a BIOS, a part of it is the shadow's.
func (m *Machine) addRAM() (err error) {
	var ranges []memory.Range
	for _, r := range m.layout.RAM() {
		ranges = append(ranges, memory.Range(r))
	}
	if m.ram, err = memory.New(ranges, m.config.RAM); err != nil {
		return err
	}
	m.onRelease(ignoring(m.ram.Close))
	slots := m.ram.Slots()
	if m.config.BIOS != nil {
		i := slices.IndexFunc(slots, func(s memory.Slot) bool { return s.Base == pci.PAMBase })
		s := &slots[i]
		m.shadow.ram = s.Mem[:shadowSize:shadowSize]
		s.Base, s.Mem = s.Base+shadowSize, s.Mem[shadowSize:]
	}
	return m.showMemory(slots, 0)
}

// showMemory enters memory into the guest's address space.
func (m *Machine) showMemory(slots []memory.Slot, flags kvm.MemoryFlags) error {
	for _, s := range slots {
		if err := m.vm.SetMemory(m.memorySlots, s.Base, s.Mem, flags); err != nil {
			return err
		}
		m.memorySlots++
	}
	return nil
}

// DMA is the guest's RAM as devices see it. It is valid until Close.
func (m *Machine) DMA() pci.DMA { return m.ram }

// AddPCI puts a function into a slot of the PCI bus; 5 and above are free.
func (m *Machine) AddPCI(slot int, f *pci.Function) error {
	return m.pciBus.Attach(slot, 0, f)
}

// AddDevice puts a device into a slot of the PCI bus and gives it the guest's
// RAM. The machine closes it.
func (m *Machine) AddDevice(slot int, d Device) error {
	if err := m.AddPCI(slot, d.Function()); err != nil {
		return err
	}
	d.Attach(m.ram)
	m.devices = append(m.devices, d)
	return nil
}

// PressPowerButton asks the guest to switch itself off. It reports whether the
// guest listens: whether it has the button's event enabled. One that does not
// sees later that the button was pressed.
func (m *Machine) PressPowerButton() (heard bool) {
	m.notify(PowerButtonPressed{}) // before what the guest does about it
	return m.chips.pm.PressPowerButton()
}

// warn logs something that the guest did.
func (m *Machine) warn(msg string, args ...any) {
	if m.quiet.Allow(time.Now()) {
		m.log.Warn(msg, args...)
	}
}

// onRelease registers what undoes a step of New.
func (m *Machine) onRelease(f func(context.Context) error) { m.releases = append(m.releases, f) }

// ignoring makes a release of a function that does not wait for anything.
func ignoring(f func() error) func(context.Context) error {
	return func(context.Context) error { return f() }
}

// giveBack undoes New, last step first.
func (m *Machine) giveBack(ctx context.Context) error {
	m.end()
	var errs []error
	for _, f := range slices.Backward(m.releases) {
		errs = append(errs, f(ctx))
	}
	m.releases = nil
	return errors.Join(errs...)
}

// Close closes the devices, then gives back everything that the machine holds.
// Run must have returned. A device that can't be closed before ctx ends keeps
// the guest's RAM and everything else alive, and Close returns its error.
func (m *Machine) Close(ctx context.Context) error {
	m.resumeDevices() // a paused one would not end
	var errs []error
	for _, d := range slices.Backward(m.devices) {
		if err := d.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", d.Function().Name(), err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	m.devices = nil
	return m.giveBack(ctx)
}
