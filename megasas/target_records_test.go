package megasas

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// modeSelect sends MODE SELECT(6) with one page.
func (g *guest) modeSelect(cmd mfi.Cmd, target, flags uint8, page ...byte) mfi.Status {
	g.t.Helper()
	n := uint32(4 + len(page))
	at := g.alloc(uint64(n))
	copy(g.mem[at+4:], page)
	x := mfi.Fields{
		Cmd: cmd, Target: target, CDB: []byte{0x15, 0x10 | flags, 0, 0, byte(n), 0}, DataLen: n,
		SGL: []mfi.SGE{{Addr: at, Len: n}}, Flags: mfi.FlagIEEE | mfi.FlagSGL64 | mfi.FlagWrite,
	}
	_, s := g.poll(x)
	return s
}

// modePage is a mode page by MODE SENSE(6), with its header.
func (g *guest) modePage(cmd mfi.Cmd, target, page uint8) []byte {
	g.t.Helper()
	p, s, _, sense := g.scsi(cmd, target, 64, 0x1a, 0x08, page, 0, 64, 0)
	if s != mfi.StatusOK {
		g.t.Fatalf("MODE SENSE: %v, sense % x", s, sense)
	}
	return bytes.Clone(p[4 : 6+p[5]])
}

// Mode pages as an initiator sends them: D_SENSE set, and WCE clear.
var (
	descriptorPage = []byte{0x0a, 10, 0x04, 0x10, 0, 0, 0, 0, 0, 0, 0, 0}
	uncachedPage   = append([]byte{0x08, 18}, make([]byte, 18)...)
)

// TestSavedModePages has a volume and a system drive save mode parameters: they are
// there after the card has restarted, and after a crash; they go with the drive and
// not with its slot; and they end with the volume.
func TestSavedModePages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.nvram")
	config := func(first uint8) Config {
		return Config{NVRAM: NVRAMFile(path), Drives: []DriveConfig{
			{Drive: drive(newDisk(1<<20), first)}, {Drive: drive(newDisk(1<<20), 1-first), System: true},
		}}
	}
	g := running(t, config(0), 16)
	if s := g.modeSelect(mfi.CmdLDSCSIIO, 0, 1, descriptorPage...); s != mfi.StatusOK {
		t.Fatal(s)
	}
	if s := g.modeSelect(mfi.CmdPDSCSIIO, 1, 1, uncachedPage...); s != mfi.StatusOK {
		t.Fatal(s)
	}
	for name, end := range map[string]func(){"crash": func() {}, "close": func() { closeNow(t, g) }} {
		end()
		again := running(t, config(0), 16)
		if p := again.modePage(mfi.CmdLDSCSIIO, 0, 0x0a); p[0] != 0x8a || p[2] != 0x04 {
			t.Errorf("%s: the volume has page % x", name, p)
		}
		if p, saved := again.modePage(mfi.CmdPDSCSIIO, 1, 0x08), again.modePage(mfi.CmdPDSCSIIO, 1, 0xc8); p[2] != 0 || !bytes.Equal(p, saved) {
			t.Errorf("%s: the drive has page % x, saved % x", name, p, saved)
		}
		if p := again.modePage(mfi.CmdPDSCSIIO, 1, 0x88); p[2] != 0x04 {
			t.Errorf("%s: the default became % x", name, p)
		}
		closeNow(t, again)
	}
	g = running(t, config(1), 16) // the drives have changed places
	if p := g.modePage(mfi.CmdPDSCSIIO, 0, 0x08); p[2] != 0 {
		t.Errorf("the drive has forgotten its page in another place: % x", p)
	}
	closeNow(t, g)

	g = running(t, config(0), 16)
	if err := g.c.DeleteVolume(0); err != nil {
		t.Fatal(err)
	}
	g.mustDCMD(mfi.OpPDStateSet, 0, append(g.driveRef(0), le16(uint16(mfi.PDSystem))...)...)
	if p := g.modePage(mfi.CmdPDSCSIIO, 0, 0x0a); p[2] != 0 {
		t.Errorf("the drive has the volume's page: % x", p)
	}
	closeNow(t, g)
	g = running(t, config(0), 16)
	if p := g.modePage(mfi.CmdLDSCSIIO, 0, 0x0a); p[2] != 0 {
		t.Errorf("a new volume has the page of the one that was deleted: % x", p)
	}
}

