package chipset

import "sync"

// KeyboardConfig says what an i8042 drives.
type KeyboardConfig struct {
	// KeyboardIRQ and AuxIRQ drive lines 1 and 12; nil leaves them unconnected.
	KeyboardIRQ, AuxIRQ func(asserted bool)
	// Reset requests a reset of the machine; nil ignores that.
	Reset func()
}

// Keyboard is an i8042 keyboard controller as on an IBM PS/2, with a keyboard
// (see Key) and nothing at its auxiliary port. The A20 gate can
// be set and read back, but memory does not wrap around without it.
type Keyboard struct {
	keyboardIRQ, auxIRQ func(bool)
	reset               func()

	mu      sync.Mutex
	control byte       // guarded by mu: the controller's command byte
	output  byte       // guarded by mu: the output port
	last    byte       // guarded by mu: last command that takes a parameter, 0 for none
	command bool       // guarded by mu: the last write went to the command port
	keys    keyboard   // guarded by mu
	queue   []scanByte // guarded by mu: what the guest has yet to read, at most queueSize
	lines   [2]bool    // guarded by mu: levels of the interrupt lines
}

// scanByte is a byte for the guest and where it came from.
type scanByte struct {
	value byte
	from  source
}

type source uint8

const (
	fromController source = iota // raises no interrupt
	fromKeyboard
	fromAux
	fromAuxTimeout // nobody answered at the auxiliary port
)

// queueSize bounds what a guest can make the controller say without reading it.
const queueSize = 16

// Bits of the status register.
const (
	statusOutputFull = 1 << 0
	statusCommand    = 1 << 3
	statusUnlocked   = 1 << 4
	statusAux        = 1 << 5
	statusTimeout    = 1 << 6
)

// Bits of the command byte. Bit 2, the system flag, is in the status, too.
const (
	controlKeyboardIRQ = 1 << 0
	controlAuxIRQ      = 1 << 1
	controlSystem      = 1 << 2
	controlNoKeyboard  = 1 << 4
	controlNoAux       = 1 << 5
	controlTranslate   = 1 << 6
	controlReset       = controlKeyboardIRQ | controlSystem | controlTranslate
)

// Bits of the output port.
const (
	outputNoReset  = 1 << 0 // low resets the machine
	outputA20      = 1 << 1
	outputKeyboard = 1 << 4 // the output buffer holds a byte of the keyboard
	outputAux      = 1 << 5
	outputWritable = outputNoReset | outputA20
)

// Commands to the controller.
const (
	commandReadControl  = 0x20
	commandWriteControl = 0x60
	commandDisableAux   = 0xA7
	commandEnableAux    = 0xA8
	commandTestAux      = 0xA9
	commandSelfTest     = 0xAA
	commandTestKeyboard = 0xAB
	commandDisableKeys  = 0xAD
	commandEnableKeys   = 0xAE
	commandReadInput    = 0xC0
	commandReadOutput   = 0xD0
	commandWriteOutput  = 0xD1
	commandLoopKeyboard = 0xD2
	commandLoopAux      = 0xD3
	commandWriteAux     = 0xD4
	commandPulse        = 0xF0 // and up: a zero among the low four bits pulses that output
	selfTestPassed      = 0x55
	interfaceTestPassed = 0x00
	inputPortNotLocked  = 0x80
	auxNobodyAnswered   = 0xFE
	pulsedOutputReset   = 1 << 0
)

// NewKeyboard returns a controller in its reset state.
func NewKeyboard(c KeyboardConfig) *Keyboard {
	k := &Keyboard{keyboardIRQ: c.KeyboardIRQ, auxIRQ: c.AuxIRQ, reset: c.Reset}
	if k.keyboardIRQ == nil {
		k.keyboardIRQ = noLine
	}
	if k.auxIRQ == nil {
		k.auxIRQ = noLine
	}
	if k.reset == nil {
		k.reset = func() {}
	}
	k.Reset()
	return k
}

// Reset is the machine's reset.
func (k *Keyboard) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.control = controlReset
	k.output = outputNoReset | outputA20
	k.last, k.command = 0, false
	k.keys = keyboard{}
	k.queue = k.queue[:0]
	k.settle()
}

// Data is the handler of the data port 0x60 (1 byte).
func (k *Keyboard) Data() Handler {
	return byteRegisters{
		func(uint64) byte { return k.readData() },
		func(_ uint64, v byte) { k.writeData(v) },
	}
}

// Command is the handler of the command and status port 0x64 (1 byte).
func (k *Keyboard) Command() Handler {
	return byteRegisters{
		func(uint64) byte { return k.readStatus() },
		func(_ uint64, v byte) { k.writeCommand(v) },
	}
}

