package vmm

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/internal/textscreen"
)

// A guest sleeps until the clock of the chipset interrupts it, again and again: the
// periodic interrupt, acknowledged by reading register C.
func TestClockWakesTheGuest(t *testing.T) {
	const (
		vector           = 0x48
		index, data      = 0x70, 0x71
		regA, regB, regC = 0x0a, 0x0b, 0x0c
		rate             = 0x26 // 1,024 Hz
		periodic         = 0x42 // in 24-hour mode
	)
	p := payload.New()
	ticks := p.Word()
	p.OnInterrupt(vector, func() {
		p.Out8(index, regC)
		p.In8(data)
		p.If32(0x40, 0x40, func() { p.Increment32(ticks) })
	})
	p.EnableInterrupts()
	p.RouteIOAPIC(irqRTC, vector, false)
	p.Out8(index, regA)
	p.Out8(data, rate)
	p.Out8(index, regB)
	p.Out8(data, periodic)
	for n := range uint32(3) {
		p.HaltUntil32(ticks, 3, n+1)
		p.AllowInterrupts()
	}
	p.PowerOff()
	runTo(t, newMachine(t, p, Config{}), PowerOff)
}

// A key that is pressed outside interrupts the guest, which finds its scan code.
func TestKeyReachesTheGuest(t *testing.T) {
	const (
		vector   = 0x49
		scanCode = 0x1e // the key A, in set 1
		enable   = 0x65 // interrupt, system flag, translation; no mouse
	)
	p := payload.New()
	got, n := p.Word(), p.Word()
	p.OnInterrupt(vector, func() {
		p.In8(portKeyboardData)
		p.Save32(got)
		p.Increment32(n)
	})
	p.EnableInterrupts()
	p.RouteIOAPIC(irqKeyboard, vector, false)
	p.Out8(portKeyboardCommand, 0x60)
	p.Out8(portKeyboardData, enable)
	p.Out8(payload.COM1, '>')
	p.HaltUntil32(n, 0xff, 1)
	p.PowerOff()
	var m *Machine
	prompt := writerFunc(func(b []byte) (int, error) {
		if !m.Key(textscreen.Event{Code: scanCode}) {
			t.Error("the keyboard takes no key")
		}
		return len(b), nil
	})
	m = newMachine(t, p, Config{Serial: []SerialConfig{{Out: prompt}}})
	runTo(t, m, PowerOff)
	if v := result(t, m, got) & 0xff; v != scanCode {
		t.Errorf("scan code %#x, want %#x", v, scanCode)
	}
}

