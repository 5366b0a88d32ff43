package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// sataDrive is a drive that speaks ATA.
func sataDrive(slot uint8, d *disk) raid.Drive {
	return raid.NewDrive(d, raid.DriveIdentity{Vendor: "ATA", Product: "TEST SATA", Revision: "1", Serial: "S",
		WWN: 0x5000c50000000000 | uint64(slot)<<8, Interface: raid.SATA, Enclosure: raid.NoEnclosure, Slot: slot})
}

// hostFIS is a FIS with a command and, at offset 12, a count.
func hostFIS(command, feature, count byte, lba ...byte) (f [20]byte) {
	f = [20]byte{0: 0x27, 1: 0x80, 2: command, 3: feature, 7: 0x40, 12: count}
	copy(f[4:7], lba)
	return f
}

// TestSTP sends ATA commands to a SATA drive, a SATA drive with a volume on it, a
// SAS drive and none.
func TestSTP(t *testing.T) {
	g := running(t, Config{Drives: []DriveConfig{
		{Drive: sataDrive(0, newDisk(1<<20)), System: true},
		{Drive: sataDrive(1, newDisk(1<<20))},
		{Drive: drive(newDisk(1<<20), 2), System: true},
	}}, 16)
	stp := func(target uint8, fis [20]byte, data uint64, n uint32) (mfi.Status, []byte) {
		answer := g.alloc(20)
		_, s := g.poll(mfi.Fields{Cmd: mfi.CmdSTP, Target: target, FIS: fis, Flags: mfi.FlagSGL64,
			SGL: []mfi.SGE{{Addr: answer, Len: 20}, {Addr: data, Len: n}}})
		return s, g.mem[answer:][:20]
	}
	at := g.alloc(4096)
	identify := hostFIS(0xec, 0, 1)
	for target := range uint8(2) {
		s, fis := stp(target, identify, at, 512)
		if s != mfi.StatusOK || fis[0] != 0x34 || fis[2] != 0x50 || !bytes.HasPrefix(g.mem[at+54:], []byte("ETTSS TA A")) {
			t.Errorf("IDENTIFY of drive %d: %v, % x, model %q", target, s, fis, g.mem[at+54:][:20])
		}
	}
	if s, fis := stp(0, hostFIS(0xe5, 0, 0), 0, 0); s != mfi.StatusOK || fis[12] != 0xff {
		t.Errorf("CHECK POWER MODE: %v, % x", s, fis)
	}
	for i := range uint64(512) {
		g.mem[at+i] = byte(i)
	}
	if s, _ := stp(0, hostFIS(0x35, 0, 1, 7), at, 512); s != mfi.StatusOK {
		t.Errorf("WRITE DMA EXT: %v", s)
	}
	if s, _ := stp(0, hostFIS(0x25, 0, 1, 7), at+512, 512); s != mfi.StatusOK || !bytes.Equal(g.mem[at:at+512], g.mem[at+512:at+1024]) {
		t.Errorf("READ DMA EXT: %v", s)
	}
	for what, tt := range map[string]struct {
		target uint8
		fis    [20]byte
		data   uint64
		n      uint32
		want   mfi.Status
	}{
		"a write to a member":    {1, hostFIS(0x35, 0, 1), at, 512, mfi.StatusWrongState},
		"a SAS drive":            {2, identify, at, 512, mfi.StatusPDTypeWrong},
		"no drive":               {9, identify, at, 512, mfi.StatusDeviceNotFound},
		"no drive can be there":  {255, identify, at, 512, mfi.StatusDeviceNotFound},
		"no such command":        {0, hostFIS(0x02, 0, 0), 0, 0, mfi.StatusSCSIIOFailed},
		"no command at all":      {0, [20]byte{0: 0x34, 2: 0xec}, at, 512, mfi.StatusSCSIIOFailed},
		"beyond the end":         {0, hostFIS(0x25, 0, 1, 0, 0, 0xff), at, 512, mfi.StatusSCSIIOFailed},
		"data outside of memory": {0, identify, ramSize, 512, mfi.StatusInvalidSGL},
		"data of 4 GiB":          {0, identify, at, 0xffffffff, mfi.StatusInvalidSGL},
		"too little room":        {0, hostFIS(0x25, 0, 8), at, 512, mfi.StatusSCSIIOFailed},
	} {
		if s, _ := stp(tt.target, tt.fis, tt.data, tt.n); s != tt.want {
			t.Errorf("%s: %v, want %v", what, s, tt.want)
		}
	}
	if _, s := g.poll(mfi.Fields{Cmd: mfi.CmdSMP}); s != mfi.StatusDeviceNotFound {
		t.Errorf("SMP: %v", s)
	}
	g.alive()
}
