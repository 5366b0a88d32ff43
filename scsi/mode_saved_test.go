package scsi

import (
	"bytes"
	"testing"
)

// keeping is a unit whose owner keeps what is saved, in kept.
func keeping(t *testing.T, kept **ModeParameters, change func(*UnitConfig)) (*Unit, *memory) {
	return newUnit(t, func(c *UnitConfig, _ *memory) {
		c.SaveMode = func(p ModeParameters) error { *kept = &p; return nil }
		c.SavedMode = *kept
		if change != nil {
			change(c)
		}
	})
}

// selectSaved is MODE SELECT(6) with SP.
func selectSaved(u *Unit, pages ...[]byte) *Command {
	list := append(make([]byte, 4), bytes.Join(pages, nil)...)
	return run(u, []byte{byte(OpModeSelect6), 0x11, 0, 0, byte(len(list)), 0}, list)
}

// pageOf returns a mode page with its header, by page control.
func pageOf(t *testing.T, u *Unit, pageControl, code byte) []byte {
	t.Helper()
	got := make([]byte, 255)
	c := run(u, []byte{byte(OpModeSense10), 0x08, pageControl<<6 | code, 0, 0, 0, 0, 0, 255, 0}, got)
	if c.Status != StatusGood {
		t.Fatal(c)
	}
	return got[8:c.Transferred]
}

// TestSavedModePages saves mode parameters: they are told as saved ones, come back
// with a reset, and are those of the unit's next life.
func TestSavedModePages(t *testing.T) {
	var kept *ModeParameters
	u, _ := keeping(t, &kept, nil)
	for _, code := range []byte{0x01, 0x08, 0x0A, 0x1C} {
		for pageControl := range byte(4) {
			if got := pageOf(t, u, pageControl, code); got[0] != 0x80|code {
				t.Errorf("page %#x with control %d begins with %#x: it can be saved", code, pageControl, got[0])
			}
		}
	}
	if !bytes.Equal(pageOf(t, u, modeSaved, allPages), pageOf(t, u, modeDefault, allPages)) {
		t.Error("before anything is saved, the saved values are not the default ones")
	}
	wantGood(t, selectSaved(u, caching(true), control(0x04, 0)), 36)
	wantGood(t, selectPages(u, caching(false), control(0, 0x08)), 36) // not saved: SP is 0
	if kept == nil || *kept != (ModeParameters{WriteCache: true, DescriptorSense: true}) {
		t.Fatalf("kept %+v", kept)
	}
	for pageControl, want := range map[byte][2]byte{modeCurrent: {0, 0}, modeSaved: {0x04, 0x04}, modeDefault: {0, 0}} {
		if got := [2]byte{pageOf(t, u, pageControl, 0x08)[2], pageOf(t, u, pageControl, 0x0A)[2]}; got != want {
			t.Errorf("page control %d: %x, want %x", pageControl, got, want)
		}
	}
	u.Reset()
	if got := pageOf(t, u, modeCurrent, 0x0A); got[2] != 0x04 || got[4] != 0 {
		t.Errorf("after a reset: % x", got)
	}
	u, _ = keeping(t, &kept, nil)
	if got := pageOf(t, u, modeCurrent, allPages); !u.WriteCache() || !bytes.Equal(got, pageOf(t, u, modeSaved, allPages)) {
		t.Errorf("the next life does not begin with what was saved: % x", got)
	}
	// Without a page, what is so now is saved.
	wantGood(t, selectPages(u, caching(false)), 24)
	wantGood(t, run(u, []byte{byte(OpModeSelect10), 0x11, 9: 0}), 0)
	if *kept != (ModeParameters{DescriptorSense: true}) {
		t.Errorf("kept %+v", kept)
	}
}

// TestSavedModePagesOfVolume saves those of a unit whose write cache is its owner's.
func TestSavedModePagesOfVolume(t *testing.T) {
	kept := &ModeParameters{WriteCache: true, WriteProtect: true}
	u, _ := keeping(t, &kept, func(c *UnitConfig) { c.FixedWriteCache = true })
	if u.WriteCache() || pageOf(t, u, modeSaved, 0x08)[2] != 0 {
		t.Error("the write cache is on, which is not the initiator's")
	}
	wantSense(t, run(u, cdb10(OpWrite10, 0, 0, 1), make([]byte, 512)), Sense{Key: KeyDataProtect, Code: ASCSoftwareWriteProtected})
}

// TestSavedModePagesRefused saves where that fails, or where there is no place.
func TestSavedModePagesRefused(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.SaveMode = func(ModeParameters) error { return errBroken } })
	wantSense(t, selectSaved(u, caching(true)), Sense{Key: KeyHardwareError, Code: ASCInternalTargetFailure})
	if u.WriteCache() || pageOf(t, u, modeSaved, 0x08)[2] != 0 {
		t.Error("what could not be saved is in force, or told as saved")
	}
	none, _ := newUnit(t, nil)
	sata, _ := newUnit(t, func(c *UnitConfig, _ *memory) {
		c.ATA = &ATA{Model: "M", Serial: "S", Firmware: "F"}
		c.SaveMode = func(ModeParameters) error { return nil }
	})
	for _, u := range []*Unit{none, sata} {
		wantSense(t, selectSaved(u, caching(true)), inCDB(1, 0))
		wantSense(t, run(u, []byte{byte(OpModeSense6), 0, 0xC8, 0, 255, 0}, make([]byte, 255)),
			Sense{Key: KeyIllegalRequest, Code: ASCSavingParametersNotSupported})
		if got := pageOf(t, u, modeCurrent, 0x08); got[0] != 0x08 {
			t.Errorf("the page begins with %#x: it can't be saved", got[0])
		}
	}
}
