package payload

import "encoding/binary"

// Registers of a PC that programs use.
const (
	COM1 = 0x3f8
	COM2 = 0x2f8

	configAddress = 0xcf8
	configData    = 0xcfc

	picMaster = 0x21 // interrupt masks
	picSlave  = 0xa1

	pm1Control  = 0x604
	sleepEnable = 1 << 13

	ioapicSelect = 0xfec00000
	ioapicWindow = 0xfec00010

	// LAPIC is the address of the local APIC's registers.
	LAPIC          = 0xfee00000
	lapicEOI       = LAPIC + 0xb0
	lapicSpurious  = LAPIC + 0xf0
	lapicCommand   = LAPIC + 0x300
	lapicCommandHi = LAPIC + 0x310
)

// Selector and gate of the code segment that the machine starts kernels with.
const (
	codeSelector  = 0x10
	interruptGate = 0x8e00
	gateSize      = 16
)

// PowerOff switches the machine off through its power management registers, with
// 0 for the type of sleep.
func (p *Program) PowerOff() {
	p.Out16(pm1Control, sleepEnable)
	p.Halt()
}

// TripleFault shuts the processor down: an invalid instruction with no handler
// and no handler for that.
func (p *Program) TripleFault() {
	p.loadIDT(make([]byte, 10))
	p.Raw(0x0f, 0x0b) // ud2
}

// ConfigRead32 reads a register of a PCI function on bus 0 into the accumulator.
func (p *Program) ConfigRead32(slot, fn, reg int) {
	p.Out32(configAddress, configSelect(slot, fn, reg))
	p.In32(configData)
}

// ConfigWrite32 writes a register of a PCI function on bus 0.
func (p *Program) ConfigWrite32(slot, fn, reg int, v uint32) {
	p.Out32(configAddress, configSelect(slot, fn, reg))
	p.Out32(configData, v)
}

// ConfigWrite16 writes half of a register of a PCI function on bus 0.
func (p *Program) ConfigWrite16(slot, fn, reg int, v uint16) {
	p.Out32(configAddress, configSelect(slot, fn, reg))
	p.Out16(configData+uint16(reg&2), v)
}

func configSelect(slot, fn, reg int) uint32 {
	const enable = 1 << 31
	return enable | uint32(slot)<<11 | uint32(fn)<<8 | uint32(reg)&^3
}

// OnInterrupt makes body the handler of an interrupt vector (32 and above). It is
// acknowledged to the local APIC afterwards.
//
// A handler that interrupts a hlt returns behind it. Processors take no interrupt
// between sti and hlt; but the VMRUN that QEMU 7.2 emulates forgets the interrupt
// shadow of a guest that it enters there, and a guest that slept after its only
// interrupt would sleep for good.
func (p *Program) OnInterrupt(vector uint8, body func()) {
	const returnAddr = 3 * 8 // above what is pushed
	handler, after := p.newLabel(), p.newLabel()
	p.handlers[vector] = handler
	p.Jump(after)
	p.Label(handler)
	p.Raw(0x50, 0x53, 0x52)                   // push rax; push rbx; push rdx
	p.Raw(0x48, 0x8b, 0x44, 0x24, returnAddr) // mov rax, [rsp+returnAddr]
	p.Raw(0x80, 0x38, 0xf4, 0x75, 0x05)       // cmp byte [rax], hlt; jne
	p.Raw(0x48, 0xff, 0x44, 0x24, returnAddr) // inc qword [rsp+returnAddr]
	body()
	p.Store32(lapicEOI, 0)
	p.Raw(0x5a, 0x5b, 0x58) // pop rdx; pop rbx; pop rax
	p.Raw(0x48, 0xcf)       // iretq
	p.Label(after)
}

// EnableInterrupts installs the handlers of all OnInterrupt of the program,
// masks the two 8259, switches the local APIC on and lets interrupts in.
func (p *Program) EnableInterrupts() {
	const vectors = 256
	table := p.idt()
	pointer := binary.LittleEndian.AppendUint16(nil, vectors*gateSize-1)
	p.loadIDT(binary.LittleEndian.AppendUint64(pointer, table))
	p.Out8(picMaster, 0xff)
	p.Out8(picSlave, 0xff)
	p.Store32(lapicSpurious, 0x1ff) // enabled, spurious vector 255
	p.AllowInterrupts()
}

// AllowInterrupts lets interrupts in again, which HaltUntil32 keeps out when it is
// over.
func (p *Program) AllowInterrupts() { p.Raw(0xfb) } // sti

// idt is the address of the interrupt descriptor table; link fills it.
func (p *Program) idt() uint64 {
	if p.idtAddr == 0 {
		p.idtAddr = p.Reserve(256*gateSize, gateSize)
	}
	return p.idtAddr
}

// gates encodes the interrupt descriptor table.
func (p *Program) gates() []byte {
	table := make([]byte, 256*gateSize)
	for vector, label := range p.handlers {
		addr := uint64(Base + p.offset(label))
		gate := table[int(vector)*gateSize:]
		binary.LittleEndian.PutUint64(gate, addr&0xffff|codeSelector<<16|interruptGate<<32|addr>>16&0xffff<<48)
		binary.LittleEndian.PutUint64(gate[8:], addr>>32)
	}
	return table
}

func (p *Program) loadIDT(pointer []byte) {
	p.memory(p.Data(pointer, 8))
	p.Raw(0x0f, 0x01, 0x1b) // lidt [rbx]
}

// RouteIOAPIC lets a pin of the I/O APIC interrupt processor 0 with the vector.
func (p *Program) RouteIOAPIC(pin int, vector uint8, level bool) {
	const (
		firstEntry     = 0x10
		levelTriggered = 1 << 15
	)
	low := uint32(vector)
	if level {
		low |= levelTriggered
	}
	p.Store32(ioapicSelect, uint32(firstEntry+2*pin+1))
	p.Store32(ioapicWindow, 0)
	p.Store32(ioapicSelect, uint32(firstEntry+2*pin))
	p.Store32(ioapicWindow, low)
}

// StartProcessor wakes the processor with the given local APIC id. It executes
// code in real mode, from the start of the page at the given address, below
// 640 KiB.
func (p *Program) StartProcessor(id uint8, page uint32, code []byte) {
	const (
		deliverINIT    = 5 << 8
		deliverStartup = 6 << 8
		assert         = 1 << 14
	)
	p.Copy(uint64(page), p.Data(code, 16), uint32(len(code)))
	p.Store32(lapicCommandHi, uint32(id)<<24)
	p.Store32(lapicCommand, assert|deliverINIT)
	p.Store32(lapicCommandHi, uint32(id)<<24)
	p.Store32(lapicCommand, assert|deliverStartup|page>>12)
}
