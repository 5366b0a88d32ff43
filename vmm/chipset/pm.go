package chipset

import (
	"math/bits"
	"sync"
	"time"
)

// Port ranges of the power management registers.
const (
	// PMSize is the size of the block at PMBASE.
	PMSize = 64
	// GPE0Base and GPE0Size are where general purpose event block 0 is.
	GPE0Base, GPE0Size = 0xAFE0, 4
	// APMBase and APMSize are the SMI command and status ports.
	APMBase, APMSize = 0xB2, 2
)

// Commands for the SMI command port 0xB2: the FADT's ACPI_ENABLE and
// ACPI_DISABLE.
const (
	ACPIEnable  = 0xF1
	ACPIDisable = 0xF0
)

// PMTimerHz is the frequency of the power management timer.
const PMTimerHz = 3579545

// PMConfig says what the power management block drives.
type PMConfig struct {
	// Clock runs the PM timer; nil is the SystemClock.
	Clock Clock
	// SCI drives the system control interrupt (level triggered, line 9).
	SCI func(asserted bool)
	// S5 is the SLP_TYP value of the DSDT's \_S5 object.
	S5 uint8
	// PowerOff requests that the machine be switched off.
	PowerOff func()
	// ACPI starts the machine in ACPI mode (SCI_EN set at reset), for a boot
	// without firmware.
	ACPI bool
}

// PM is the ACPI register block of a PIIX4 (ACPI 4.8.3: PM1 event and control,
// a 32-bit PM timer), a general purpose event block of 16 events, and the ports
// that switch between ACPI and legacy mode. No sleep state but S5 is entered,
// no event but the power button, the PM timer's carry and those of RaiseGPE
// occurs, and there are no system management interrupts.
type PM struct {
	clock    Clock
	sci      func(bool)
	powerOff func()
	s5       uint16
	control  uint16 // of pm1Control at reset
	start    time.Time

	mu     sync.Mutex
	pm1    pm1       // guarded by mu
	gpe    [2]uint16 // guarded by mu: status and enable of block 0
	apm    [2]byte   // guarded by mu: command and scratch
	global [4]byte   // guarded by mu: GLBCTL, a scratch register
	carry  Timer     // guarded by mu: the PM timer's next carry, if it is to interrupt
	level  bool      // guarded by mu: of the SCI
}

// pm1 are the PM1 registers.
type pm1 struct {
	status, enable, control uint16
	carries                 uint64 // carries of the PM timer that were acknowledged
}

// Offsets in the block at PMBASE.
const (
	pm1Status  = 0x00
	pm1Enable  = 0x02
	pm1Control = 0x04
	pmTimer    = 0x08
	pmGlobal   = 0x28
)

// Bits of the PM1 registers. Status and enable bits are at the same places.
const (
	pm1Timer       = 1 << 0
	pm1PowerButton = 1 << 8
	pm1EnableMask  = pm1Timer | 1<<5 | pm1PowerButton | 1<<9 | 1<<10

	sciEnable        = 1 << 0
	sleepType        = 7 << 10
	sleepEnable      = 1 << 13 // write-only
	pm1ControlStored = sciEnable | 1<<1 | sleepType

	sleepTypeShift = 10
)

// timerCarry is the bit of the PM timer whose changes set the timer status.
const timerCarry = 31

// NewPM returns the block in its reset state.
func NewPM(c PMConfig) *PM {
	m := &PM{clock: c.Clock, sci: c.SCI, powerOff: c.PowerOff, s5: uint16(c.S5)}
	if m.clock == nil {
		m.clock = SystemClock()
	}
	if m.sci == nil {
		m.sci = noLine
	}
	if m.powerOff == nil {
		m.powerOff = func() {}
	}
	if c.ACPI {
		m.control = sciEnable
	}
	m.start = m.clock.Now()
	m.Reset()
	return m
}

// Reset is the machine's reset. The PM timer goes on.
func (m *PM) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pm1 = pm1{control: m.control, carries: m.ticks() >> timerCarry}
	m.gpe = [2]uint16{}
	m.apm = [2]byte{}
	m.global = [4]byte{}
	m.settle()
}

// Close stops its timer.
func (m *PM) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pm1.enable = 0
	m.settle()
}

// PressPowerButton sets the fixed power button event. It reports whether the guest
// has the event enabled.
func (m *PM) PressPowerButton() (enabled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pm1.status |= pm1PowerButton
	m.settle()
	return m.pm1.enable&pm1PowerButton != 0
}

// RaiseGPE sets status bit n (0 to 15) of general purpose event block 0.
func (m *PM) RaiseGPE(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gpe[0] |= 1 << n
	m.settle()
}

// ticks is the PM timer.
func (m *PM) ticks() uint64 {
	elapsed := max(m.clock.Now().Sub(m.start), 0)
	hi, lo := bits.Mul64(uint64(elapsed), PMTimerHz)
	ticks, _ := bits.Div64(hi, lo, uint64(time.Second))
	return ticks
}

// settle makes status, interrupt and timer follow each other.
//
// Preconditions: m.mu is held.
func (m *PM) settle() {
	if m.ticks()>>timerCarry != m.pm1.carries {
		m.pm1.status |= pm1Timer
	}
	level := m.pm1.control&sciEnable != 0 &&
		(m.pm1.status&m.pm1.enable != 0 || m.gpe[0]&m.gpe[1] != 0)
	if level != m.level {
		m.level = level
		m.sci(level)
	}
	m.arm()
}

// arm starts the timer for the next carry if the guest waits for that.
//
// Preconditions: m.mu is held.
func (m *PM) arm() {
	wanted := m.pm1.enable&pm1Timer != 0 && m.pm1.status&pm1Timer == 0
	if !wanted && m.carry != nil {
		m.carry.Stop()
		m.carry = nil
	}
	if !wanted || m.carry != nil {
		return
	}
	left := 1<<timerCarry - m.ticks()&(1<<timerCarry-1)
	wait := time.Duration(left*uint64(time.Second)/PMTimerHz + 1)
	var t Timer
	t = m.clock.AfterFunc(wait, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.carry == t { // else it was stopped too late
			m.carry = nil
			m.settle()
		}
	})
	m.carry = t
}
