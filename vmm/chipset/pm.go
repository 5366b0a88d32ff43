package chipset

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

// PM is the PIIX4's ACPI register block.
type PM struct{}

// NewPM returns the block in its reset state.
func NewPM(c PMConfig) *PM { return &PM{} }

// Block is the handler of the PMSize ports at PMBASE: PM1 event and control at
// 0 and 4, PM timer at 8.
func (m *PM) Block() Handler { return nil }

// GPE0 is the handler of the GPE0Size ports at GPE0Base.
func (m *PM) GPE0() Handler { return nil }

// APM is the handler of the ports 0xB2 (SMI command) and 0xB3 (scratch).
func (m *PM) APM() Handler { return nil }

// PressPowerButton sets the fixed power button event.
func (m *PM) PressPowerButton() {}

// RaiseGPE sets status bit n (0 to 15) of general purpose event block 0.
func (m *PM) RaiseGPE(n int) {}

// Reset is the machine's reset.
func (m *PM) Reset() {}

// Close stops its timer.
func (m *PM) Close() {}
