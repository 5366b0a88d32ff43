package chipset

import "io"

// ResetControl is the reset control register: a Handler for port 0xCF9.
type ResetControl struct{}

// NewResetControl returns a register that calls reset when the guest asks for
// a reset.
func NewResetControl(reset func()) *ResetControl { return &ResetControl{} }

// Read implements Handler.
func (r *ResetControl) Read(off uint64, p []byte) {}

// Write implements Handler.
func (r *ResetControl) Write(off uint64, p []byte) {}

// Reset is the machine's reset.
func (r *ResetControl) Reset() {}

// Port92 is system control port A: a Handler for port 0x92.
type Port92 struct{}

// NewPort92 returns a port that calls reset when the guest sets its INIT bit.
func NewPort92(reset func()) *Port92 { return &Port92{} }

// Read implements Handler.
func (r *Port92) Read(off uint64, p []byte) {}

// Write implements Handler.
func (r *Port92) Write(off uint64, p []byte) {}

// Reset is the machine's reset.
func (r *Port92) Reset() {}

// DebugPort is a byte-wide output port for firmware messages: a Handler for
// port 0x402 or 0xE9.
type DebugPort struct{}

// NewDebugPort returns a port whose writes go to out.
func NewDebugPort(out io.Writer) *DebugPort { return &DebugPort{} }

// Read implements Handler.
func (d *DebugPort) Read(off uint64, p []byte) {}

// Write implements Handler.
func (d *DebugPort) Write(off uint64, p []byte) {}

// Flush waits until everything written has reached the output.
func (d *DebugPort) Flush() error { return nil }

// Close flushes the output.
func (d *DebugPort) Close() error { return nil }

// Reset is the machine's reset.
func (d *DebugPort) Reset() {}
