package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/scsi"
)

// read reads n blocks into one page, over and over: the medium moves nothing.
func read(t *testing.T, u *scsi.Unit, n uint32) {
	t.Helper()
	var c scsi.Command
	page := make([]byte, 64<<10)
	for range n * 512 / uint32(len(page)) {
		c.Data = append(c.Data, page)
	}
	u.Read(&c, 0, n, false)
	if c.Status != scsi.StatusGood {
		t.Fatal(&c)
	}
}

// thinDisk has storage behind its first MiB.
type thinDisk struct{ *disk }

func (thinDisk) Allocated(off, n int64) (bool, int64, error) {
	if off < 1<<20 {
		return true, min(n, 1<<20-off), nil
	}
	return false, n, nil
}

// TestLBAStatusThroughTheCard asks a volume and a system drive what of them has
// storage; a volume whose drive was pulled, and a drive that does not know, have
// no answer.
func TestLBAStatusThroughTheCard(t *testing.T) {
	g := running(t, Config{Drives: []DriveConfig{
		{Drive: drive(thinDisk{newDisk(4 << 20)}, 0)},
		{Drive: drive(thinDisk{newDisk(4 << 20)}, 1), System: true},
		{Drive: drive(newDisk(4<<20), 2)},
	}}, 16)
	cdb := []byte{0x9e, 0x12, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 64, 0, 0} // from block 1024
	want := []byte{0, 0, 0, 36, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, // 1024 blocks with storage
		0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0x18, 0, 1, 0, 0, 0} // 6144 without
	for _, tt := range []struct {
		cmd    mfi.Cmd
		target uint8
	}{{mfi.CmdLDSCSIIO, 0}, {mfi.CmdPDSCSIIO, 1}} {
		p, s, _, _ := g.scsi(tt.cmd, tt.target, 64, cdb...)
		if s != mfi.StatusOK || !bytes.HasPrefix(p, want) {
			t.Errorf("%v: %v,\n% x, want\n% x", tt.cmd, s, p, want)
		}
	}
	if _, s, _, sense := g.scsi(mfi.CmdLDSCSIIO, 1, 64, cdb...); s != mfi.StatusSCSIDoneWithError || sense[12] != 0x24 {
		t.Errorf("a drive that does not know: %v, sense % x", s, sense)
	}
	if err := g.c.RemoveDrive(0); err != nil {
		t.Fatal(err)
	}
	if _, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 64, cdb...); s != mfi.StatusLDOffline {
		t.Errorf("without its drive: %v", s)
	}
}

// TestDriveCountsForItsVolume reads from a volume and looks at the log page of
// the drive: error counters and bytes are the same, and the drive knows who
// talks to it.
func TestDriveCountsForItsVolume(t *testing.T) {
	cfg, d := oneDisk()
	g := running(t, cfg, 16)
	x, _ := g.blocks(mfi.CmdLDRead, 0, 4096)
	if _, s := g.poll(x); s != mfi.StatusOK {
		t.Fatal(s)
	}
	d.failing.Store(true)
	if _, s := g.poll(x); s != mfi.StatusSCSIDoneWithError {
		t.Fatal(s)
	}
	d.failing.Store(false)
	for _, cmd := range []mfi.Cmd{mfi.CmdLDSCSIIO, mfi.CmdPDSCSIIO} {
		p, s, _, _ := g.scsi(cmd, 0, 252, 0x4d, 0, 0x43, 0, 0, 0, 0, 0, 252, 0)
		if s != mfi.StatusOK {
			t.Fatal(s)
		}
		// Parameters of 12 bytes: the sixth is bytes processed, the seventh errors.
		if n := p[4+12*5+4:]; !bytes.HasPrefix(n, []byte{0, 0, 0, 0, 0, 0, 0x10, 0}) {
			t.Errorf("%v: bytes processed % x", cmd, n[:8])
		}
		if n := p[4+12*6+4+7]; n != 1 {
			t.Errorf("%v: %d uncorrected errors", cmd, n)
		}
	}
	info := memory(g.mustDCMD(mfi.OpPDGetInfo, 512, 0))
	if info.u32(0xa8) != 1 || info[0x192] != idleTemperature {
		t.Errorf("drive information: %d media errors, %d degrees", info.u32(0xa8), info[0x192])
	}
	p, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 0, 252, 0x4d, 0, 0x58, 0, 0, 0, 0, 0, 252, 0)
	if s != mfi.StatusOK || !bytes.Contains(p, []byte{0x50, 0x06, 0x05, 0xb0, 0x00, 0x00, 0x00, 0x10}) {
		t.Errorf("page 18: %v, % x", s, p)
	}
}