func (k *Keyboard) readStatus() byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := k.control&controlSystem | statusUnlocked
	if k.command {
		v |= statusCommand
	}
	if len(k.queue) > 0 {
		v |= statusOutputFull
		switch k.queue[0].from {
		case fromAux:
			v |= statusAux
		case fromAuxTimeout:
			v |= statusAux | statusTimeout
		}
	}
	return v
}

// readData takes a byte; an empty buffer reads as zero.
func (k *Keyboard) readData() byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) == 0 {
		return 0
	}
	v := k.queue[0].value
	k.queue = append(k.queue[:0], k.queue[1:]...)
	k.release()
	k.settle()
	return v
}

func (k *Keyboard) writeCommand(v byte) {
	k.mu.Lock()
	pulsed := k.runCommand(v)
	k.mu.Unlock()
	if pulsed {
		k.reset()
	}
}

// runCommand reports whether the machine is to be reset.
//
// Preconditions: k.mu is held.
func (k *Keyboard) runCommand(v byte) (reset bool) {
	defer k.settle()
	k.command, k.last = true, 0
	switch v {
	case commandReadControl:
		k.say(fromController, k.control)
	case commandTestAux, commandTestKeyboard:
		k.say(fromController, interfaceTestPassed)
	case commandSelfTest:
		k.control |= controlSystem
		k.say(fromController, selfTestPassed)
	case commandDisableAux:
		k.control |= controlNoAux
	case commandEnableAux:
		k.control &^= controlNoAux
	case commandDisableKeys:
		k.control |= controlNoKeyboard
	case commandEnableKeys:
		k.control &^= controlNoKeyboard
	case commandReadInput:
		k.say(fromController, inputPortNotLocked)
	case commandReadOutput:
		k.say(fromController, k.outputPort())
	case commandWriteControl, commandWriteOutput, commandLoopKeyboard, commandLoopAux, commandWriteAux:
		k.last = v
	default:
		return v >= commandPulse && v&pulsedOutputReset == 0
	}
	return false
}

func (k *Keyboard) writeData(v byte) {
	k.mu.Lock()
	reset := k.runParameter(v)
	k.mu.Unlock()
	if reset {
		k.reset()
	}
}

// runParameter takes a byte for the command before it, or for the keyboard. It
// reports whether the machine is to be reset.
//
// Preconditions: k.mu is held.
func (k *Keyboard) runParameter(v byte) (reset bool) {
	defer k.settle()
	last := k.last
	k.command, k.last = false, 0
	switch last {
	case commandWriteControl:
		k.control = v
	case commandWriteOutput:
		k.output = v & outputWritable
		if v&outputNoReset == 0 {
			k.output |= outputNoReset
			return true
		}
	case commandLoopKeyboard:
		k.say(fromKeyboard, v)
	case commandLoopAux:
		k.say(fromAux, v)
	case commandWriteAux:
		k.say(fromAuxTimeout, auxNobodyAnswered)
	default:
		k.control &^= controlNoKeyboard // talking to the keyboard enables it
		k.say(fromKeyboard, k.keys.command(v, k.control&controlTranslate != 0)...)
	}
	return false
}

// outputPort is the port as the guest reads it.
//
// Preconditions: k.mu is held.
func (k *Keyboard) outputPort() byte {
	v := k.output
	if len(k.queue) > 0 {
		switch k.queue[0].from {
		case fromKeyboard:
			v |= outputKeyboard
		case fromAux, fromAuxTimeout:
			v |= outputAux
		}
	}
	return v
}

// say queues bytes for the guest. What does not fit is lost.
//
// Preconditions: k.mu is held.
func (k *Keyboard) say(from source, bytes ...byte) {
	for _, v := range bytes {
		if len(k.queue) < queueSize {
			k.queue = append(k.queue, scanByte{v, from})
		}
	}
}

// release lowers the interrupt lines, so that the next byte gives another edge.
//
// Preconditions: k.mu is held.
func (k *Keyboard) release() { k.drive([2]bool{}) }

// settle makes the interrupt lines follow the byte that the guest reads next.
//
// Preconditions: k.mu is held.
func (k *Keyboard) settle() {
	var levels [2]bool
	if len(k.queue) > 0 {
		from := k.queue[0].from
		levels[0] = from == fromKeyboard && k.control&controlKeyboardIRQ != 0
		levels[1] = from >= fromAux && k.control&controlAuxIRQ != 0
	}
	k.drive(levels)
}

// Preconditions: k.mu is held.
func (k *Keyboard) drive(levels [2]bool) {
	for i, irq := range [...]func(bool){k.keyboardIRQ, k.auxIRQ} {
		if levels[i] != k.lines[i] {
			k.lines[i] = levels[i]
			irq(levels[i])
		}
	}
}
