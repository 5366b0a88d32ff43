package bios

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/vmm"
)

// newDisc makes an ISO image with a boot record, by a program that was not written
// here. The boot sector is loaded without emulation of another drive.
func newDisc(t *testing.T, sector []byte) string {
	t.Helper()
	if _, err := exec.LookPath("xorriso"); err != nil {
		t.Skipf("%v (package xorriso)", err)
	}
	dir, iso := t.TempDir(), filepath.Join(t.TempDir(), "disc.iso")
	for name, data := range map[string][]byte{"boot.bin": sector, "file": pattern(7, 11)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-V", "TEST", "-o", iso,
		"-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "1", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return iso
}

// disc puts an image into a CD-ROM drive.
func disc(t *testing.T, path string) megasas.DriveConfig {
	t.Helper()
	spec, _, err := block.ParseSpec("path=" + path + ",format=raw,readonly=on")
	if err != nil {
		t.Fatal(err)
	}
	medium, err := block.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { medium.Close() })
	return megasas.DriveConfig{Drive: raid.NewDrive(medium, raid.DriveIdentity{
		Vendor: "GOVMM", Product: "CD", Revision: "1.0", Serial: "CD", WWN: 3<<60 | 0xCD,
		Media: raid.Optical, Enclosure: raid.NoEnclosure, Slot: 7,
	})}
}

// TestDiscBoots holds that SeaBIOS boots a disc (El Torito) after a disk that has
// nothing to boot, and that the program reads blocks of 2048 bytes by INT 13h.
func TestDiscBoots(t *testing.T) {
	const buffer = 0x8000
	s := newSector().say("started")
	s.transfer(0x42, "volume")
	s.raw(0x81, 0x3E).word(buffer+1).raw('C', 'D').failIf(jumpUnequal)     // cmp word [buffer + 1], 'CD'
	s.raw(0x81, 0x3E).word(buffer+40).raw('T', 'E').failIf(jumpUnequal)    // cmp word [buffer + 40], 'TE'
	s.raw(0x81, 0x3E).word(buffer+2048).raw(0x00, 'C').failIf(jumpUnequal) // the block after it
	s.say("read").powerOff()
	s.label("volume").raw(16, 0).word(2).word(buffer).word(0).word(16).word(0).word(0).word(0)
	s.text("started", "STARTED\n").text("read", "READ\n")
	iso := newDisc(t, s.end(t))

	m := newMachineWith(t, vmm.Config{}, vmm.BIOS{}, newDisk(t, nil))
	if _, err := m.controller.AddDrive(disc(t, iso)); err != nil {
		t.Fatal(err)
	}
	m.run(t, vmm.PowerOff)
	if got, want := m.serial.String(), "STARTED\nREAD\n"; got != want {
		t.Errorf("the boot sector said %q, want %q\n%s", got, want, m.screen)
	}
	if !bytes.Contains([]byte(m.screen.String()), []byte("Booting from DVD/CD")) {
		t.Errorf("screen: %q", m.screen)
	}
}
