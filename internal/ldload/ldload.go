// Package ldload is a guest program that loads a MegaRAID SAS 2108 with reads of
// its first volume, for measurements: no firmware, no operating system, the same
// few instructions per command under any hypervisor.
//
// The program looks for the controller on PCI bus 0, puts its registers at a place
// of its own, sends INIT with a ring as long as the controller says, and takes
// message-signalled interrupts, which it answers as Linux's driver does. Its
// counterpart is on COM1:
//
//	guest: ready N          case N is next
//	host:  any byte
//	guest: done N IIIIIIII  it is over, after so many interrupts (hexadecimal)
//
// or "failed N" in place of the last if a command was not completed with status
// OK, or "no controller". At the end it switches the machine off.
//
// The MFI interface is that of the controller's Linux driver; see package
// megasas/mfi. The guest needs 8 MiB of memory.
package ldload

import (
	"bytes"
	"fmt"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas/mfi"
)

// MaxDepth is the largest depth of a Case.
const MaxDepth = 64

// ReadSize is the length of a read in bytes.
const ReadSize = 4096

// Case is a part of the program that is measured by itself.
type Case struct {
	Depth    int    // commands in flight, 1 to MaxDepth
	Commands uint32 // in all, at least Depth
	// Dry lets the processor do all that it does for a command, but tells the
	// controller nothing: what the guest's own instructions cost.
	Dry bool
	// Interrupts makes the processor interrupt itself for each command of a dry
	// case, and handle that as it does the controller's interrupts. Without, a dry
	// case has none.
	Interrupts bool
}

// Where things are in the guest: the ring and the buffers above the program, the
// registers where neither memory nor other devices are.
const (
	ringBase   = 0x200000
	Buffers    = 0x300000 // of MaxDepth reads
	scratch    = 0x3f0000 // has the place of the registers in a dry case
	regsBase   = 0xc1000000
	queueBase  = 0xc2000000
	portBase   = 0xd000
	frameAlign = 256
)

// Registers of the controller (package megasas).
const (
	regStatus = 0x30
	regMask   = 0x34
	regPost   = 0x40
	regClear  = 0xa0
	regState  = 0xb0

	listen    = 0xfffffffa
	stateMask = 0xf0000000
)

// load is the program under construction.
type load struct {
	*payload.Program
	fn         uint64 // word: the controller's configuration address
	queue      uint64 // description of the ring
	indices    uint64 // producer, and 8 bytes behind it consumer
	frames     uint64
	interrupts uint64 // word
	errors     uint64 // word
}

// Kernel returns the program as an ELF kernel with a PVH entry. It reads the first
// span blocks of 512 bytes of the volume, a power of two and at least 8.
func Kernel(span uint32, cases []Case) *bytes.Reader {
	if span < ReadSize/512 || span&(span-1) != 0 {
		panic(fmt.Sprintf("ldload: a span of %d blocks", span))
	}
	l := &load{Program: payload.New()}
	l.fn, l.indices = l.Word(), l.Reserve(16, 16)
	l.interrupts, l.errors = l.Word(), l.Word()
	l.queue = l.Data(mfi.QueueInfo{Base: ringBase, Producer: l.indices, Consumer: l.indices + 8}.Marshal(), 64)
	l.frames = l.reads()
	l.begin()
	for i, c := range cases {
		if c.Depth < 1 || c.Depth > MaxDepth || c.Commands < uint32(c.Depth) || c.Interrupts && !c.Dry {
			panic(fmt.Sprintf("ldload: case %+v", c))
		}
		l.measured(i, span, c)
	}
	l.PowerOff()
	return l.PVHKernel()
}

// reads are the frames of MaxDepth reads, each with its own buffer. Their contexts
// are their numbers.
func (l *load) reads() uint64 {
	all := make([]byte, MaxDepth*frameAlign)
	for i := range MaxDepth {
		x := mfi.Fields{
			Cmd: mfi.CmdLDRead, Context: uint32(i), DataLen: ReadSize / 512,
			Flags: mfi.FlagIEEE | mfi.FlagSGL64 | mfi.FlagRead,
			SGL:   []mfi.SGE{{Addr: Buffers + ReadSize*uint64(i), Len: ReadSize}},
		}
		copy(all[i*frameAlign:], x.Marshal())
	}
	return l.Data(all, frameAlign)
}

// measured is one case, with its part of the conversation.
func (l *load) measured(number int, span uint32, c Case) {
	const (
		lineStatus = payload.COM1 + 5
		received   = 1 << 0
	)
	l.Store32(l.interrupts, 0)
	l.Store32(l.errors, 0)
	l.OutString(payload.COM1, fmt.Sprintf("ready %d\n", number))
	l.WaitPort8(lineStatus, received, received)
	l.In8(payload.COM1)
	l.run(number, span, c)
	failed := fmt.Sprintf("failed %d", number)
	l.Load32(l.errors)
	l.If32(0xffffffff, 0, func() {
		l.OutString(payload.COM1, fmt.Sprintf("done %d ", number))
		l.putHex(l.interrupts)
		l.Jump(failed)
	})
	l.OutString(payload.COM1, failed)
	l.Label(failed)
	l.Out8(payload.COM1, '\n')
}

// putHex writes a word to COM1, eight digits.
func (l *load) putHex(addr uint64) {
	digits := l.Data([]byte("0123456789abcdef"), 1)
	rest := l.Word()
	l.Load32(addr)
	l.Save32(rest)
	l.Repeat(8, func() {
		l.Load32(rest)
		l.Raw(0xc1, 0xc0, 0x04) // rol eax, 4
		l.Save32(rest)
		l.And(0xf)
		l.AddAddress(digits)
		l.Raw(0x8a, 0x00) // mov al, [rax]
		l.Put8(payload.COM1)
	})
}
