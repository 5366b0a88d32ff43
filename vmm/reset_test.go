package vmm

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"github.com/govmm/govmm/internal/payload"
)

// nvramBoots is a byte of the clock's memory that no reset touches, in which
// programs count how often they were started.
const nvramBoots = 0x50

// countBoot leaves the number of the boot, from 1, in the accumulator.
func countBoot(p *payload.Program) {
	p.Out8(0x70, nvramBoots)
	p.In8(0x71)
	p.Add(1)
	p.Raw(0x66, 0xba, 0x71, 0x00, 0xee) // mov dx, 0x71; out dx, al
}

// recorder keeps the events of a machine.
type recorder struct {
	mu   sync.Mutex
	list []Event
}

func (r *recorder) notify(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

func (r *recorder) events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// spin is real-mode code that counts up the word at 0x800 of its page for good.
func spin(page uint32) []byte {
	segment := page >> 4
	return []byte{
		0xb8, byte(segment), byte(segment >> 8), // mov ax, segment
		0x8e, 0xd8, // mov ds, ax
		0x66, 0xff, 0x06, 0x00, 0x08, // again: inc dword [0x800]
		0xeb, 0xf9, // jmp again
	}
}

// A guest changes what can be changed and resets the machine. When it comes up
// again everything is as at power-on, the second processor asleep, and the RAM
// cleared for the kernel.
func TestResetInPlace(t *testing.T) {
	ways := []struct {
		name  string
		cause Cause
		do    func(p *payload.Program)
	}{
		{"port 0xcf9", GuestReset, func(p *payload.Program) { p.Out8(0xcf9, 0x02); p.Out8(0xcf9, 0x06) }},
		{"ACPI reset register", GuestReset, func(p *payload.Program) { p.Out8(0xcf9, 0x0f) }},
		{"keyboard controller", GuestReset, func(p *payload.Program) { p.Out8(0x64, 0xfe) }},
		{"port 0x92", GuestReset, func(p *payload.Program) { p.Out8(0x92, 0x01) }},
		{"triple fault", GuestTripleFault, func(p *payload.Program) { p.TripleFault() }},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			const (
				page     = 0x30000
				counter  = page + 0x800
				scratch  = 0x90000
				lapicSVR = payload.LAPIC + 0xf0
				boots    = 3
			)
			p := payload.New()
			countBoot(p)
			boot := p.Word()
			p.Save32(boot)
			words := map[string]uint64{}
			want := map[string]uint32{
				"RAM": 0, "spurious vector": 0xff, "8259 mask": 0, "link A": 0x80, "gadget command": 0,
				"DR0": 0, "kernel GS base": 0, "counter of the second processor": 0,
				"A20 port": 2, "APM scratch": 0, "COM1 scratch": 0,
			}
			save := func(what string) {
				words[what] = p.Word()
				p.Save32(words[what])
			}
			p.Load32(scratch)
			save("RAM")
			p.Load32(lapicSVR)
			save("spurious vector")
			p.In8(0x21)
			save("8259 mask")
			p.ConfigRead32(1, 0, 0x60)
			p.Raw(0x0f, 0xb6, 0xc0) // movzx eax, al
			save("link A")
			p.ConfigRead32(gadgetSlot, 0, 0x04)
			p.Raw(0x0f, 0xb7, 0xc0) // movzx eax, ax
			save("gadget command")
			p.Raw(0x0f, 0x21, 0xc0) // mov rax, dr0
			save("DR0")
			p.Raw(0xb9, 0x02, 0x01, 0x00, 0xc0, 0x0f, 0x32) // mov ecx, 0xc0000102; rdmsr
			save("kernel GS base")
			p.In8(0x92)
			save("A20 port")
			p.In8(0xb3)
			save("APM scratch")
			p.In8(payload.COM1 + 7)
			save("COM1 scratch")
			p.Repeat(1000, func() { p.Raw(0xf3, 0x90) }) // time for the second processor
			p.Load32(counter)
			save("counter of the second processor")

			p.Load32(boot)
			p.If32(0xff, boots, func() { p.PowerOff() })
			p.Store32(scratch, 0x5a5a5a5a)
			p.EnableInterrupts()
			p.ConfigWrite32(1, 0, 0x60, 0x0b0b0b0b)
			decodeGadget(p)
			p.Set(0x1234)
			p.Raw(0x0f, 0x23, 0xc0)                                     // mov dr0, rax
			p.Raw(0x31, 0xd2, 0xb9, 0x02, 0x01, 0x00, 0xc0, 0x0f, 0x30) // xor edx, edx; mov ecx, 0xc0000102; wrmsr
			p.Out8(0x92, 0)
			p.Out8(0xb3, 0x77)
			p.Out8(payload.COM1+7, 0x77)
			p.StartProcessor(1, page, spin(page))
			p.WaitOther32(counter, 0xffffffff, 0)
			way.do(p)
			p.Halt()

			var events recorder
			m := newMachine(t, p, Config{CPUs: 2, OnReset: RestartOnReset, Notify: events.notify, Serial: []SerialConfig{{}}})
			if err := m.AddDevice(gadgetSlot, newGadget(func(*gadget, uint32) {})); err != nil {
				t.Fatal(err)
			}
			runTo(t, m, PowerOff)
			for what, addr := range words {
				if v := result(t, m, addr); v != want[what] {
					t.Errorf("after the reset: %s is %#x, want %#x", what, v, want[what])
				}
			}
			wantEvents := []Event{ResetDone{way.cause}, ResetDone{way.cause}, Ended{PowerOff, GuestPowerOff}}
			if got := events.events(); !slices.Equal(got, wantEvents) {
				t.Errorf("events %v, want %v", got, wantEvents)
			}
		})
	}
}

