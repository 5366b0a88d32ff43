package mfi

import "encoding/binary"

// Frame is an MFI frame as fetched from guest memory: a private copy, never a
// window. The accessors of the common header need HeaderLen bytes; the others
// need the length that Len reports, and belong to the commands that they name.
type Frame []byte

// Sizes of a frame's parts.
const (
	HeaderLen = 24 // the common header, which decides what follows

	initLen     = 0x38
	ioSGL       = 0x28
	passthruSGL = 0x30
	dcmdSGL     = 0x28
	smpSGL      = 0x20
	stpSGL      = 0x30
	abortLen    = 0x28

	cdbLen     = 16
	mailboxLen = 12

	// tunnelElements is the length of the list of SMP and STP: the answer, and the
	// request or the data.
	tunnelElements = 2

	// MaxFrameLen is the longest frame there can be: a pass-through frame with
	// 255 elements of 16 bytes.
	MaxFrameLen = passthruSGL + 255*ieeeLen
)

// Offsets of the common header, all commands.
const (
	offCmd        = 0x00
	offSenseLen   = 0x01
	offStatus     = 0x02
	offSCSIStatus = 0x03
	offTarget     = 0x04
	offLUN        = 0x05
	offCDBLen     = 0x06
	offSGECount   = 0x07
	offContext    = 0x08
	offContextHi  = 0x0c
	offFlags      = 0x10
	offTimeout    = 0x12
	offDataLen    = 0x14
)

func (f Frame) u32(off int) uint32 { return binary.LittleEndian.Uint32(f[off:]) }

// u64 joins a low word and the high word that follows it.
func (f Frame) u64(off int) uint64 { return binary.LittleEndian.Uint64(f[off:]) }

// Cmd is the command code (00).
func (f Frame) Cmd() Cmd { return Cmd(f[offCmd]) }

// SenseLen is the size in bytes of the guest's sense buffer (01).
func (f Frame) SenseLen() uint8 { return f[offSenseLen] }

// Target is the logical drive's target id, or the physical drive's device id
// (04).
func (f Frame) Target() uint8 { return f[offTarget] }

// LUN is the logical unit number of a pass-through frame (05).
func (f Frame) LUN() uint8 { return f[offLUN] }

// AccessByte is byte 1 of the CDB that an LD_READ or LD_WRITE stands for (05).
func (f Frame) AccessByte() uint8 { return f[offLUN] }

// Bits of AccessByte.
const (
	AccessFUA = 0x08 // force unit access
	AccessDPO = 0x10 // disable page out: a caching hint
)

// CDBLen is the length that the guest claims for the CDB (06), of any value.
func (f Frame) CDBLen() uint8 { return f[offCDBLen] }

// SGECount is the count of scatter-gather elements as the guest set it (07).
func (f Frame) SGECount() uint8 { return f[offSGECount] }

// ClearFlags takes flags away that the firmware does not know.
func (f Frame) ClearFlags(fl Flags) {
	binary.LittleEndian.PutUint16(f[offFlags:], binary.LittleEndian.Uint16(f[offFlags:])&^uint16(fl))
}

// Elements is the number of scatter-gather elements of a command that has a
// list, and 0 for the others, whatever their SGECount says.
func (f Frame) Elements() int {
	switch f.Cmd() {
	case CmdLDRead, CmdLDWrite, CmdLDSCSIIO, CmdPDSCSIIO, CmdDCMD:
		return int(f.SGECount())
	case CmdSMP, CmdSTP:
		return tunnelElements
	}
	return 0
}

// Context is returned in the reply queue (08).
func (f Frame) Context() uint32 { return f.u32(offContext) }

// ContextHigh is the high half of a 64-bit context (0c).
func (f Frame) ContextHigh() uint32 { return f.u32(offContextHi) }

// Flags is the flag halfword (10).
func (f Frame) Flags() Flags { return Flags(binary.LittleEndian.Uint16(f[offFlags:])) }

// Timeout is the time allowed in seconds; 0 leaves it to the firmware (12).
func (f Frame) Timeout() uint16 { return binary.LittleEndian.Uint16(f[offTimeout:]) }

// DataLen is the length of the data in bytes (14). In LD_READ and LD_WRITE the
// same word is Blocks.
func (f Frame) DataLen() uint32 { return f.u32(offDataLen) }

// Len reports how many bytes the frame has in all, list of scatter-gather
// elements included, from its header alone. The count that came with the
// frame's address plays no part: drivers clamp it, or always send 0.
//
// Preconditions: len(f) >= HeaderLen.
func (f Frame) Len() int {
	switch f.Cmd() {
	case CmdInit:
		return initLen
	case CmdLDRead, CmdLDWrite:
		return ioSGL + int(f.SGECount())*f.SGLKind().size()
	case CmdLDSCSIIO, CmdPDSCSIIO:
		return passthruSGL + int(f.SGECount())*f.SGLKind().size()
	case CmdDCMD:
		return dcmdSGL + int(f.SGECount())*f.SGLKind().size()
	case CmdAbort:
		return abortLen
	case CmdSMP:
		return smpSGL + tunnelElements*f.SGLKind().size()
	case CmdSTP:
		return stpSGL + tunnelElements*f.SGLKind().size()
	}
	return HeaderLen
}

