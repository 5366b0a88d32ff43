package megasas

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/govmm/govmm/pci"
)

// register is a row of the register file.
type register struct {
	off   uint16
	name  string
	reset uint32 // value read after a reset, if it can be read

	readable bool                      // others read as zero
	write    func(*Controller, uint32) // nil: writes are ignored

	what string // what it is, and what writing it does
}

// Interrupt status bits: replies were posted, in either generation, and the
// firmware state changed.
const (
	statusReply1 = 1 << 31
	statusReply2 = 1 << 0
	statusState  = 1 << 2
)

// Bits of the host diagnostic register.
const (
	diagReset       = 0x04
	diagWriteEnable = 0x80
)

// Registers that can be read, by offset.
const (
	regOMSG0 = 0x18
	regOSTS  = 0x30
	regOMSK  = 0x34
	regOSP0  = 0xb0
	regDIAG  = 0xf8
)

// gen2Registers are the registers of the SAS 2108 that drivers use. All others
// read as zero.
var gen2Registers = [...]register{
	{regOMSG0, "OMSG0", 0xb0000000, true, nil, "outbound message 0: the same as OSP0"},
	{0x20, "IDB", 0, false, (*Controller).writeDoorbell, "inbound doorbell: its bits abort, reset or stop the firmware, and let it go on from states that wait"},
	{regOSTS, "OSTS", 0, true, nil, "outbound interrupt status: replies were posted, the state changed; masked bits read as zero"},
	{regOMSK, "OMSK", 0xffffffff, true, (*Controller).writeMask, "outbound interrupt mask: a bit that is set keeps its interrupt back; what is due comes when it is cleared"},
	{0x40, "IQP", 0, false, (*Controller).writeQueuePort, "inbound queue port: posts the frame at this address; bits 4:0 are not part of it"},
	{0xa0, "ODCR0", 0, false, (*Controller).writeClear, "outbound doorbell clear: clears the bits of OSTS that are written as one"},
	{regOSP0, "OSP0", 0xb0000000, true, nil, "scratch pad 0: the firmware state word"},
	{0xb4, "OSP1", 0, false, nil, "scratch pad 1: no feature of later cards"},
	{regDIAG, "DIAG", 0, true, (*Controller).writeDiagnostic, "host diagnostic: after WRSEQ, bit 2 resets the adapter"},
	{0xfc, "WRSEQ", 0, false, (*Controller).writeSequence, "write sequence: the six values 00 04 0b 02 07 0d unlock DIAG"},
}

// gen1Registers are the registers of the SAS 1078. They are at the same places;
// the doorbell resets the adapter too.
var gen1Registers = [...]register{
	{regOMSG0, "OMSG0", 0xb0000000, true, nil, "outbound message 0: the same as OSP0"},
	{0x20, "IDB", 0, false, (*Controller).writeDoorbell1, "inbound doorbell: its bits abort, reset or stop the firmware, and let it go on from states that wait; bit 6 resets the adapter"},
	{regOSTS, "OSTS", 0, true, nil, "outbound interrupt status: replies were posted, the state changed; masked bits read as zero"},
	{regOMSK, "OMSK", 0xffffffff, true, (*Controller).writeMask, "outbound interrupt mask: a bit that is set keeps its interrupt back; what is due comes when it is cleared"},
	{0x40, "IQP", 0, false, (*Controller).writeQueuePort, "inbound queue port: posts the frame at this address; bits 4:0 are not part of it"},
	{0xa0, "ODCR0", 0, false, (*Controller).writeClear, "outbound doorbell clear: clears the bits of OSTS that are written as one"},
	{regOSP0, "OSP0", 0xb0000000, true, nil, "scratch pad 0: the firmware state word"},
	{regDIAG, "DIAG", 0, true, (*Controller).writeDiagnostic, "host diagnostic: after WRSEQ, bit 2 resets the adapter"},
	{0xfc, "WRSEQ", 0, false, (*Controller).writeSequence, "write sequence: the six values 00 04 0b 02 07 0d unlock DIAG"},
}

// Sizes of the register windows that all cards have.
const (
	ioWindow    = 0x100
	queueWindow = 0x40000
)

// layout is where a generation of cards has things.
type layout struct {
	registers []register
	replyBit  uint32 // of OSTS

	ioBAR, memoryBAR       int
	memorySize             uint64
	msixTable, msixPending uint64 // in the memory BAR

	// Capabilities in configuration space.
	powerManagement, express, msi, msix int
	messages                            int   // of MSI
	linkSpeed                           uint8 // 1 is 2.5 GT/s, 2 is 5
}

