package chipset

import (
	"context"
	"io"
)

// DebugPort is a byte-wide output port for messages of firmware: a Handler for
// port 0x402 or 0xE9. It reads as 0xE9, which tells firmware that it is there.
type DebugPort struct {
	byteRegisters
	sink *sink
}

const debugPortPresent = 0xE9

// NewDebugPort returns a port whose writes go to out, in order and without
// making the guest wait.
func NewDebugPort(out io.Writer) *DebugPort {
	d := &DebugPort{sink: newSink(out, nil)}
	d.read = func(uint64) byte { return debugPortPresent }
	d.write = func(_ uint64, v byte) { d.sink.put(v) }
	return d
}

// Flush waits until everything written has reached the output, or until ctx is
// done. It reports the output's first error.
func (d *DebugPort) Flush(ctx context.Context) error { return d.sink.flush(ctx) }

// Close discards what the guest writes from now on, and flushes.
func (d *DebugPort) Close(ctx context.Context) error { return d.sink.close(ctx) }
