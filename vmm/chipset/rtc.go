package chipset

import (
	"sync"
	"time"
)

// RTCConfig describes the clock and what firmware finds in its memory.
type RTCConfig struct {
	// Clock gives the time, which is kept in UTC; nil is the SystemClock.
	Clock Clock
	// IRQ drives line 8; nil leaves it unconnected.
	IRQ func(asserted bool)
	// LowMemory is the RAM below 4 GiB and HighMemory the RAM above, in bytes.
	LowMemory, HighMemory uint64
	// CPUs is the number of processors.
	CPUs int
}

// RTC is an MC146818 with 128 bytes of memory and the PIIX4's bank of another
// 128: a Handler for the four ports 0x70 to 0x73. The century is the byte 0x32.
//
// It goes by the host's clock until the guest sets it; from then on it keeps its
// difference to that. The flags of register C are worked out when the guest reads
// them; a timer runs only for an interrupt that is enabled and not pending. So
// periodic interrupts that a guest does not acknowledge in time are merged.
// Daylight saving and the square-wave output are not modelled. A divider other
// than the usual one stops periodic interrupts, but not the time.
type RTC struct {
	byteRegisters
	clock Clock
	irq   func(bool)

	mu      sync.Mutex
	index   [2]byte       // guarded by mu: selected byte of either bank
	ram     [2][128]byte  // guarded by mu: time registers in it are used while the clock is set
	base    time.Time     // guarded by mu: the guest's time ...
	since   time.Time     // guarded by mu: ... when the Clock gave this
	changed bool          // guarded by mu: the guest has set the time
	flags   byte          // guarded by mu: register C without its summary bit
	seen    time.Duration // guarded by mu: flags are right up to this time since base
	divider bool          // guarded by mu: the divider was reset while the clock was being set
	pending Timer         // guarded by mu: for the next interrupt
	line    bool          // guarded by mu
}

// Bytes of the MC146818's memory.
const (
	rtcSeconds      = 0x00
	rtcAlarmSeconds = 0x01
	rtcMinutes      = 0x02
	rtcAlarmMinutes = 0x03
	rtcHours        = 0x04
	rtcAlarmHours   = 0x05
	rtcWeekday      = 0x06
	rtcDay          = 0x07
	rtcMonth        = 0x08
	rtcYear         = 0x09
	rtcA            = 0x0A
	rtcB            = 0x0B
	rtcC            = 0x0C
	rtcD            = 0x0D
	rtcCentury      = 0x32
)

// Bits of registers A to D.
const (
	rtcUpdating   = 1 << 7 // A, read-only
	rtcDivider    = 0x70   // A
	rtcDividerRun = 0x20   // A: 32768 Hz crystal
	rtcDividerOff = 0x60   // A: both bits hold the divider in reset
	rtcRate       = 0x0F   // A
	rtcRate1024   = 0x06   // A

	rtcSet      = 1 << 7 // B: the time does not change
	rtcPeriodic = 1 << 6 // B enables, C flags
	rtcAlarm    = 1 << 5 // B enables, C flags
	rtcUpdate   = 1 << 4 // B enables, C flags
	rtcSquare   = 1 << 3 // B
	rtcBinary   = 1 << 2 // B: not BCD
	rtc24Hours  = 1 << 1 // B
	rtcEvents   = rtcPeriodic | rtcAlarm | rtcUpdate

	rtcInterrupt = 1 << 7 // C
	rtcValid     = 1 << 7 // D: the battery is good
)

// rtcUpdateTime is how long before the end of a second the guest is told not to
// read the time.
const rtcUpdateTime = 1984 * time.Microsecond

// NewRTC returns a running clock.
func NewRTC(c RTCConfig) *RTC {
	r := &RTC{clock: c.Clock, irq: c.IRQ}
	if r.clock == nil {
		r.clock = SystemClock()
	}
	if r.irq == nil {
		r.irq = noLine
	}
	r.byteRegisters = byteRegisters{r.readPort, r.writePort}
	r.setTime(r.clock.Now())
	ram := &r.ram[0]
	ram[rtcA] = rtcDividerRun | rtcRate1024
	ram[rtcB] = rtc24Hours
	describeMachine(ram, c)
	return r
}

