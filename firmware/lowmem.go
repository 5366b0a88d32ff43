package firmware

// Where Load puts what a kernel finds below 1 MiB. Linux reserves all of it
// for itself before it uses any, and reads what is here early.
const (
	bdaEBDASegment = 0x40E // BIOS data area: segment of the extended area
	bdaBaseMemory  = 0x413 // BIOS data area: KiB of RAM below it

	gdtAddr        = 0x500
	stackTop       = 0x6000 // grows down to 0x1000
	startInfoAddr  = 0x6000 // PVH start_info, module list and memory map
	zeroPageAddr   = 0x7000
	setupDataAddr  = 0x8000
	pageTablesAddr = 0x9000 // six pages
	cmdlineAddr    = 0x20000
	cmdlineRoom    = 0x10000
)

// writeBIOSData writes the two words of the BIOS data area that kernels
// consult to find the end of the RAM below 640 KiB.
func (g *guest) writeBIOSData() error {
	if err := g.write([]byte{byte(ebdaBase >> 4 & 0xFF), byte(ebdaBase >> 12)}, bdaEBDASegment); err != nil {
		return err
	}
	const kib = ebdaBase >> 10
	return g.write([]byte{kib & 0xFF, kib >> 8}, bdaBaseMemory)
}

// writeCmdline writes the command line and its terminating NUL.
func (g *guest) writeCmdline(s string) (Range, error) {
	p := make([]byte, len(s)+1)
	copy(p, s)
	return Range{cmdlineAddr, uint64(len(p))}, g.write(p, cmdlineAddr)
}