// TestSavedModePagesWithoutNVRAM saves without a place on the host: they live as
// long as the controller, also with the drive out of its slot meanwhile.
func TestSavedModePagesWithoutNVRAM(t *testing.T) {
	d := DriveConfig{Drive: drive(newDisk(1<<20), 0), System: true}
	g := running(t, Config{Drives: []DriveConfig{d}}, 16)
	if s := g.modeSelect(mfi.CmdPDSCSIIO, 0, 1, uncachedPage...); s != mfi.StatusOK {
		t.Fatal(s)
	}
	if err := g.c.RemoveDrive(0); err != nil {
		t.Fatal(err)
	}
	if _, err := g.c.AddDrive(d); err != nil {
		t.Fatal(err)
	}
	if p := g.modePage(mfi.CmdPDSCSIIO, 0, 0x08); p[2] != 0 {
		t.Errorf("page % x", p)
	}
}

// TestSavedModePagesFail saves to an NVRAM that cannot be written: the command
// fails, and nothing is saved later.
func TestSavedModePagesFail(t *testing.T) {
	cfg, _ := oneDisk()
	cfg.NVRAM = brokenNVRAM{NVRAMFile(filepath.Join(t.TempDir(), "card.nvram"))}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	list := append(make([]byte, 4), uncachedPage...)
	cmd := scsi.Command{CDB: []byte{0x15, 0x11, 0, 0, byte(len(list)), 0}, Data: [][]byte{list}}
	unit := c.physicals[0].Load().unit
	unit.Execute(&cmd)
	if s, _ := scsi.ParseSense(cmd.Sense); s.Code != scsi.ASCInternalTargetFailure || !errors.Is(cmd.Err, errBroken) || !unit.WriteCache() {
		t.Errorf("%v", &cmd)
	}
	if n := len(c.nvram.modes.list()); n != 0 {
		t.Errorf("%d records", n)
	}
}

// TestTargetRecordsBounded saves for many more drives than can be there.
func TestTargetRecordsBounded(t *testing.T) {
	var m targetRecords[modeRecord]
	for i := range 3 * maxTargetRecords {
		of := target{name: [32]byte{byte(i), byte(i >> 8)}}
		m.replace(of, &modeRecord{target: of})
	}
	if n := len(m.list()); n != maxTargetRecords || m.of(target{}) != nil {
		t.Errorf("%d records", n)
	}
}

// TestReservationsOutliveTheHost reserves a volume and a system drive with APTPL:
// both are reserved after the card has restarted, and after a crash.
func TestReservationsOutliveTheHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card.nvram")
	cfg := Config{NVRAM: NVRAMFile(path), Drives: []DriveConfig{
		{Drive: drive(newDisk(1<<20), 0)}, {Drive: drive(newDisk(1<<20), 1), System: true},
	}}
	units := []struct {
		cmd    mfi.Cmd
		target uint8
		key    byte
	}{{mfi.CmdLDSCSIIO, 0, 0x11}, {mfi.CmdPDSCSIIO, 1, 0x22}}
	g := running(t, cfg, 16)
	for _, u := range units {
		for action, list := range [][24]byte{{15: u.key, 20: 1}, {7: u.key}} { // REGISTER with APTPL, RESERVE
			at := g.alloc(24)
			copy(g.mem[at:], list[:])
			_, s := g.poll(mfi.Fields{
				Cmd: u.cmd, Target: u.target, CDB: []byte{0x5f, byte(action), 5, 0, 0, 0, 0, 0, 24, 0}, DataLen: 24,
				SGL: []mfi.SGE{{Addr: at, Len: 24}}, Flags: mfi.FlagIEEE | mfi.FlagSGL64 | mfi.FlagWrite,
			})
			if s != mfi.StatusOK {
				t.Fatalf("service action %d: %v", action, s)
			}
		}
	}
	for name, end := range map[string]func(){"crash": func() {}, "close": func() { closeNow(t, g) }} {
		end()
		again := running(t, cfg, 16)
		for _, u := range units {
			p, s, _, _ := again.scsi(u.cmd, u.target, 24, 0x5e, 1, 0, 0, 0, 0, 0, 0, 24, 0)
			if s != mfi.StatusOK || p[15] != u.key || p[21] != 5 {
				t.Errorf("%s: %v %d: %v, reservation % x", name, u.cmd, u.target, s, p)
			}
		}
		closeNow(t, again)
	}
}
