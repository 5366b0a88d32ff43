package chipset

import "sync"

// Ports of a VGA adapter: VGASize of them from VGABase on.
const (
	VGABase = 0x3B0
	VGASize = 0x30
)

// Offsets of its registers from VGABase (IBM, VGA Technical Reference).
const (
	vgaMonoIndex    = 0x04 // 3B4: the CRT controller of a monochrome mode
	vgaMonoData     = 0x05
	vgaMonoStatus   = 0x0A // 3BA
	vgaAttribute    = 0x10 // 3C0: index and data in turn
	vgaAttrRead     = 0x11
	vgaMiscWrite    = 0x12 // 3C2; reads are input status 0
	vgaEnable       = 0x13
	vgaSequencer    = 0x14 // 3C4, 3C5
	vgaSequData     = 0x15
	vgaPaletteMask  = 0x16 // 3C6
	vgaPaletteRead  = 0x17 // 3C7: index to read from; reads are the palette's state
	vgaPaletteWrite = 0x18
	vgaPaletteData  = 0x19
	vgaFeature      = 0x1A
	vgaMiscRead     = 0x1C // 3CC
	vgaGraphics     = 0x1E // 3CE, 3CF
	vgaGraphicsData = 0x1F
	vgaColourIndex  = 0x24 // 3D4: the CRT controller of a colour mode
	vgaColourData   = 0x25
	vgaColourStatus = 0x2A // 3DA
)

// Registers that make up the picture.
const (
	crtcColumns     = 0x01 // less one
	crtcOverflow    = 0x07
	crtcCellHeight  = 0x09 // bits 0 to 4, less one
	crtcCursorStart = 0x0A
	crtcCursorEnd   = 0x0B
	crtcStartHigh   = 0x0C
	crtcStartLow    = 0x0D
	crtcCursorHigh  = 0x0E
	crtcCursorLow   = 0x0F
	crtcProtect     = 0x11 // bit 7: registers 0 to 7 are read-only
	crtcLines       = 0x12 // less one; bits 8 and 9 are in crtcOverflow
	crtcPitch       = 0x13 // in units of two cells

	graphicsMisc = 0x06
	attrMode     = 0x10

	cursorOff     = 0x20 // of crtcCursorStart
	lineMask      = 0x1F
	doubleScan    = 0x80 // of crtcCellHeight
	protected     = 0x80 // of crtcProtect
	protectedLast = 0x07
	lineCompare8  = 0x10 // of crtcOverflow: not protected
	graphicsMode  = 0x01 // of graphicsMisc
	attrBlink     = 0x08 // of attrMode
	miscColour    = 0x01 // of the miscellaneous output register
	retrace       = 0x09 // of input status 1: no picture at the moment
)

// Bits that exist in the registers with fewer than eight.
var (
	sequencerMasks = [8]byte{0x03, 0x3D, 0x0F, 0x3F, 0x0E}
	graphicsMasks  = [16]byte{0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF}
	attributeMasks = [32]byte{
		0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F, 0x3F,
		0xEF, 0xFF, 0x3F, 0x0F, 0x0F,
	}
)

const crtcCount = 0x19

// VGA is the registers of a VGA adapter in its standard modes. All read back what
// was written; those act that say which part of the memory is on the screen as
// text, how many lines and columns there are, and where the cursor is. The memory
// is the machine's: it has none of the planes of the real one, which programs see
// in graphics modes only.
type VGA struct {
	memory VideoMemory

	mu         sync.Mutex
	misc       byte            // guarded by mu
	feature    byte            // guarded by mu
	enable     byte            // guarded by mu
	status     byte            // guarded by mu: input status 1, which changes with every look
	crtc       [crtcCount]byte // guarded by mu
	sequencer  [8]byte         // guarded by mu
	graphics   [16]byte        // guarded by mu
	attribute  [32]byte        // guarded by mu
	crtcIndex  byte            // guarded by mu
	sequIndex  byte            // guarded by mu
	graphIndex byte            // guarded by mu
	attrIndex  byte            // guarded by mu: bit 5 is kept
	attrData   bool            // guarded by mu: the next write to 3C0 is data
	palette    [256 * 3]byte   // guarded by mu
	colour     int             // guarded by mu: the place in palette
	writing    bool            // guarded by mu: what the palette's index was set for
	mask       byte            // guarded by mu: of the palette
}

// VideoMemory is the memory of the adapter, by guest-physical address.
type VideoMemory interface {
	ReadAt(p []byte, addr uint64) error
}

// NewVGA returns an adapter in its reset state.
func NewVGA(memory VideoMemory) *VGA {
	v := &VGA{memory: memory}
	v.Reset()
	return v
}

