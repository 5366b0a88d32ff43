package chipset

import (
	"context"
	"io"
	"sync"
)

// SerialConfig describes a UART and what is at the other end of its line.
type SerialConfig struct {
	// IRQ drives the interrupt line; nil leaves it unconnected.
	IRQ func(asserted bool)
	// Out takes what the guest sends; nil discards it.
	Out io.Writer
	// In, if not nil, is read for what the guest receives, until it ends.
	In io.Reader
}

// Serial is a 16550A UART: a Handler for 8 ports (COM1: 0x3F8, IRQ 4). It
// follows National Semiconductor's PC16550D data sheet.
//
// The line has no speed: a character is sent at once, and one that is received
// is in the FIFO as soon as there is room. Output waits in memory for Out; when
// much of it waits, the transmitter reports that it is busy until Out caught up.
// Input waits outside of the FIFO, so none is overrun; but a guest that resets
// its FIFO discards what is in it. While fewer characters wait than the trigger
// level asks for, the character timeout is signalled without a delay. The
// modem lines are those of a peer that is always ready. Breaks, parity and
// framing errors do not occur.
type Serial struct {
	byteRegisters
	irq  func(bool)
	sink *sink

	mu     sync.Mutex
	room   sync.Cond // the FIFO can take input, or closed
	closed bool      // guarded by mu
	line   bool      // guarded by mu: level of the interrupt line
	uart             // guarded by mu
}

// uart are the registers.
type uart struct {
	ier, fcr, lcr, mcr, scr byte
	divisor                 [2]byte // DLL, DLM
	deltas                  byte    // low half of MSR: what changed
	overrun                 bool    // LSR.OE
	sent                    bool    // the transmitter-empty interrupt is pending

	fifo  [16]byte // received, in a ring
	first int
	count int
}

// Registers of the UART. The divisor latch takes the place of the first two
// while LCR.DLAB is set.
const (
	uartData    = 0 // RBR, THR
	uartIER     = 1
	uartIIR     = 2 // FCR when written
	uartLCR     = 3
	uartMCR     = 4
	uartLSR     = 5
	uartMSR     = 6
	uartScratch = 7

	ierReceived = 1 << 0
	ierSent     = 1 << 1
	ierLine     = 1 << 2
	ierModem    = 1 << 3
	ierMask     = 0x0F

	iirModem    = 0x0
	iirNone     = 0x1
	iirSent     = 0x2
	iirReceived = 0x4
	iirLine     = 0x6
	iirTimeout  = 0xC
	iirFIFO     = 0xC0

	fcrEnable   = 1 << 0
	fcrReset    = 1 << 1 // of the receiver
	fcrTrigger  = 6      // shift
	fcrRemember = 0xC9   // the bits that do not clear themselves

	lcrDLAB = 1 << 7

	mcrDTR  = 1 << 0
	mcrRTS  = 1 << 1
	mcrOUT1 = 1 << 2
	mcrOUT2 = 1 << 3 // lets interrupts out, on a PC
	mcrLoop = 1 << 4
	mcrMask = 0x1F

	lsrData    = 1 << 0
	lsrOverrun = 1 << 1
	lsrEmpty   = 1<<5 | 1<<6 // holding register and shift register

	msrCTS   = 1 << 4
	msrDSR   = 1 << 5
	msrRing  = 1 << 6
	msrDCD   = 1 << 7
	msrReady = msrCTS | msrDSR | msrDCD // the peer's
)

// uartReset is what firmware would leave: 9600 baud, interrupts let out.
func uartReset() uart { return uart{divisor: [2]byte{12, 0}, mcr: mcrOUT2} }

// NewSerial returns a UART in its reset state and starts its input and output.
func NewSerial(c SerialConfig) *Serial {
	s := &Serial{irq: c.IRQ, uart: uartReset()}
	if s.irq == nil {
		s.irq = noLine
	}
	s.room.L = &s.mu
	s.sink = newSink(c.Out, s.transmitted)
	s.byteRegisters = byteRegisters{s.readRegister, s.writeRegister}
	if c.In != nil {
		go s.receiveFrom(c.In)
	}
	return s
}

