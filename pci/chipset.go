package pci

// NewHostBridge returns the host bridge function of the 440FX: place 00.0. Use
// OnConfigWrite for its PAM (0x59 to 0x5F) and SMRAM (0x72) registers.
func NewHostBridge() *Function { return NewFunction(Config{}) }

// NewPIIX3 returns the ISA bridge function of the PIIX3: function 0 of its slot,
// multifunction. changed, if not nil, gets the PIRQA to PIRQD route registers
// whenever they change.
func NewPIIX3(changed func(routes [4]PIRQRoute)) *Function { return NewFunction(Config{}) }

// PIRQRoute is a PIIX3 PIRQ route register (0x60 to 0x63).
type PIRQRoute uint8

// IRQ is the ISA interrupt that the link drives; ok is false if routing is
// disabled (bit 7).
func (r PIRQRoute) IRQ() (irq int, ok bool) { return int(r & 0xF), r&0x80 == 0 }

// NewPIIX4PM returns the power management function of the PIIX4: function 3 of
// the ISA bridge's slot. changed, if not nil, gets the port base of the
// 64-byte power management block and whether it is decoded, whenever either
// changes.
func NewPIIX4PM(changed func(base uint16, enabled bool)) *Function { return NewFunction(Config{}) }
