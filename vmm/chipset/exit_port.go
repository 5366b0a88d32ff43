package chipset

// ExitPort takes a guest's wish to end, with a value for whoever runs it: a Handler
// for four ports, after QEMU's isa-debug-exit. It reads as zeroes.
type ExitPort struct{ exit func(value uint32) }

// ExitPortSize is the number of ports of an ExitPort.
const ExitPortSize = 4

// NewExitPort returns a port that calls exit with what the guest writes, as wide as
// it is.
func NewExitPort(exit func(value uint32)) *ExitPort { return &ExitPort{exit} }

func (e *ExitPort) Read(_ uint64, p []byte) { clear(p) }

func (e *ExitPort) Write(_ uint64, p []byte) {
	var v uint32
	for i, b := range p[:min(len(p), 4)] {
		v |= uint32(b) << (8 * i)
	}
	e.exit(v)
}