// Reset is the machine's reset. Output in flight is kept.
func (s *Serial) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uart = uartReset()
	s.settle()
}

// Flush waits until everything that the guest sent has been written to Out, or
// until ctx is done. It reports the first error of Out.
func (s *Serial) Flush(ctx context.Context) error { return s.sink.flush(ctx) }

// Close ends Feed, discards what the guest sends from now on, and flushes like
// Flush. A Read of In or a Write to Out that does not return keeps its goroutine:
// whoever owns them has to end it.
func (s *Serial) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.room.Broadcast()
	s.mu.Unlock()
	return s.sink.close(ctx)
}

// Feed gives the guest input. It returns when all of p has been in the FIFO, or
// with io.ErrClosedPipe after Close. Input waits while the UART is in loopback.
func (s *Serial) Feed(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		for !s.closed && (s.count == s.depth() || s.mcr&mcrLoop != 0) {
			s.room.Wait()
		}
		if s.closed {
			return io.ErrClosedPipe
		}
		n := min(len(p), s.depth()-s.count)
		for _, b := range p[:n] {
			s.push(b)
		}
		p = p[n:]
		s.settle()
	}
	return nil
}

func (s *Serial) receiveFrom(in io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := in.Read(buf)
		if s.Feed(buf[:n]) != nil || err != nil {
			return
		}
	}
}

// transmitted is called when the sink can take more after it was full.
func (s *Serial) transmitted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = true
	s.settle()
}

// settle makes the interrupt line follow the registers, and lets input in.
//
// Preconditions: s.mu is held.
func (s *Serial) settle() {
	if s.count < s.depth() {
		s.room.Broadcast()
	}
	level := s.pending() != iirNone && s.mcr&(mcrOUT2|mcrLoop) == mcrOUT2
	if level != s.line {
		s.line = level
		s.irq(level)
	}
}

func (s *Serial) readRegister(off uint64) byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.settle()
	latch := s.lcr&lcrDLAB != 0
	switch off {
	case uartData:
		if latch {
			return s.divisor[0]
		}
		return s.pop()
	case uartIER:
		if latch {
			return s.divisor[1]
		}
		return s.ier
	case uartIIR:
		return s.identify()
	case uartLCR:
		return s.lcr
	case uartMCR:
		return s.mcr
	case uartLSR:
		return s.lineStatus()
	case uartMSR:
		v := s.modemStatus() | s.deltas
		s.deltas = 0
		return v
	case uartScratch:
		return s.scr
	}
	return 0xFF
}

func (s *Serial) writeRegister(off uint64, v byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.settle()
	latch := s.lcr&lcrDLAB != 0
	switch off {
	case uartData:
		if latch {
			s.divisor[0] = v
			return
		}
		s.transmit(v)
	case uartIER:
		if latch {
			s.divisor[1] = v
			return
		}
		s.sent = s.sent || v&^s.ier&ierSent != 0 && !s.sink.full()
		s.ier = v & ierMask
	case uartIIR:
		s.setFIFO(v)
	case uartLCR:
		s.lcr = v
	case uartMCR:
		before := s.modemStatus()
		s.mcr = v & mcrMask
		s.changeModem(before)
	case uartScratch:
		s.scr = v
	}
}

// transmit sends a character, in loopback to the receiver.
//
// Preconditions: s.mu is held.
func (s *Serial) transmit(v byte) {
	if s.mcr&mcrLoop == 0 {
		s.sink.put(v)
		s.sent = !s.sink.full()
		return
	}
	s.sent = true
	if s.count == s.depth() {
		s.overrun = true
		return
	}
	s.push(v)
}

// lineStatus reads LSR, which clears its error bit.
//
// Preconditions: s.mu is held.
func (s *Serial) lineStatus() (v byte) {
	if s.count > 0 {
		v |= lsrData
	}
	if s.overrun {
		v |= lsrOverrun
		s.overrun = false
	}
	if s.mcr&mcrLoop != 0 || !s.sink.full() {
		v |= lsrEmpty
	}
	return v
}
