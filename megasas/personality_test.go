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
		{SAS8708EM2(), 0x1013_1000_0060_1000, "LSI MegaRAID SAS 8708EM2", "LSI     ", "MR8708EM2       1.40"},
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

// TestSAS8708EM2 runs the tests of the whole device over the card of the first
// generation: newGuest takes that one under this name. What is left out is about
// the second generation's own places and interrupts, or about no card.
func TestSAS8708EM2(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"NoAllocations":       TestNoAllocations,
		"CachePolicy":         TestCachePolicy,
		"ConfigAdd":           TestConfigAdd,
		"ListsAgree":          TestListsAgree,
		"EventWait":           TestEventWait,
		"AbortEventWait":      TestAbortEventWait,
		"EventLog":            TestEventLog,
		"DropInterrupt":       TestDropInterrupt,
		"CompleteWith":        TestCompleteWith,
		"HoldDCMD":            TestHoldDCMD,
		"BadFrames":           TestBadFrames,
		"FramesNotInMemory":   TestFramesNotInMemory,
		"BadSense":            TestBadSense,
		"BadInit":             TestBadInit,
		"Overlap":             TestOverlap,
		"Flood":               TestFlood,
		"FrameChanges":        TestFrameChangesUnderneath,
		"HotPlugVolume":       TestHotPlugVolume,
		"HotPlugSystemDrive":  TestHotPlugSystemDrive,
		"PullMember":          TestPullMember,
		"INTx":                TestINTx,
		"MSI":                 TestMSI,
		"Mask":                TestMask,
		"Batch":               TestBatch,
		"ReadWriteScattered":  TestReadWriteScattered,
		"ForceUnitAccess":     TestForceUnitAccessInWriteBack,
		"ShortRing":           TestShortRing,
		"WideContexts":        TestWideContexts,
		"SystemDrive":         TestSystemDrive,
		"MemberDrive":         TestMemberDrive,
		"DriveFails":          TestDriveFails,
		"AccessWidths":        TestAccessWidths,
		"AnyRegisterAnyState": TestAnyRegisterInAnyState,
		"ResetInFlight":       TestResetInFlight,
		"InitAgain":           TestInitAgain,
		"Doorbell":            TestDoorbell,
		"StopDuringReset":     TestStopDuringReset,
		"UnlockSequence":      TestUnlockSequence,
		"BootSteps":           TestBootSteps,
		"Reset":               TestReset,
		"Close":               TestClose,
		"SetProperties":       TestSetProperties,
		"StateSet":            TestStateSet,
		"NVRAM":               TestNVRAMKeepsSettingsAndLog,
	} {
		t.Run(name, test)
	}
}

// TestGen1StateWord is what Linux looks at to choose interrupts and scatter
// lists: neither MSI-X nor IEEE elements, and twelve-byte elements of which 80
// fit. The doorbell resets the adapter.
func TestGen1StateWord(t *testing.T) {
	cfg := nullDisk()
	cfg.Profile = SAS8708EM2()
	g := newGuest(t, cfg)
	if w := g.read(0xb0); w != 0xb05003f0 {
		t.Errorf("state word %#x while READY", w)
	}
	g.initialize(1008)
	if w := g.read(0xb0); w != 0xc05003f0 {
		t.Errorf("state word %#x while OPERATIONAL", w)
	}
	var p [4]byte
	g.io.Read(0xb0, p[:])
	if w := memory(p[:]).u32(0); w != g.read(0xb0) {
		t.Errorf("state word %#x through the I/O BAR", w)
	}
	// The flag of IEEE elements is not known: SGL64 beside it counts.
	x, _ := g.blocks(mfi.CmdLDRead, 0, 512)
	x.Flags = mfi.FlagSGL64 | mfi.FlagDontPost
	frame := x.Marshal()
	frame[0x10] |= byte(mfi.FlagIEEE)
	addr := g.alloc(uint64(len(frame)))
	copy(g.mem[addr:], frame)
	g.post(addr)
	g.await("the read", func() bool { return g.status(addr) != mfi.StatusPending })
	if s := g.status(addr); s != mfi.StatusOK {
		t.Errorf("read with the flag of IEEE elements: %v", s)
	}
	g.write(0x20, mfi.DoorbellReset)
	g.await("READY", func() bool { return g.state() == mfi.StateReady })
	if m := g.read(0x34); m != maskAll {
		t.Errorf("mask %#x after a reset by the doorbell", m)
	}
}
