package vmm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/pci"
	"golang.org/x/sys/unix"
)

// gadget is a PCI device for tests. Its BAR 0 has a doorbell register at 0; what
// a ring does is the test's. BAR 0 also has one MSI-X vector.
type gadget struct {
	f    *pci.Function
	dma  pci.DMA
	ring func(g *gadget, value uint32)

	closeErr error
	closed   bool
}

const (
	gadgetSlot   = 5
	gadgetBAR    = 0xc1000000
	gadgetSize   = 0x2000
	gadgetTable  = 0x1000
	gadgetPBA    = 0x1800
	gadgetMSIX   = 0x50
	gadgetVector = 0x41
)

func newGadget(ring func(g *gadget, value uint32)) *gadget {
	g := &gadget{ring: ring}
	g.f = pci.NewFunction(pci.Config{Name: "gadget", Vendor: 0x1234, Device: 0x5678, Class: 0xff0000, InterruptPin: 1})
	g.f.AddBAR(0, pci.Mem32, gadgetSize, g)
	g.f.AddMSIX(gadgetMSIX, 1, 0, gadgetTable, gadgetPBA)
	return g
}

func (g *gadget) Function() *pci.Function { return g.f }
func (g *gadget) Attach(dma pci.DMA)      { g.dma = dma }

// Close touches guest memory, as a device that drains its queue does.
func (g *gadget) Close(context.Context) error {
	if g.closeErr != nil {
		return g.closeErr
	}
	g.closed = true
	return g.dma.Store32(payload.End, 0xd0e)
}

func (g *gadget) Read(_ uint64, p []byte) { clear(p) }

func (g *gadget) Write(off uint64, p []byte) {
	if off == 0 && len(p) == 4 {
		g.ring(g, uint32(p[0])|uint32(p[1])<<8|uint32(p[2])<<16|uint32(p[3])<<24)
	}
}

// decodeGadget lets the gadget answer at gadgetBAR and master the bus.
func decodeGadget(p *payload.Program) {
	const memoryAndMaster = 6
	p.ConfigWrite32(gadgetSlot, 0, 0x10, gadgetBAR)
	p.ConfigWrite16(gadgetSlot, 0, 0x04, memoryAndMaster)
}

func TestBARFollowsTheGuest(t *testing.T) {
	p := payload.New()
	before := p.Word()
	p.Load32(gadgetBAR)
	p.Save32(before)
	decodeGadget(p)
	p.Store32(gadgetBAR, 11)
	p.ConfigWrite32(gadgetSlot, 0, 0x10, gadgetBAR+gadgetSize)
	p.Store32(gadgetBAR, 12) // nobody is there any more
	p.Store32(gadgetBAR+gadgetSize, 13)
	p.PowerOff()
	var rings []uint32
	m := newMachine(t, p, Config{})
	if err := m.AddDevice(gadgetSlot, newGadget(func(_ *gadget, v uint32) { rings = append(rings, v) })); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	if result(t, m, before) != 0xffffffff {
		t.Error("the BAR answered before it was decoded")
	}
	if len(rings) != 2 || rings[0] != 11 || rings[1] != 13 {
		t.Errorf("the doorbell rang with %v, want 11 and 13", rings)
	}
}

// A handler may run once more than its device asked for: there are KVMs that
// end a level-triggered interrupt when they deliver it. So the gadget counts what
// was acknowledged, as a driver relies on its device's status.
func TestInterruptLineWakesTheGuest(t *testing.T) {
	const (
		vector = 0x50
		start  = 1
		ack    = 2
	)
	p := payload.New()
	handled := p.Word()
	p.OnInterrupt(vector, func() { p.Store32(gadgetBAR, ack) })
	p.EnableInterrupts()
	p.RouteIOAPIC(pciRoute(gadgetSlot, 0), vector, true)
	decodeGadget(p)
	for i := range uint32(3) {
		p.Store32(gadgetBAR, start)
		p.HaltUntil32(handled, 0xff, i+1)
	}
	p.PowerOff()
	m := newMachine(t, p, Config{})
	var asking atomic.Bool
	var count uint32
	if err := m.AddDevice(gadgetSlot, newGadget(func(g *gadget, v uint32) {
		if v == start {
			go func() {
				asking.Store(true)
				g.f.SetINTx(true)
			}()
			return
		}
		g.f.SetINTx(false)
		if !asking.Swap(false) {
			return
		}
		count++
		if err := g.dma.Store32(handled, count); err != nil {
			t.Error(err)
		}
	})); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	if s := m.Stats(); s.LineChanges == 0 || s.Messages != 0 {
		t.Errorf("%d line changes and %d messages", s.LineChanges, s.Messages)
	}
}

// programMSIX points the gadget's vector at processor 0 and enables MSI-X.
func programMSIX(p *payload.Program, addr, data uint32) {
	const enable = 0x8000
	p.Store32(gadgetBAR+gadgetTable, addr)
	p.Store32(gadgetBAR+gadgetTable+4, 0)
	p.Store32(gadgetBAR+gadgetTable+8, data)
	p.Store32(gadgetBAR+gadgetTable+12, 0)
	p.ConfigWrite16(gadgetSlot, 0, gadgetMSIX+2, enable)
}

func TestMessageWakesTheGuest(t *testing.T) {
	p := payload.New()
	count := p.Word()
	p.OnInterrupt(gadgetVector, func() { p.Increment32(count) })
	p.EnableInterrupts()
	decodeGadget(p)
	programMSIX(p, payload.LAPIC, gadgetVector)
	for i := range uint32(3) {
		p.Store32(gadgetBAR, 1)
		p.HaltUntil32(count, 0xff, i+1)
	}
	p.PowerOff()
	m := newMachine(t, p, Config{})
	if err := m.AddDevice(gadgetSlot, newGadget(func(g *gadget, _ uint32) { go g.f.Signal(0) })); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	if s := m.Stats(); s.Messages != 3 || s.Undelivered != 0 || s.LineChanges != 0 {
		t.Errorf("%d messages, %d undelivered, %d line changes", s.Messages, s.Undelivered, s.LineChanges)
	}
}