// A message interrupts the processor that it is addressed to, and no other.
func TestMessagesFindTheirProcessor(t *testing.T) {
	const (
		page, segment = 0x30000, 0x3000
		ready         = page + 0x800
		hits          = page + 0x804
		vector        = gadgetVector
		destination   = 12 // bit of the address
	)
	// The second processor enters x2APIC mode, where its local APIC is MSRs, since
	// real mode does not reach the registers in memory.
	code := []byte{
		0xb8, segment & 0xff, segment >> 8, 0x8e, 0xd8, // mov ax, segment; mov ds, ax
		0x31, 0xc0, 0x8e, 0xc0, // xor ax, ax; mov es, ax
		0x8e, 0xd0, 0xbc, 0x00, 0x70, // mov ss, ax; mov sp, 0x7000
		0x26, 0xc7, 0x06, vector * 4 & 0xff, vector * 4 >> 8, 0x80, 0x00, // mov word es:[4*vector], 0x80
		0x26, 0xc7, 0x06, vector*4&0xff + 2, vector * 4 >> 8, segment & 0xff, segment >> 8, // mov word es:[4*vector+2], segment
		0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, // mov ecx, IA32_APIC_BASE; rdmsr
		0x66, 0x0d, 0x00, 0x0c, 0, 0, 0x0f, 0x30, // or eax, 0xc00; wrmsr
		0x66, 0x31, 0xd2, // xor edx, edx
		0x66, 0xb9, 0x0f, 0x08, 0, 0, 0x66, 0xb8, 0xff, 0x01, 0, 0, 0x0f, 0x30, // mov ecx, 0x80f; mov eax, 0x1ff; wrmsr
		0xc6, 0x06, 0x00, 0x08, 0x01, // mov byte [0x800], 1
		0xfb, 0xf4, 0xeb, 0xfc, // sti; hlt; jmp to sti
	}
	const handler = 0x80
	code = append(code, make([]byte, handler-len(code))...)
	code = append(code,
		0xfe, 0x06, 0x04, 0x08, // inc byte [0x804]
		0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, // xor eax, eax; xor edx, edx
		0x66, 0xb9, 0x0b, 0x08, 0, 0, 0x0f, 0x30, // mov ecx, 0x80b; wrmsr: end of interrupt
		0xcf) // iret
	p := payload.New()
	own := p.Word()
	p.OnInterrupt(vector, func() { p.Increment32(own) })
	p.EnableInterrupts()
	p.StartProcessor(1, page, code)
	p.Wait32(ready, 0xff, 1)
	decodeGadget(p)
	ring := func(processor uint32) {
		programMSIX(p, payload.LAPIC|processor<<destination, vector)
		p.Store32(gadgetBAR, 1)
	}
	ring(1)
	p.Wait32(hits, 0xff, 1)
	ring(0)
	p.HaltUntil32(own, 0xff, 1)
	p.AllowInterrupts()
	ring(1)
	p.Wait32(hits, 0xff, 2)
	p.PowerOff()
	m := newMachine(t, p, Config{CPUs: 2})
	if err := m.AddDevice(gadgetSlot, newGadget(func(g *gadget, _ uint32) { go g.f.Signal(0) })); err != nil {
		t.Fatal(err)
	}
	runTo(t, m, PowerOff)
	if v := result(t, m, own); v != 1 {
		t.Errorf("the first processor had %d interrupts, one was for it", v)
	}
}

// A BIOS reads a file of fw_cfg by DMA: a control block that it copies to RAM, whose
// address is written with the high byte first.
func TestBIOSReadsFirmwareConfigurationByDMA(t *testing.T) {
	const at, control, to = 0x0100, 0x3000, 0x2000 // in the ROM's segment, and in RAM twice
	code := []byte{
		0xB8, 0x00, 0xF0, 0x8E, 0xD8, // mov ax, 0xf000; mov ds, ax
		0x31, 0xC0, 0x8E, 0xC0, // xor ax, ax; mov es, ax
		0xBE, at & 0xff, at >> 8, 0xBF, control & 0xff, control >> 8, // mov si, 0x100; mov di, 0x3000
		0xB9, 0x10, 0x00, 0xFC, 0xF3, 0xA4, // mov cx, 16; cld; rep movsb
		0x8E, 0xD8, // mov ds, ax
		0x66, 0xB8, 0x00, 0x00, control >> 8, control & 0xff, // mov eax, the address as it lies in memory
		0xBA, 0x18, 0x05, 0x66, 0xEF, // mov dx, 0x518; out dx, eax
		0xBA, 0x02, 0x04, // mov dx, 0x402
		0xA0, control & 0xff, control >> 8, 0xEE, // mov al, [0x3000]; out dx, al
		0xA0, control&0xff + 3, control >> 8, 0xEE, // mov al, [0x3003]; out dx, al: control, cleared
		0xBE, to & 0xff, to >> 8, // mov si, 0x2000
		0xB9, 0x05, 0x00, // mov cx, 5
		0xAC, 0xEE, 0xE2, 0xFC, // lodsb; out dx, al; loop
		0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, 0xF4, // reset
	}
	block := binary.BigEndian.AppendUint32(nil, 0<<16|8|2) // select the signature, read
	block = binary.BigEndian.AppendUint32(block, 4)
	block = binary.BigEndian.AppendUint64(block, to)
	code = append(append(code, make([]byte, at-len(code))...), block...)
	var debug bytes.Buffer
	m := newMachine(t, nil, Config{BIOS: &BIOS{Image: tinyBIOS(code...), Debug: &debug}})
	runTo(t, m, Reset)
	if want := "\x00\x00QEMU\x00"; debug.String() != want {
		t.Errorf("the BIOS said %q, want %q", debug.String(), want)
	}
}