// gen1 is the SAS 1078.
func gen1() layout {
	return layout{
		registers:       gen1Registers[:],
		replyBit:        statusReply1,
		ioBAR:           2,
		memoryBAR:       0,
		memorySize:      0x40000,
		msixTable:       0x3e000,
		msixPending:     0x3f000,
		express:         0x60, // the card's, at b0, is of an earlier version and shorter
		msi:             0xc4,
		msix:            0xd4,
		powerManagement: 0xe0,
		messages:        1,
		linkSpeed:       1,
	}
}

// gen2 is the SAS 2108.
func gen2() layout {
	return layout{
		registers:       gen2Registers[:],
		replyBit:        statusReply2,
		ioBAR:           0,
		memoryBAR:       1,
		memorySize:      0x4000,
		msixTable:       0x2000,
		msixPending:     0x3800,
		powerManagement: 0x50,
		express:         0x68,
		msi:             0xa8,
		msix:            0xc0,
		messages:        1,
		linkSpeed:       2,
	}
}

// registerFile is the decoded register table: an entry for each word of the
// first 256 bytes, which are all that there is, in the memory BAR as in the I/O
// BAR.
type registerFile [ioWindow / 4]*register

func newRegisterFile(table []register) *registerFile {
	var f registerFile
	for i := range table {
		f[table[i].off/4] = &table[i]
	}
	return &f
}

// face is what the guest reads in the registers, by whichever BAR: in a page of
// memory, which the machine may have given for the guest to read by itself. Whoever
// changes what a register reads as stores it here, with its lock held.
type face struct {
	page atomic.Pointer[pci.Mirror] // stored with firmware.mu and interrupts.mu held
}

// newFace returns one that reads as zero everywhere.
func newFace() *face {
	f := new(face)
	f.page.Store(new(pci.Mirror))
	return f
}

// load reads the register at off, a multiple of 4.
func (f *face) load(off uint64) uint32 { return uint32(f.page.Load()[off/8].Load() >> (off % 8 * 8)) }

// store changes the register at off, a multiple of 8, and the one behind it, both at
// once.
func (f *face) store(off uint64, v, next uint32) {
	f.page.Load()[off/8].Store(uint64(next)<<32 | uint64(v))
}

// window is a BAR's view of the registers. It implements pci.Region.
type window struct{ c *Controller }

// memoryWindow is the view of the memory BAR. It implements pci.Mirrored: in the
// first page, all that is not a register reads as zero.
type memoryWindow struct{ window }

// Mirror implements pci.Mirrored.
func (w memoryWindow) Mirror(m *pci.Mirror) bool {
	c := w.c
	if m == nil {
		m = new(pci.Mirror)
	}
	c.fw.mu.Lock()
	defer c.fw.mu.Unlock()
	c.irq.mu.Lock()
	defer c.irq.mu.Unlock()
	now := c.face.page.Load()
	for i := range m {
		m[i].Store(now[i].Load())
	}
	c.face.page.Store(m)
	return true
}

// Read reads the registers under p, whole words at a time; no register has a
// side effect of being read.
func (w window) Read(off uint64, p []byte) {
	for len(p) > 0 {
		var word [4]byte
		binary.LittleEndian.PutUint32(word[:], w.c.readRegister(off&^3))
		n := copy(p, word[off&3:])
		off, p = off+uint64(n), p[n:]
	}
}

// Write writes whole aligned words: one of 4 bytes or both of 8. Anything else
// is not an access that the registers take, and is counted and dropped.
func (w window) Write(off uint64, p []byte) {
	if off%4 != 0 || len(p)%4 != 0 {
		w.c.stats.badAccesses.Add(1)
		return
	}
	for ; len(p) >= 4; off, p = off+4, p[4:] {
		w.c.writeRegister(off, binary.LittleEndian.Uint32(p))
	}
}

func (c *Controller) readRegister(off uint64) uint32 {
	if off >= ioWindow {
		return 0
	}
	return c.face.load(off)
}

func (c *Controller) writeRegister(off uint64, v uint32) {
	if off < ioWindow {
		if r := c.registers[off/4]; r != nil && r.write != nil {
			r.write(c, v)
			return
		}
	}
	c.stats.badAccesses.Add(1)
}

func (c *Controller) writeMask(v uint32)      { c.irq.setMask(v) }
func (c *Controller) writeClear(v uint32)     { c.irq.clear(v) }
func (c *Controller) writeQueuePort(v uint32) { c.post(uint64(v &^ frameCountMask)) }

func (c *Controller) writeSequence(v uint32) {
	if !c.faults.locked.Load() {
		c.fw.unlock(v)
	}
}
