package payloadtests

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/vmm"
	"github.com/govmm/govmm/vmm/kvm"
)

const (
	ramSize = 16 << 20
	// heapBase is where the memory begins that alloc gives out: above the
	// program, and aligned for everything.
	heapBase = 2 << 20
	// runLimit ends a guest that is stuck. It is hundreds of times what one takes
	// where KVM interprets.
	runLimit = 5 * time.Minute
)

// guest is a program for a machine with a controller and a disk, and then that
// machine.
type guest struct {
	*payload.Program
	t *testing.T

	disk       *disk
	controller *megasas.Controller
	machine    *vmm.Machine // from run on

	viaPorts bool              // registers are accessed through the I/O BAR
	tune     func(*vmm.Config) // changes the machine; nil: nothing
	com1     io.Writer         // what hears the guest on COM1; nil: there is no COM1
	ring     ring

	free     uint64
	contents []chunk // of memory, at the start
	steps    []string
	step     uint64   // word: how many of steps have begun
	checks   []func() // of what must be true at the end
}

type chunk struct {
	addr uint64
	data []byte
}

// hardware is what a test has of its own in its machine.
type hardware struct {
	file     qcow2.File                  // under the image; nil: a temporary file
	drive    func(raid.Drive) raid.Drive // put between controller and image; nil: nothing
	observer megasas.Observer            // of the controller; nil: none
}

// newGuest begins the program of a guest.
func newGuest(t *testing.T) *guest {
	t.Helper()
	return newGuestWith(t, hardware{})
}

// newGuestWith begins the program of a guest on special hardware.
func newGuestWith(t *testing.T, h hardware) *guest {
	t.Helper()
	if h.file == nil {
		h.file = tempFile(t)
	}
	g := &guest{Program: payload.New(), t: t, disk: newDisk(t, h.file), free: heapBase}
	g.step = g.Word()
	g.ring.done = g.alloc(4 * maxContexts)
	g.ring.total = g.Word()
	drive := raid.NewDrive(g.disk.image, raid.DriveIdentity{
		Vendor: "GOVMM", Product: "TEST DISK", Serial: "1", WWN: 3<<60 | 1, Enclosure: raid.NoEnclosure,
	})
	if h.drive != nil {
		drive = h.drive(drive)
	}
	var err error
	g.controller, err = megasas.New(megasas.Config{
		Drives:   []megasas.DriveConfig{{Drive: drive, Cache: raid.WriteThrough}},
		Observer: h.observer,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

// alloc sets memory aside, 256-byte aligned as Linux aligns frames.
func (g *guest) alloc(n uint64) uint64 {
	addr := g.free
	g.free = (addr + n + 255) &^ 255
	if g.free > ramSize {
		panic("no guest memory is left")
	}
	return addr
}

// put gives memory a content at the start.
func (g *guest) put(addr uint64, data []byte) {
	g.contents = append(g.contents, chunk{addr, data})
}

// begin notes in the guest what it does now, for the failure message if it never
// gets done.
func (g *guest) begin(what string) {
	g.steps = append(g.steps, what)
	g.Store32(g.step, uint32(len(g.steps)))
}

// check notes something to look at when the guest has ended.
func (g *guest) check(f func()) { g.checks = append(g.checks, f) }

// wantWord checks the bits in mask of a word in memory.
func (g *guest) wantWord(what string, addr uint64, mask, want uint32) {
	g.check(func() {
		if v := g.word(addr) & mask; v != want {
			g.t.Errorf("%s: %#x, want %#x", what, v, want)
		}
	})
}

// wantSaved saves the accumulator and checks the bits in mask of it.
func (g *guest) wantSaved(what string, mask, want uint32) {
	w := g.Word()
	g.Save32(w)
	g.wantWord(what, w, mask, want)
}

// word reads guest memory.
func (g *guest) word(addr uint64) uint32 {
	g.t.Helper()
	v, err := g.machine.DMA().Load32(addr)
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// bytes reads guest memory.
func (g *guest) bytes(addr, n uint64) []byte {
	g.t.Helper()
	p := make([]byte, n)
	if err := g.machine.DMA().ReadAt(p, addr); err != nil {
		g.t.Fatal(err)
	}
	return p
}

// run ends the program by switching the machine off, runs it, and checks what was
// noted.
func (g *guest) run() {
	g.t.Helper()
	g.begin("power off")
	g.PowerOff()
	g.runTo(vmm.PowerOff)
}

// runTo runs the program as it is until the machine ends in the given way.
func (g *guest) runTo(want vmm.Outcome) {
	g.t.Helper()
	g.build()
	ctx, cancel := context.WithTimeout(g.t.Context(), runLimit)
	defer cancel()
	outcome, err := g.machine.Run(ctx)
	if err != nil || outcome != want {
		g.t.Fatalf("the machine ended with %v (%v), want %v; the guest was about to %s\ncontroller: %v %+v\nmachine: %+v",
			outcome, err, want, g.doing(), g.controller.State(), g.controller.Stats(), g.machine.Stats())
	}
	for _, f := range g.checks {
		f()
	}
}

// build makes the machine. On a host without KVM the test is skipped.
func (g *guest) build() {
	g.t.Helper()
	config := vmm.Config{Memory: ramSize, CPUs: 1, Kernel: g.Kernel()}
	if g.com1 != nil {
		config.Serial = []vmm.SerialConfig{{Out: g.com1}}
	}
	if g.tune != nil {
		g.tune(&config)
	}
	m, err := vmm.New(config)
	if open := new(kvm.OpenError); errors.As(err, &open) {
		g.t.Skip(err)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.machine = m
	if err := m.AddDevice(slot, g.controller); err != nil {
		g.t.Fatal(err)
	}
	g.fill()
}

// fill gives memory its contents.
func (g *guest) fill() {
	for _, c := range g.contents {
		if err := g.machine.DMA().WriteAt(c.data, c.addr); err != nil {
			g.t.Error(err)
		}
	}
}

// doing is the step that the guest has begun last.
func (g *guest) doing() string {
	n := g.word(g.step)
	if n == 0 || int(n) > len(g.steps) {
		return "start"
	}
	return g.steps[n-1]
}

// close ends machine and image, and judges the image.
func (g *guest) close() {
	if g.machine != nil {
		ctx, cancel := context.WithTimeout(context.Background(), runLimit)
		defer cancel()
		if err := g.machine.Close(ctx); err != nil {
			g.t.Errorf("close the machine: %v", err)
			return // the image may still be in use
		}
	}
	if !g.t.Skipped() { // else nothing was written
		g.disk.close()
	}
}

// capability finds a capability of the controller in its list, and returns its
// offset in configuration space.
func (g *guest) capability(id uint8) int {
	g.t.Helper()
	const pointer = 0x34
	at := g.config(pointer) & 0xff
	for range 48 {
		if at == 0 {
			break
		}
		header := g.config(int(at))
		if uint8(header) == id {
			return int(at)
		}
		at = header >> 8 & 0xff
	}
	g.t.Fatalf("the controller has no capability %#x", id)
	return 0
}

// config reads configuration space from outside.
func (g *guest) config(off int) uint32 {
	var p [4]byte
	g.controller.Function().ReadConfig(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

// statusOf is the status of a frame.
func (g *guest) statusOf(frame uint64) mfi.Status {
	g.t.Helper()
	return mfi.Status(g.word(frame) >> 16)
}
