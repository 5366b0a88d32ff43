package bios

import (
	"bytes"
	"strings"
	"testing"

	"github.com/govmm/govmm/vmm"
)

// pattern is a sector of bytes that each differ from the one before by step.
func pattern(first, step byte) []byte {
	p := make([]byte, sectorSize)
	for i := range p {
		p[i] = first + byte(i)*step
	}
	return p
}

// TestBootSector holds that a disk boots: its first sector runs, reads another
// one by the BIOS, changes it and writes it elsewhere, hears the clock tick, gets
// a key from the terminal on COM1, and switches the machine off.
func TestBootSector(t *testing.T) {
	const (
		source, target = 5, 20480
		buffer         = 0x8000
		first, step    = 3, 7
		cpus           = 2
	)
	s := newSector()
	s.raw(0xB8, '@', 0x0E, 0xBB, 0x07, 0x00, 0xCD, 0x10) // int 10h, ah=0eh: show '@' on the screen
	s.say("started")
	s.transfer(0x42, "from")
	s.raw(0xBE).word(buffer)                  // mov si, buffer
	s.raw(0xB9).word(sectorSize)              // mov cx, 512
	s.raw(0xB0, first)                        // mov al, first
	s.label("byte")                           //
	s.raw(0x38, 0x04)                         // cmp [si], al
	s.failIf(jumpUnequal)                     //
	s.raw(0xF6, 0x14)                         // not byte [si]
	s.raw(0x04, step, 0x46)                   // add al, step; inc si
	s.jump(loopCX, "byte")                    //
	s.say("read").transfer(0x43, "to")        //
	s.say("wrote")                            //
	s.raw(0xB4, 0x00, 0xCD, 0x1A, 0x89, 0xD3) // int 1ah, ah=0; mov bx, dx
	s.label("sleep")                          //
	s.raw(0xF4)                               // hlt
	s.raw(0xB4, 0x00, 0xCD, 0x1A, 0x39, 0xDA) // int 1ah, ah=0; cmp dx, bx
	s.jump(jumpEqual, "sleep")                //
	s.say("ticked").say("key")
	s.raw(0xB4, 0x00, 0xCD, 0x16)           // int 16h, ah=0: wait for a key
	s.raw(0x3C, key[0]).failIf(jumpUnequal) // cmp al, key
	s.say("typed").powerOff()
	s.packet("from", buffer, source).packet("to", buffer, target)
	s.text("started", "STARTED\n").text("read", "READ\n").text("wrote", "WROTE\n").text("ticked", "TICKED\n")
	s.text("key", keyCue).text("typed", "TYPED\n")

	d := newDisk(t, map[int64][]byte{0: s.end(t), source: pattern(first, step)})
	var skipped bool
	t.Run("run", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		m := newMachine(t, vmm.Config{CPUs: cpus, Memory: 4 << 30}, nil, d)
		m.run(t, vmm.PowerOff)
		const want = "STARTED\nREAD\nWROTE\nTICKED\n" + keyCue + "TYPED\n"
		if got := m.serial.String(); got != want {
			t.Errorf("the boot sector said %q, want %q", got, want)
		}
		if got := m.screen.String(); !strings.Contains(got, "Booting from Hard Disk") || !strings.Contains(got, "@") {
			t.Errorf("the text screen on COM1: %q", got)
		}
		for _, want := range []string{"MegaRAID", "Running on QEMU (i440fx)", "Found 2 cpu(s)", "0000000100000000 - 0000000140000000 = 1 RAM", "Booting from Hard Disk..."} {
			if !strings.Contains(m.debug.String(), want) {
				t.Errorf("the firmware does not say %q:\n%s", want, m.debug)
			}
		}
		checkACPI(t, m, cpus)
		checkSMBIOS(t, m)
	})
	if skipped {
		return
	}
	want := pattern(first, step)
	for i := range want {
		want[i] = ^want[i]
	}
	if got := d.sector(t, target); !bytes.Equal(got, want) {
		t.Errorf("the disk has % x..., want % x...", got[:16], want[:16])
	}
}
