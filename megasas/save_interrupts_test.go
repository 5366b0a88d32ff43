package megasas

import (
	"fmt"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestSaveInterrupts saves while the guest has yet to acknowledge an interrupt, with
// the pin, with MSI, and with a reply that is owed since the mask was closed.
func TestSaveInterrupts(t *testing.T) {
	for name, p := range map[string]Personality{"gen2": SAS9260(), "gen1": SAS8708EM2()} {
		for _, message := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, MSI %v", name, message), func(t *testing.T) {
				cfg := nullDisk()
				cfg.Profile = p
				g := newGuest(t, cfg)
				if message {
					g.enableMSI()
				}
				g.initialize(16)
				g.write(0xa0, 0xffffffff)
				g.openMask()
				x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
				g.submit(x)
				g.collect(1)
				g.idle()
				status := g.read(0x30)
				if status == 0 {
					t.Fatal("no interrupt status")
				}
				g.move(cfg)
				if now := g.read(0x30); now != status || g.m.asserted() == message {
					t.Errorf("status %#x, was %#x; the pin is asserted: %v", now, status, g.m.asserted())
				}
				g.write(0xa0, status)
				if g.read(0x30) != 0 || g.m.asserted() {
					t.Error("the interrupt cannot be acknowledged")
				}
				sent := len(g.m.msi) + len(g.m.rise)
				g.submit(x)
				g.collect(1)
				g.idle()
				if got := len(g.m.msi) + len(g.m.rise) - sent; got != 1 {
					t.Errorf("%d interrupts for the next reply", got)
				}
			})
		}
	}
	cfg := nullDisk()
	g := running(t, cfg, 16)
	g.write(0x34, 0xffffffff)
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	g.submit(x)
	g.collect(1)
	g.idle()
	sent := len(g.m.msi)
	g.move(cfg)
	if len(g.m.msi) != sent {
		t.Error("an interrupt came while the mask was closed")
	}
	g.openMask()
	if len(g.m.msi) != sent+1 {
		t.Error("the interrupt that was owed did not come")
	}
}
