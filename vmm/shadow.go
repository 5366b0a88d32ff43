package vmm

import (
	"fmt"
	"slices"
	"sync"

	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/vmm/kvm"
)

// shadow is the memory between the window of video memory and 1 MiB of a machine
// with a BIOS. There is RAM, and over it, up to 1 MiB, the end of the BIOS's ROM. The
// host bridge decides, by its PAM registers, which of both a processor reads and
// whether its writes get to the RAM; a BIOS copies itself there, and protects the
// copy.
//
// What can be read is a slot of KVM's, RAM or ROM, writable only if both directions
// go to RAM. All other accesses are exits, which shadow answers as a bus.Handler.
// Devices reach the RAM, always.
type shadow struct {
	ram []byte // the host's, all of it
	rom []byte // the host's, of the end
	// slots are what KVM has, by the number of the slot after first; a zero value is
	// no slot. Used by whoever has the processors out of the guest.
	slots [shadowUnits]shadowSlot
	first int

	mu  sync.Mutex // a leaf
	pam pci.PAM    // guarded by mu
}

const (
	shadowSize  = pci.PAMEnd - pci.PAMBase
	shadowUnits = shadowSize / pci.PAMUnit
	// romAlias is how much of a ROM's end is seen below 1 MiB.
	romAlias = 128 << 10
)

// shadowSlot is a part of the shadow that is read alike.
type shadowSlot struct {
	base, size uint64
	rom        bool
	readOnly   bool
}

// registers are what the host bridge has now.
func (s *shadow) registers() pci.PAM {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pam
}

// set takes new registers.
func (s *shadow) set(pam pci.PAM) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pam = pam
}

// romBase is where the ROM begins.
func (s *shadow) romBase() uint64 { return pci.PAMEnd - uint64(len(s.rom)) }

// wanted are the slots that the registers call for, by address.
func (s *shadow) wanted(pam pci.PAM) (list []shadowSlot) {
	for base := uint64(pci.PAMBase); base < pci.PAMEnd; base += pci.PAMUnit {
		reads, writes := pam.RAM(base)
		if !reads && base < s.romBase() {
			continue // nothing to read
		}
		unit := shadowSlot{base: base, size: pci.PAMUnit, rom: !reads, readOnly: !reads || !writes}
		if n := len(list) - 1; n >= 0 && list[n].rom == unit.rom && list[n].readOnly == unit.readOnly && list[n].base+list[n].size == base {
			list[n].size += unit.size
			continue
		}
		list = append(list, unit)
	}
	return list
}

// memory is the host's memory behind a slot.
func (s *shadow) memory(slot shadowSlot) []byte {
	if slot.rom {
		return s.rom[slot.base-s.romBase():][:slot.size]
	}
	return s.ram[slot.base-pci.PAMBase:][:slot.size]
}

// show has KVM know the slots that the registers call for.
//
// Preconditions: no processor is in the guest.
func (s *shadow) show(vm *kvm.VM) error {
	missing := s.wanted(s.registers())
	for i, slot := range s.slots {
		if n := slices.Index(missing, slot); n >= 0 {
			missing = slices.Delete(missing, n, n+1)
			continue
		}
		if slot.size == 0 {
			continue
		}
		if err := vm.SetMemory(s.first+i, 0, nil, 0); err != nil {
			return err
		}
		s.slots[i] = shadowSlot{}
	}
	for i := range s.slots {
		if len(missing) == 0 {
			break
		}
		if s.slots[i].size > 0 {
			continue
		}
		slot := missing[0]
		missing = missing[1:]
		var flags kvm.MemoryFlags
		if slot.readOnly {
			flags = kvm.MemoryReadOnly
		}
		if err := vm.SetMemory(s.first+i, slot.base, s.memory(slot), flags); err != nil {
			return err
		}
		s.slots[i] = slot
	}
	return nil
}

// Read answers a read of what no slot has: there is nothing on the bus. It
// implements bus.Handler.
func (s *shadow) Read(_ uint64, p []byte) {
	for i := range p {
		p[i] = 0xff
	}
}

// Write takes a write that no slot takes, to RAM that is not read, or to nothing.
func (s *shadow) Write(off uint64, p []byte) {
	if _, writes := s.registers().RAM(pci.PAMBase + off); writes {
		copy(s.ram[off:], p)
	}
}

// addShadow takes over the RAM of the shadow, of a machine whose BIOS has the given
// memory.
func (m *Machine) addShadow(rom []byte) error {
	s := &m.shadow
	s.rom = rom[max(0, len(rom)-romAlias):]
	s.first = m.memorySlots
	m.memorySlots += len(s.slots)
	if err := m.mmio.MapNamed("shadow", pci.PAMBase, shadowSize, s); err != nil {
		return err
	}
	return s.show(m.vm)
}

// movePAM takes new contents of the host bridge's registers. It is called on a
// vCPU's thread, which executes nothing until Run has done what they say.
func (m *Machine) movePAM(pam pci.PAM) {
	if m.config.BIOS == nil {
		return // all is RAM
	}
	m.shadow.set(pam)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ending.Load() {
		return
	}
	select {
	case m.remaps <- struct{}{}:
		m.hold(holdMemory)
	default: // there is one to come already
	}
}

// remap does what the registers of the host bridge say.
func (m *Machine) remap() error {
	m.mu.Lock()
	m.hold(holdMemory) // if a call before this one has taken it back
	m.mu.Unlock()
	if !m.awaitParked() {
		return nil
	}
	defer m.release(holdMemory)
	if err := m.shadow.show(m.vm); err != nil {
		return fmt.Errorf("memory below 1 MiB: %w", err)
	}
	return nil
}
