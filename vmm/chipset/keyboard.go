package chipset

// KeyboardConfig says what an i8042 drives.
type KeyboardConfig struct {
	// KeyboardIRQ and AuxIRQ drive lines 1 and 12; nil leaves them unconnected.
	KeyboardIRQ, AuxIRQ func(asserted bool)
	// Reset requests a reset of the machine.
	Reset func()
}

// Keyboard is an i8042 keyboard controller with a keyboard that has no keys.
type Keyboard struct{}

// NewKeyboard returns a controller in its reset state.
func NewKeyboard(c KeyboardConfig) *Keyboard { return &Keyboard{} }

// Data is the handler of the data port 0x60 (1 byte).
func (k *Keyboard) Data() Handler { return nil }

// Command is the handler of the command and status port 0x64 (1 byte).
func (k *Keyboard) Command() Handler { return nil }

// Reset is the machine's reset.
func (k *Keyboard) Reset() {}
