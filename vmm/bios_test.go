package vmm

import (
	"bytes"
	"strings"
	"testing"

	"github.com/govmm/govmm/pci"
)

const romSize = 64 << 10

// tinyBIOS is a BIOS whose code runs from the ROM below 4 GiB: it begins at offset 0, and the reset vector jumps there.
func tinyBIOS(code ...byte) *bytes.Reader {
	image := make([]byte, romSize)
	copy(image, code)
	const vector = romSize - 16
	copy(image[vector:], []byte{0xE9, 0x0D, 0x00}) // jmp 0: the distance wraps around
	return bytes.NewReader(image)
}

// A machine with a BIOS starts at the reset vector, with the ROM in place and
// read-only, seen below 1 MiB as well, and the firmware's ports there.
func TestBIOSStartsAtTheResetVector(t *testing.T) {
	code := []byte{
		0xBA, 0x02, 0x04, // mov dx, 0x402
		0xEC,                               // in al, dx: 0xe9
		0xEE,                               // out dx, al
		0x2E, 0xC6, 0x06, 0x00, 0x80, 0x55, // mov byte cs:[0x8000], 0x55: the ROM
		0x2E, 0xA0, 0x00, 0x80, // mov al, cs:[0x8000]
		0xEE,             // out dx, al: 0, as before
		0xB8, 0x00, 0xF0, // mov ax, 0xf000
		0x8E, 0xD8, // mov ds, ax
		0xA0, 0x00, 0x00, // mov al, [0]
		0xEE,                         // out dx, al: the first byte of this code
		0xC6, 0x06, 0x00, 0x80, 0x77, // mov byte [0x8000], 0x77
		0xA0, 0x00, 0x80, // mov al, [0x8000]
		0xEE,       // out dx, al: 0, as before
		0x31, 0xC0, // xor ax, ax
		0xBA, 0x10, 0x05, // mov dx, 0x510
		0xEF,             // out dx, ax: select the signature
		0x42,             // inc dx
		0xEC,             // in al, dx
		0xBA, 0x02, 0x04, // mov dx, 0x402
		0xEE,             // out dx, al: 'Q'
		0xBA, 0xF9, 0x0C, // mov dx, 0xcf9
		0xB0, 0x06, // mov al, 6
		0xEE, // out dx, al: reset
		0xF4, // hlt
	}
	var debug bytes.Buffer
	m := newMachine(t, nil, Config{BIOS: &BIOS{Image: tinyBIOS(code...), Debug: &debug}})
	runTo(t, m, Reset)
	if want := "\xE9\x00\xBA\x00Q"; debug.String() != want {
		t.Errorf("the BIOS said %q, want %q", debug.String(), want)
	}
}

func TestBadBIOS(t *testing.T) {
	for want, c := range map[string]Config{
		"a kernel and a BIOS":                                {Kernel: bytes.NewReader(nil), BIOS: &BIOS{Image: tinyBIOS()}},
		"BIOS image of 5 bytes: must be a multiple of 4 KiB": {BIOS: &BIOS{Image: bytes.NewReader([]byte("hello"))}},
	} {
		c.Memory, c.CPUs = 16*mib, 1
		m, err := New(c)
		if err == nil {
			m.Close(t.Context())
			t.Errorf("%s: accepted", want)
			continue
		}
		skipWithoutKVM(t, err)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestInterruptLinks(t *testing.T) {
	var l interruptLinks
	for slot := range 32 {
		if got := l.route(slot, 0); got >= 0 {
			t.Errorf("before the BIOS programs it, slot %d is connected to interrupt %d", slot, got)
		}
	}
	l.set([4]pci.PIRQRoute{10, 10, 11, 11}) // as SeaBIOS does
	for slot := 1; slot < 32; slot++ {
		for pin := range 4 {
			if got, want := l.route(slot, pin), biosRoute(slot, pin); got != want {
				t.Errorf("slot %d, pin %d: interrupt %d, ACPI says %d", slot, pin, got, want)
			}
		}
	}
	l.set([4]pci.PIRQRoute{0x80, 5, 0x8B, 11})
	for pin, want := range []int{-1, 5, -1, 11} {
		if got := l.route(1, pin); got != want {
			t.Errorf("link %d: interrupt %d, want %d", pin, got, want)
		}
	}
}

// A line that a PCI function shares with a chip stays asserted until both let
// go of it.
func TestSharedLine(t *testing.T) {
	m := newMachine(t, nil, Config{})
	chip := m.platform.line(irqSCI)
	level := func() bool {
		l := &m.platform.isa[irqSCI]
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.level()
	}
	for _, step := range []struct {
		do   func()
		want bool
	}{
		{func() { chip(true) }, true},
		{func() { m.platform.SetIRQ(irqSCI, true) }, true},
		{func() { chip(false) }, true},
		{func() { m.platform.SetIRQ(irqSCI, false) }, false},
	} {
		step.do()
		if level() != step.want {
			t.Errorf("the line is asserted: %v, want %v", level(), step.want)
		}
	}
}
