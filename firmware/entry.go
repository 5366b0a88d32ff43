package firmware

// Mode is the processor mode in which a kernel is entered.
type Mode uint8

const (
	// Long64 is 64-bit mode with the low 4 GiB identity-mapped.
	Long64 Mode = iota
	// Protected32 is 32-bit protected mode, flat, with paging off.
	Protected32
)

// String names the mode.
func (m Mode) String() string {
	if m == Protected32 {
		return "32-bit protected mode"
	}
	return "64-bit mode"
}

// Format is the kind of kernel that was recognised.
type Format string

// The kinds of kernel that Load can start.
const (
	BzImage  Format = "bzImage"
	Unpacked Format = "bzImage, unpacked"
	PVH      Format = "ELF with PVH note"
	ELF64    Format = "ELF64"
)

// Segment is the visible selector and the hidden descriptor of a segment
// register, field by field as an Intel SDM descriptor (volume 3, 3.4.5) has
// them.
type Segment struct {
	Selector uint16
	Base     uint64
	Limit    uint32 // in bytes, the granularity already applied
	Type     uint8  // 4 bits
	DPL      uint8
	Present  bool
	S        bool // code or data, not system
	Long     bool // L: 64-bit code
	Default  bool // D/B: 32-bit
	Granular bool // G: the descriptor counts pages
}

// DescriptorTable is the contents of GDTR or IDTR.
type DescriptorTable struct {
	Base  uint64
	Limit uint16
}

// Entry is how the boot processor enters a loaded kernel. Registers that are
// not here are zero; other processors wait for their start-up message.
type Entry struct {
	Mode   Mode
	Format Format
	// Version is what a bzImage calls itself, "" if it does not say.
	Version string

	RIP, RSP, RBX, RSI, RFLAGS uint64
	CR0, CR3, CR4, EFER        uint64

	GDT, IDT DescriptorTable
	Code     Segment // CS
	Data     Segment // DS, ES, FS, GS and SS
	Task     Segment // TR; LDTR is null

	// Where things were put, for logs: Kernel includes the memory that the
	// kernel needs before it knows its memory map. Initrd is empty without one.
	Kernel, Initrd, Cmdline Range
	// Declined is why LoadConfig.Unpacked was not used, or nil.
	Declined error
}