// Reset is the machine's reset: interrupts are disabled, time and memory stay.
func (r *RTC) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ram[0][rtcB] &^= rtcEvents | rtcSquare
	r.index = [2]byte{}
	r.flags, r.seen = 0, r.elapsed()
	if !r.changed {
		r.setTime(r.clock.Now()) // the host's clock may have been set, too
	}
	r.settle()
}

// Close stops its timer.
func (r *RTC) Close() { r.Reset() }

// The four ports: index and data of each bank.
func (r *RTC) readPort(off uint64) byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off&1 == 0 {
		return 0xFF // an index cannot be read
	}
	bank := off >> 1 & 1
	i := r.index[bank]
	if bank == 0 {
		return r.read(i)
	}
	return r.ram[bank][i]
}

func (r *RTC) writePort(off uint64, v byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	bank := off >> 1 & 1
	switch {
	case off&1 == 0:
		r.index[bank] = v & 0x7F // bit 7 masks NMIs, of which there are none
	case bank == 0:
		r.write(r.index[0], v)
	default:
		r.ram[bank][r.index[bank]] = v
	}
}

// Preconditions: r.mu is held.
func (r *RTC) read(i byte) byte {
	ram := &r.ram[0]
	switch {
	case i == rtcA:
		if r.updating() {
			return ram[rtcA] | rtcUpdating
		}
	case i == rtcC:
		r.catchUp()
		v := r.flags
		if v&ram[rtcB]&rtcEvents != 0 {
			v |= rtcInterrupt
		}
		r.flags = 0
		r.settle()
		return v
	case i == rtcD:
		return rtcValid
	case isTime(i) && !r.setting():
		return r.encode(r.now())[i]
	}
	return ram[i]
}

// Preconditions: r.mu is held.
func (r *RTC) write(i, v byte) {
	ram := &r.ram[0]
	r.catchUp()
	switch {
	case i == rtcA:
		ram[rtcA] = v &^ rtcUpdating
		r.divider = r.divider || r.setting() && v&rtcDividerOff == rtcDividerOff
	case i == rtcB:
		r.writeB(v)
	case i == rtcC || i == rtcD:
		return
	case isTime(i) && !r.setting():
		fields := r.encode(r.now())
		fields[i] = v
		r.changed = true
		r.setTime(r.decode(&fields).Add(r.elapsed() % time.Second))
	default:
		ram[i] = v
	}
	r.settle()
}

// writeB writes register B: its bits set the format of the time, and freeze it
// while it is being set.
//
// Preconditions: r.mu is held; the flags are caught up.
func (r *RTC) writeB(v byte) {
	ram := &r.ram[0]
	was := r.setting()
	if !was && v&rtcSet != 0 {
		fields := r.encode(r.now())
		for i := range fields {
			if isTime(byte(i)) {
				ram[i] = fields[i]
			}
		}
		r.divider = false
		v &^= rtcUpdate // setting the clock ends update interrupts
	}
	ram[rtcB] = v
	if was && v&rtcSet == 0 {
		phase := r.elapsed() % time.Second
		if r.divider { // the first update comes half a second after the divider starts
			phase = time.Second / 2
		}
		r.changed = true
		r.setTime(r.decode(ram).Add(phase))
	}
}

func (r *RTC) setting() bool { return r.ram[0][rtcB]&rtcSet != 0 }

// updating reports whether the guest should not read the time now.
//
// Preconditions: r.mu is held.
func (r *RTC) updating() bool {
	return !r.setting() && r.elapsed()%time.Second >= time.Second-rtcUpdateTime
}

// settle makes the interrupt line follow the flags, and starts the timer for
// the next interrupt.
//
// Preconditions: r.mu is held; the flags are caught up.
func (r *RTC) settle() {
	enabled := r.ram[0][rtcB] & rtcEvents
	level := r.flags&enabled != 0
	if level != r.line {
		r.line = level
		r.irq(level)
	}
	if r.pending != nil {
		r.pending.Stop()
		r.pending = nil
	}
	wait, ok := r.nextEvent(enabled &^ r.flags)
	if level || !ok {
		return
	}
	var t Timer
	t = r.clock.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.pending == t { // else it was stopped too late
			r.catchUp()
			r.settle()
		}
	})
	r.pending = t
}