func TestMessageToMemoryIsAWrite(t *testing.T) {
	p := payload.New()
	target := p.Word()
	decodeGadget(p)
	programMSIX(p, uint32(target), 0xfeed)
	p.Store32(gadgetBAR, 1)
	p.Wait32(target, 0xffffffff, 0xfeed)
	programMSIX(p, 0xd0000000, 0xfeed) // nobody is there
	p.Store32(gadgetBAR, 1)
	p.PowerOff()
	m := newMachine(t, p, Config{})
	if err := m.AddDevice(gadgetSlot, newGadget(func(g *gadget, _ uint32) { g.f.Signal(0) })); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	if s := m.Stats(); s.Messages != 2 || s.Undelivered != 1 {
		t.Errorf("%d messages, %d undelivered, want 2 and 1", s.Messages, s.Undelivered)
	}
}

func TestDoorbellDoesNotAllocate(t *testing.T) {
	p := payload.New()
	decodeGadget(p)
	p.Store32(gadgetBAR, 1)
	p.PowerOff()
	m := newMachine(t, p, Config{})
	var rings int
	var allocations float64
	if err := m.AddDevice(gadgetSlot, newGadget(func(*gadget, uint32) { rings++ })); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	// The shared page still has the last exit, the power-off; the machine has
	// ended, so doing it again changes nothing.
	c := m.cpus[0]
	allocations += testing.AllocsPerRun(100, func() { c.dispatch(2) })
	doorbell := c.vcpu.MMIO()
	doorbell.Addr, doorbell.Write, doorbell.Data = gadgetBAR, true, doorbell.Data[:4:4]
	before := rings
	allocations += testing.AllocsPerRun(100, func() { c.memoryAccess(doorbell) })
	if allocations != 0 || rings-before != 101 {
		t.Errorf("%v allocations for %d rings", allocations, rings-before)
	}
}

func TestDevicesAreClosedBeforeMemoryGoes(t *testing.T) {
	p := payload.New()
	p.PowerOff()
	m := newMachine(t, p, Config{})
	g := newGadget(nil)
	if err := m.AddDevice(gadgetSlot, g); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)

	g.closeErr = errors.New("still writing")
	err := m.Close(t.Context())
	if !errors.Is(err, g.closeErr) || !strings.Contains(err.Error(), "gadget") {
		t.Errorf("Close with a busy device: %v", err)
	}
	if err := m.DMA().Store32(0x1000, 1); err != nil {
		t.Errorf("memory went away under a busy device: %v", err)
	}
	g.closeErr = nil
	if err := m.Close(t.Context()); err != nil || !g.closed {
		t.Errorf("closed %v, %v", g.closed, err)
	}
}

func TestSlotIsTakenOnce(t *testing.T) {
	m := newMachine(t, nil, Config{})
	if err := m.AddDevice(gadgetSlot, newGadget(nil)); err != nil {
		t.Fatal(err)
	}
	if err := m.AddDevice(gadgetSlot, newGadget(nil)); err == nil {
		t.Error("a second device in the same slot was accepted")
	}
}

// resources counts what a machine could leave behind.
func resources(t *testing.T) (files, mappings int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "kvm-vcpu") {
			mappings++
		}
	}
	return len(fds), mappings
}

func TestNothingIsLeftBehind(t *testing.T) {
	cycle := func() {
		p := payload.New()
		p.OutString(payload.COM1, "x")
		p.PowerOff()
		m := newMachine(t, p, Config{CPUs: 2, Serial: []SerialConfig{{Out: &strings.Builder{}}}})
		if err := m.AddDevice(gadgetSlot, newGadget(nil)); err != nil {
			t.Fatal(err)
		}
		runTo(t, m, PowerOff)
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	files, mappings := resources(t)
	goroutines := runtime.NumGoroutine()
	for range 5 {
		cycle()
	}
	if f, m := resources(t); f > files || m > mappings {
		t.Errorf("files went from %d to %d, vCPU mappings from %d to %d", files, f, mappings, m)
	}
	// A goroutine that has returned from its last statement may still be counted
	// for a moment.
	deadline := time.Now().Add(runLimit)
	for runtime.NumGoroutine() > goroutines {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("goroutines went from %d to %d:\n%s", goroutines, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

func TestSleepingGuestCostsNothing(t *testing.T) {
	p := payload.New()
	p.Out8(payload.COM1, '.')
	p.Halt()
	asleep := make(chan struct{}, 1)
	out := writerFunc(func(b []byte) (int, error) {
		asleep <- struct{}{}
		return len(b), nil
	})
	m := newMachine(t, p, Config{CPUs: 2, Serial: []SerialConfig{{Out: out}}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if got, err := m.Run(t.Context()); got != Stopped || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}()
	<-asleep
	// The process may be busy with other things, a collection for one, but not for ever.
	const watch = 500 * time.Millisecond
	for deadline := time.Now().Add(runLimit); ; {
		before := cpuTime(t)
		time.Sleep(watch)
		used := cpuTime(t) - before
		t.Logf("%v of CPU in %v", used, watch)
		if used <= watch/10 {
			break
		}
		if time.Now().After(deadline) {
			t.Error("a sleeping guest takes CPU time without end")
			break
		}
	}
	m.Stop()
	<-done
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
