package chipset

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

// RTC is an MC146818 with 128 bytes of memory: a Handler for the four ports
// 0x70 to 0x73.
type RTC struct{}

// NewRTC returns a running clock.
func NewRTC(c RTCConfig) *RTC { return &RTC{} }

// Read implements Handler.
func (r *RTC) Read(off uint64, p []byte) {}

// Write implements Handler.
func (r *RTC) Write(off uint64, p []byte) {}

// Reset is the machine's reset: interrupts are disabled, time and memory stay.
func (r *RTC) Reset() {}

// Close stops its timers.
func (r *RTC) Close() {}
