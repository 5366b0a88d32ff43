package megasas

import (
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestSpinDown spins drives down by SHUTDOWN, which has a bit for it, and by START
// STOP UNIT, and has them turn again, a volume's drive by a read of the volume.
func TestSpinDown(t *testing.T) {
	g := running(t, Config{Drives: []DriveConfig{
		{Drive: drive(newDisk(1<<20), 0)}, {Drive: drive(newDisk(1<<20), 1), System: true},
	}}, 64)
	want := func(what string, volume, system byte) {
		t.Helper()
		for id, state := range []byte{volume, system} {
			if got := g.mustDCMD(mfi.OpPDGetInfo, 512, byte(id), 0)[0x166]; got != state {
				t.Errorf("%s: drive %d is in power state %d, want %d", what, id, got, state)
			}
		}
	}
	g.mustDCMD(mfi.OpCtrlShutdown, 0, 0)
	want("SHUTDOWN without the bit", mfi.PowerActive, mfi.PowerActive)
	for _, op := range []mfi.Opcode{mfi.OpCtrlShutdown, mfi.OpCtrlHibernateShutdown} {
		g.mustDCMD(op, 0, mfi.ShutdownSpinDown)
		want(op.String(), mfi.PowerSave, mfi.PowerSave)
		x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
		if _, s := g.poll(x); s != mfi.StatusOK {
			t.Fatal(s)
		}
		want("a read of the volume", mfi.PowerActive, mfi.PowerSave)
		if _, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, 1, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0); s != mfi.StatusOK {
			t.Fatal(s)
		}
		want("a read of the drive", mfi.PowerActive, mfi.PowerActive)
	}
	g.scsi(mfi.CmdPDSCSIIO, 1, 0, 0x1b, 0, 0, 0, 0, 0)
	want("START STOP UNIT", mfi.PowerActive, mfi.PowerSave)
	g.scsi(mfi.CmdPDSCSIIO, 1, 0, 0x1b, 0, 0, 0, 1, 0)
	want("START STOP UNIT", mfi.PowerActive, mfi.PowerActive)
}