// Reset is the machine's reset. It does not change the memory.
func (v *VGA) Reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.misc, v.feature, v.enable, v.status = miscColour, 0, 1, 0
	v.crtc = [crtcCount]byte{}
	v.sequencer, v.graphics, v.attribute = [8]byte{}, [16]byte{}, [32]byte{}
	v.crtcIndex, v.sequIndex, v.graphIndex, v.attrIndex, v.attrData = 0, 0, 0, 0, false
	v.palette, v.colour, v.writing, v.mask = [256 * 3]byte{}, 0, false, 0xFF
}

// Read implements Handler.
func (v *VGA) Read(off uint64, p []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range p {
		p[i] = v.read(off + uint64(i))
	}
}

// Write implements Handler.
func (v *VGA) Write(off uint64, p []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, b := range p {
		v.write(off+uint64(i), b)
	}
}

// decoded reports whether a port is one at this moment: the CRT controller has its
// ports at one of two places.
//
// Preconditions: v.mu is held.
func (v *VGA) decoded(off uint64) bool {
	colour := v.misc&miscColour != 0
	switch {
	case off < vgaAttribute:
		return !colour
	case off >= vgaColourIndex-4:
		return colour
	}
	return true
}

// Preconditions: v.mu is held.
func (v *VGA) read(off uint64) byte {
	if !v.decoded(off) {
		return 0xFF
	}
	switch off {
	case vgaAttribute:
		if v.attrData {
			return 0
		}
		return v.attrIndex
	case vgaAttrRead:
		return v.attribute[v.attrIndex&lineMask]
	case vgaMiscWrite:
		return 0x10 // input status 0: the monitor is one for colours
	case vgaEnable:
		return v.enable
	case vgaSequencer:
		return v.sequIndex
	case vgaSequData:
		return v.sequencer[v.sequIndex]
	case vgaPaletteMask:
		return v.mask
	case vgaPaletteRead:
		if v.writing {
			return 0
		}
		return 3
	case vgaPaletteWrite:
		return byte(v.colour / 3)
	case vgaPaletteData:
		c := v.palette[v.colour]
		v.nextColour()
		return c
	case vgaFeature:
		return v.feature
	case vgaMiscRead:
		return v.misc
	case vgaGraphics:
		return v.graphIndex
	case vgaGraphicsData:
		return v.graphics[v.graphIndex]
	case vgaMonoIndex, vgaColourIndex:
		return v.crtcIndex
	case vgaMonoData, vgaColourData:
		if int(v.crtcIndex) < len(v.crtc) {
			return v.crtc[v.crtcIndex]
		}
	case vgaMonoStatus, vgaColourStatus:
		v.attrData = false
		v.status ^= retrace // who waits for either state has it at the next look
		return v.status
	}
	return 0xFF
}

// Preconditions: v.mu is held.
func (v *VGA) write(off uint64, b byte) {
	if !v.decoded(off) {
		return
	}
	switch off {
	case vgaAttribute:
		if v.attrData {
			i := v.attrIndex & lineMask
			v.attribute[i] = b & attributeMasks[i]
		} else {
			v.attrIndex = b & 0x3F
		}
		v.attrData = !v.attrData
	case vgaMiscWrite:
		v.misc = b &^ 0x10
	case vgaEnable:
		v.enable = b & 1
	case vgaSequencer:
		v.sequIndex = b & byte(len(v.sequencer)-1)
	case vgaSequData:
		v.sequencer[v.sequIndex] = b & sequencerMasks[v.sequIndex]
	case vgaPaletteMask:
		v.mask = b
	case vgaPaletteRead, vgaPaletteWrite:
		v.colour, v.writing = int(b)*3, off == vgaPaletteWrite
	case vgaPaletteData:
		v.palette[v.colour] = b & 0x3F
		v.nextColour()
	case vgaGraphics:
		v.graphIndex = b & byte(len(v.graphics)-1)
	case vgaGraphicsData:
		v.graphics[v.graphIndex] = b & graphicsMasks[v.graphIndex]
	case vgaMonoIndex, vgaColourIndex:
		v.crtcIndex = b & 0x3F
	case vgaMonoData, vgaColourData:
		v.writeCRTC(b)
	case vgaMonoStatus, vgaColourStatus:
		v.feature = b & 0x10
	}
}

// Preconditions: v.mu is held.
func (v *VGA) nextColour() { v.colour = (v.colour + 1) % len(v.palette) }

// Preconditions: v.mu is held.
func (v *VGA) writeCRTC(b byte) {
	if int(v.crtcIndex) >= len(v.crtc) {
		return
	}
	if v.crtcIndex <= protectedLast && v.crtc[crtcProtect]&protected != 0 {
		if v.crtcIndex == crtcOverflow {
			v.crtc[crtcOverflow] = v.crtc[crtcOverflow]&^lineCompare8 | b&lineCompare8
		}
		return
	}
	v.crtc[v.crtcIndex] = b
}