// FIS is the register FIS of STP (18).
func (f Frame) FIS() [20]byte { return [20]byte(f[0x18:]) }

// TunnelElement is one of the two elements of SMP and STP: 0 for the answer, 1 for the
// request or the data.
func (f Frame) TunnelElement(i int) SGE {
	off := stpSGL
	if f.Cmd() == CmdSMP {
		off = smpSGL
	}
	return f.element(off + i*f.SGLKind().size())
}

// StatusWord is the first word of the frame as it goes back to the guest: the
// command as it was, the sense length, and the results. One aligned store of it
// completes a frame, so a polling driver never sees half a result.
func StatusWord(c Cmd, senseLen uint8, s Status, scsiStatus uint8) uint32 {
	return uint32(c) | uint32(senseLen)<<8 | uint32(s)<<16 | uint32(scsiStatus)<<24
}

// SCSIStatus is the SCSI status byte as the guest left it (03).
func (f Frame) SCSIStatus() uint8 { return f[offSCSIStatus] }

// SenseAddr is where sense data goes: commands LD_READ, LD_WRITE and the
// pass-through ones (18, 1c). Without FlagSense64 only the low word counts.
func (f Frame) SenseAddr() uint64 {
	if f.Flags().Has(FlagSense64) {
		return f.u64(0x18)
	}
	return uint64(f.u32(0x18))
}

// Blocks is the number of logical blocks of LD_READ and LD_WRITE (14).
func (f Frame) Blocks() uint32 { return f.u32(offDataLen) }

// LBA is the first logical block of LD_READ and LD_WRITE (20, 24).
func (f Frame) LBA() uint64 { return f.u64(0x20) }

// CDB is the command descriptor block of a pass-through frame (20), all 16
// bytes of it whatever CDBLen says.
func (f Frame) CDB() []byte { return f[0x20 : 0x20+cdbLen] }

// Opcode is the DCMD's opcode (18).
func (f Frame) Opcode() Opcode { return Opcode(f.u32(0x18)) }

// Mailbox is the DCMD's mailbox, 12 bytes of parameters (1c).
func (f Frame) Mailbox() Mailbox { return Mailbox(f[0x1c : 0x1c+mailboxLen]) }

// AbortContext is the context of the frame to abort (18).
func (f Frame) AbortContext() uint32 { return f.u32(0x18) }

// AbortAddr is the address of the frame to abort (20, 24).
func (f Frame) AbortAddr() uint64 { return f.u64(0x20) }

// QueueInfoAddr is where INIT's queue description lies (18, 1c).
func (f Frame) QueueInfoAddr() uint64 { return f.u64(0x18) }

// Mailbox is a DCMD's 12 bytes of parameters, read as bytes, halfwords or
// words.
type Mailbox [mailboxLen]byte

// S is halfword i of the mailbox, 0 to 5.
func (m Mailbox) S(i int) uint16 { return binary.LittleEndian.Uint16(m[2*i:]) }

// W is word i of the mailbox, 0 to 2.
func (m Mailbox) W(i int) uint32 { return binary.LittleEndian.Uint32(m[4*i:]) }

// QueueInfoLen is the size of INIT's queue description.
const QueueInfoLen = 32

// QueueWide is the flag of QueueInfo for contexts, and so reply entries, of 64
// bits.
const QueueWide = 0x2

// QueueInfo is INIT's description of the reply queue: a ring of contexts, and
// two indices into it in guest memory.
type QueueInfo struct {
	Flags    uint32 // QueueWide
	Entries  uint32 // length of the ring
	Base     uint64 // address of the ring
	Producer uint64 // address of the index that the controller advances
	Consumer uint64 // address of the index that the driver advances
}

// Marshal returns the description's 32 bytes.
func (q QueueInfo) Marshal() []byte {
	b := make(record, QueueInfoLen)
	b.u32(0x00, q.Flags)
	b.u32(0x04, q.Entries)
	b.u64(0x08, q.Base)
	b.u64(0x10, q.Producer)
	b.u64(0x18, q.Consumer)
	return b
}

// ParseQueueInfo decodes a queue description.
func ParseQueueInfo(p *[QueueInfoLen]byte) QueueInfo {
	f := Frame(p[:])
	return QueueInfo{
		Flags:    f.u32(0x00),
		Entries:  f.u32(0x04),
		Base:     f.u64(0x08),
		Producer: f.u64(0x10),
		Consumer: f.u64(0x18),
	}
}
