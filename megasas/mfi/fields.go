package mfi

// Fields describes a frame to build, as a driver does: which fields count
// depends on Cmd. It is the other end of Frame, for programs and tests that
// drive a controller.
type Fields struct {
	Cmd      Cmd
	SenseLen uint8
	Target   uint8
	LUN      uint8 // AccessByte in LD_READ and LD_WRITE
	Context  uint32
	Flags    Flags
	DataLen  uint32 // Blocks in LD_READ and LD_WRITE

	SenseAddr uint64 // LD_READ, LD_WRITE, pass-through
	LBA       uint64 // LD_READ, LD_WRITE
	CDB       []byte // pass-through, at most 16 bytes
	Opcode    Opcode // DCMD
	Mailbox   Mailbox
	QueueInfo uint64 // INIT: address of a QueueInfo

	FIS [20]byte // STP, whose SGL has two elements: the answer, and data

	AbortContext uint32 // ABORT
	AbortAddr    uint64

	SGL []SGE // in the format that Flags tells
}

// Marshal returns the frame with its status pending, as a driver posts it. It
// is at least 64 bytes long, which is what a driver reserves.
func (x Fields) Marshal() Frame {
	r := make(record, 64, MaxFrameLen)
	r.u8(offCmd, uint8(x.Cmd))
	r.u8(offSenseLen, x.SenseLen)
	r.u8(offStatus, uint8(StatusPending))
	r.u8(offTarget, x.Target)
	r.u8(offLUN, x.LUN)
	r.u8(offSGECount, uint8(len(x.SGL)))
	r.u32(offContext, x.Context)
	r.u16(offFlags, uint16(x.Flags))
	r.u32(offDataLen, x.DataLen)
	switch x.Cmd {
	case CmdInit:
		r.u32(offDataLen, QueueInfoLen)
		r.u64(0x18, x.QueueInfo)
	case CmdLDRead, CmdLDWrite:
		r.u64(0x18, x.SenseAddr)
		r.u64(0x20, x.LBA)
	case CmdLDSCSIIO, CmdPDSCSIIO:
		r.u8(offCDBLen, uint8(len(x.CDB)))
		r.u64(0x18, x.SenseAddr)
		r.bytes(0x20, cdbLen, x.CDB)
	case CmdDCMD:
		r.u32(0x18, uint32(x.Opcode))
		r.bytes(0x1c, mailboxLen, x.Mailbox[:])
	case CmdSTP:
		r.bytes(0x18, 20, x.FIS[:])
	case CmdAbort:
		r.u32(0x18, x.AbortContext)
		r.u64(0x20, x.AbortAddr)
	}
	f := Frame(r)
	if n := f.Len(); n > len(r) {
		r = r[:n]
	}
	sgl := f.Len() - f.Elements()*f.SGLKind().size()
	for i, e := range x.SGL[:min(len(x.SGL), f.Elements())] {
		off := sgl + i*f.SGLKind().size()
		switch f.SGLKind() {
		case SGE32:
			r.u32(off, uint32(e.Addr))
			r.u32(off+4, e.Len)
		default:
			r.u64(off, e.Addr)
			r.u32(off+8, e.Len)
		}
	}
	return Frame(r)
}
