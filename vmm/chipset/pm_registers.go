package chipset

import "encoding/binary"

// Block is the handler of the PMSize ports at PMBASE: PM1 event and control at
// 0 and 4, PM timer at 8.
func (m *PM) Block() Handler { return pmBlock{m} }

// GPE0 is the handler of the GPE0Size ports at GPE0Base.
func (m *PM) GPE0() Handler { return byteRegisters{m.readGPE, m.writeGPE} }

// APM is the handler of the ports 0xB2 (SMI command) and 0xB3 (scratch).
func (m *PM) APM() Handler { return byteRegisters{m.readAPM, m.writeAPM} }

// pmBlock is a view of the block. A wide access sees all its bytes at the same
// time, the PM timer's above all.
type pmBlock struct{ m *PM }

func (b pmBlock) Read(off uint64, p []byte) {
	m := b.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle()
	var regs [PMSize]byte
	binary.LittleEndian.PutUint16(regs[pm1Status:], m.pm1.status)
	binary.LittleEndian.PutUint16(regs[pm1Enable:], m.pm1.enable)
	binary.LittleEndian.PutUint16(regs[pm1Control:], m.pm1.control)
	binary.LittleEndian.PutUint32(regs[pmTimer:], uint32(m.ticks()))
	copy(regs[pmGlobal:], m.global[:])
	copy(p, regs[min(off, PMSize):])
}

func (b pmBlock) Write(off uint64, p []byte) {
	m := b.m
	m.mu.Lock()
	asleep := false
	for i, v := range p {
		asleep = m.writeBlock(off+uint64(i), v) || asleep
	}
	m.settle()
	m.mu.Unlock()
	if asleep {
		m.powerOff()
	}
}

// writeBlock writes a byte. It reports whether the machine enters S5.
//
// Preconditions: m.mu is held.
func (m *PM) writeBlock(off uint64, v byte) (s5 bool) {
	shift := 8 * (off & 1)
	wide, mask := uint16(v)<<shift, uint16(0xFF)<<shift
	switch off &^ 1 {
	case pm1Status:
		m.pm1.status &^= wide
		if wide&pm1Timer != 0 {
			m.pm1.carries = m.ticks() >> timerCarry
		}
	case pm1Enable:
		m.pm1.enable = (m.pm1.enable&^mask | wide) & pm1EnableMask
	case pm1Control:
		m.pm1.control = (m.pm1.control&^mask | wide) & pm1ControlStored
		return wide&sleepEnable != 0 && wide&sleepType == m.s5<<sleepTypeShift
	case pmGlobal, pmGlobal + 2:
		m.global[off-pmGlobal] = v
	}
	return false
}

func (m *PM) readGPE(off uint64) byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= GPE0Size {
		return 0xFF
	}
	return byte(m.gpe[off/2] >> (8 * (off & 1)))
}

func (m *PM) writeGPE(off uint64, v byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	shift := 8 * (off & 1)
	switch off / 2 {
	case 0:
		m.gpe[0] &^= uint16(v) << shift
	case 1:
		m.gpe[1] = m.gpe[1]&^(0xFF<<shift) | uint16(v)<<shift
	}
	m.settle()
}

func (m *PM) readAPM(off uint64) byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apm[off&1]
}

func (m *PM) writeAPM(off uint64, v byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apm[off&1] = v
	if off&1 != 0 {
		return
	}
	switch v {
	case ACPIEnable:
		m.pm1.control |= sciEnable
	case ACPIDisable:
		m.pm1.control &^= sciEnable
	}
	m.settle()
}
