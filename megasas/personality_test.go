package megasas

import (
	"bytes"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestPersonalities boots on each card as Linux does, and compares what the card
// calls itself in configuration space, controller information, INQUIRY and the
// event log.
func TestPersonalities(t *testing.T) {
	for _, tt := range []struct {
		p                        Personality
		ids                      uint64 // vendor, device, subsystem
		product, vendor, inquiry string
	}{
		{SAS9260(), 0x9261_1000_0079_1000, "LSI MegaRAID SAS 9260-8i", "LSI     ", "MR9260-8i       2.13"},
		{PERCH700(), 0x1f16_1028_0079_1000, "PERC H700 Adapter", "DELL    ", "PERC H700       2.10"},
		{PERCH800(), 0x1f15_1028_0079_1000, "PERC H800 Adapter", "DELL    ", "PERC H800       2.10"},
	} {
		t.Run(tt.product, func(t *testing.T) {
			cfg := nullDisk()
			cfg.Profile = tt.p
			g := running(t, cfg, 1008)
			var space [64]byte
			g.c.Function().ReadConfig(0, space[:])
			m := memory(space[:])
			if ids := uint64(m.u32(0x2c))<<32 | uint64(m.u32(0)); ids != tt.ids {
				t.Errorf("configuration space: %#x", ids)
			}
			info := memory(g.mustDCMD(mfi.OpCtrlGetInfo, 2048, 1))
			if info.u64(0) != tt.ids {
				t.Errorf("controller information: ids %#x", info.u64(0))
			}
			if name := string(bytes.TrimRight(info[0x540:0x590], "\x00")); name != tt.product {
				t.Errorf("product %q", name)
			}
			if g.read(0xb0)&0xffff != uint32(info.u16(0x5b8)) || g.read(0xb0)>>16&0xff != uint32(info.u16(0x5ba)) {
				t.Errorf("limits in the state word %#x and the controller information differ", g.read(0xb0))
			}
			p, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 36, 0x12, 0, 0, 0, 36, 0)
			if s != mfi.StatusOK || string(p[8:]) != tt.vendor+tt.inquiry {
				t.Errorf("INQUIRY: %v, %q", s, p[8:])
			}
			log := memory(g.mustDCMD(mfi.OpCtrlEventGet, 8+256, logged(0, 0xfe00ffff)...))
			if log.u64(8+0x20) != tt.ids {
				t.Errorf("first event is about %#x", log.u64(8+0x20))
			}
			g.alive()
		})
	}
}
