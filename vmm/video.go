package vmm

import (
	"fmt"

	"github.com/govmm/govmm/firmware"
	"github.com/govmm/govmm/firmware/fwcfg"
	"github.com/govmm/govmm/internal/textscreen"
	"github.com/govmm/govmm/vmm/chipset"
	"github.com/govmm/govmm/vmm/memory"
)

// addVideoMemory puts memory behind the window of a VGA adapter. It is memory
// like any other, so that nothing that a guest draws costs an exit: a boot
// loader that fills a graphics screen makes hundreds of thousands of accesses,
// and makes them on a machine without an adapter, too. In text modes, that is how
// the adapter of a PC looks to a processor. It is no part of the RAM that devices
// reach.
func (m *Machine) addVideoMemory() error {
	window := memory.Range{Base: firmware.VideoBase, Size: firmware.VideoEnd - firmware.VideoBase}
	var err error
	if m.video, err = memory.New([]memory.Range{window}, memory.Options{}); err != nil {
		return err
	}
	m.onRelease(ignoring(m.video.Close))
	return m.showMemory(m.video.Slots(), 0)
}

// addVGA gives the machine a VGA adapter.
func (m *Machine) addVGA() error {
	m.chips.vga = chipset.NewVGA(m.video)
	m.onReset(m.chips.vga.Reset)
	return m.mapPorts([]portRange{{"VGA", chipset.VGABase, chipset.VGASize, m.chips.vga}})
}

// fileVGABIOS is where SeaBIOS finds the BIOS of an adapter that is not on a bus.
// What follows the directory's name is of no importance.
const fileVGABIOS = "vgaroms/vgabios.bin"

// vgaFile is the adapter's BIOS as a file for the BIOS.
func vgaFile(image firmware.Source) (fwcfg.File, error) {
	data, err := firmware.ReadOptionROM(image)
	if err != nil {
		return fwcfg.File{}, fmt.Errorf("VGA %w", err)
	}
	return fwcfg.File{Name: fileVGABIOS, Data: data}, nil
}

// Screen stores in s what the VGA adapter shows. Without one the screen is off.
func (m *Machine) Screen(s *textscreen.Screen) {
	if m.chips.vga == nil {
		*s = textscreen.Screen{Cells: s.Cells[:0], Cursor: -1}
		return
	}
	m.chips.vga.Screen(s)
}

// Key presses or releases a key of the machine's keyboard. It reports false if
// the keyboard has no room for it at the moment.
func (m *Machine) Key(e textscreen.Event) bool {
	return m.chips.keyboard.Key(e.Code, e.Extended, e.Up)
}