// A machine with a BIOS starts again at the reset vector, with its shadow as at
// power-on, and finds the rest of the RAM as it was.
func TestResetWithBIOS(t *testing.T) {
	code := []byte{
		0xB0, nvramBoots, // mov al, the counter
		0xE6, 0x70, // out 0x70, al
		0xE4, 0x71, // in al, 0x71
		0x04, 'A', // add al, 'A'
		0xBA, 0x02, 0x04, // mov dx, 0x402
		0xEE,       // out dx, al
		0x31, 0xDB, // xor bx, bx
		0x8E, 0xDB, // mov ds, bx
		0xA0, 0x00, 0x70, // mov al, [0x7000]: RAM
		0xEE,                         // out dx, al
		0xC6, 0x06, 0x00, 0x70, 0x55, // mov byte [0x7000], 0x55
		0xBB, 0x00, 0xF0, // mov bx, 0xf000
		0x8E, 0xDB, // mov ds, bx
		0xA0, 0x00, 0x00, // mov al, [0]: the shadow
		0xEE,                         // out dx, al
		0xC6, 0x06, 0x00, 0x00, 0x77, // mov byte [0], 0x77
		0xE4, 0x71, // in al, 0x71
		0x3C, 0x02, // cmp al, 2
		0x74, 0x09, // je off
		0xFE, 0xC0, // inc al
		0xE6, 0x71, // out 0x71, al
		0xB0, 0xFE, // mov al, 0xfe
		0xE6, 0x64, // out 0x64, al: reset
		0xF4, // hlt
		// off: the PM block has to be decoded first
		0x66, 0xB8, 0x40, 0x0B, 0x00, 0x80, // mov eax, 0x80000b40
		0xBA, 0xF8, 0x0C, // mov dx, 0xcf8
		0x66, 0xEF, // out dx, eax
		0xB8, 0x01, 0x06, // mov ax, 0x601
		0xBA, 0xFC, 0x0C, // mov dx, 0xcfc
		0xEF,                               // out dx, ax
		0x66, 0xB8, 0x80, 0x0B, 0x00, 0x80, // mov eax, 0x80000b80
		0xBA, 0xF8, 0x0C, // mov dx, 0xcf8
		0x66, 0xEF, // out dx, eax
		0xB0, 0x01, // mov al, 1
		0xBA, 0xFC, 0x0C, // mov dx, 0xcfc
		0xEE,             // out dx, al
		0xB8, 0x00, 0x20, // mov ax, 0x2000
		0xBA, 0x04, 0x06, // mov dx, 0x604
		0xEF, // out dx, ax
		0xF4, // hlt
	}
	var debug bytes.Buffer
	m := newMachine(t, nil, Config{OnReset: RestartOnReset, BIOS: &BIOS{Image: tinyBIOS(code...), Debug: &debug}})
	runTo(t, m, PowerOff)
	if want := "A\x00\xB0B\x55\xB0C\x55\xB0"; debug.String() != want {
		t.Errorf("the BIOS said %q, want %q", debug.String(), want)
	}
}

// The reset button works from outside, and on a guest that sleeps for good.
func TestResetFromOutside(t *testing.T) {
	p := payload.New()
	countBoot(p)
	p.If32(0xff, 2, func() { p.PowerOff() })
	p.Out8(payload.COM1, '.')
	p.Halt()
	var m *Machine
	out := writerFunc(func(b []byte) (int, error) {
		m.Reset()
		return len(b), nil
	})
	m = newMachine(t, p, Config{Serial: []SerialConfig{{Out: out}}})
	m.Reset() // does nothing: it does not run yet
	runTo(t, m, PowerOff)
}

// Resets that come while one is under way are one, and a machine that is told to
// stop in the middle ends.
func TestStopDuringResets(t *testing.T) {
	p := payload.New()
	p.Out8(payload.COM1, '.')
	p.Out8(0x64, 0xfe)
	p.Halt()
	var m *Machine
	boots := 0
	out := writerFunc(func(b []byte) (int, error) {
		for range b {
			m.Reset()
			if boots++; boots == 20 {
				m.Stop()
			}
		}
		return len(b), nil
	})
	m = newMachine(t, p, Config{CPUs: 2, OnReset: RestartOnReset, Serial: []SerialConfig{{Out: out}}})
	runTo(t, m, Stopped)
}
