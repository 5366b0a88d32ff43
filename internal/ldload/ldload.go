// Package ldload is a guest program that loads a MegaRAID SAS 2108 with reads and
// writes of its first volume, for measurements: no firmware, no operating system, the same
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

// MaxSize is the largest Size of a Case.
const MaxSize = 64 << 10

// DefaultSize is the Size of a Case that does not say.
const DefaultSize = 4096

// Wait is how the processor learns of replies.
type Wait uint8

const (
	// Halt takes what is in the ring, and sleeps until an interrupt when that is
	// nothing. Interrupts are let in only then.
	Halt Wait = iota
	// Poll looks at the ring over and over. The processor keeps interrupts out; the
	// controller's mask stays open, without which QEMU's does not move the index.
	Poll
	// Interrupt is Halt with interrupts let in at all times, as under an operating
	// system: each is handled as soon as it is there.
	Interrupt
)

// Target is where the address of a frame is stored.
type Target uint8

const (
	// Controller is the controller's queue port: commands are carried out.
	Controller Target = iota
	// Memory tells the controller nothing: what the guest's own instructions cost.
	Memory
	// Nowhere is a register of the controller's that does not exist: the store
	// leaves the guest as that into the queue port does, and that is all.
	Nowhere
)

// Case is a part of the program that is measured by itself.
type Case struct {
	Depth    int    // commands in flight, 1 to MaxDepth
	Commands uint32 // in all, at least Depth
	Size     int    // of a command in bytes: a multiple of 512 to MaxSize, 0 is DefaultSize
	Write    bool
	Wait     Wait
	Target   Target
	// Interrupts makes the processor interrupt itself for each command of a case
	// whose target is not the Controller, and handle that as it does the
	// controller's interrupts. Without, such a case has none.
	Interrupts bool
}

func (c Case) size() int {
	if c.Size == 0 {
		return DefaultSize
	}
	return c.Size
}

// check panics unless the program can do it.
func (c Case) check(span uint32) {
	blocks := uint32(c.size() / 512)
	if c.Depth < 1 || c.Depth > MaxDepth || c.Commands < uint32(c.Depth) || c.Interrupts && c.Target == Controller ||
		c.size() < 512 || c.size() > MaxSize || c.size()%512 != 0 || span < blocks || span&(span-1) != 0 {
		panic(fmt.Sprintf("ldload: case %+v on %d blocks", c, span))
	}
}

// Where things are in the guest: the ring and the buffers above the program, the
// registers where neither memory nor other devices are.
const (
	ringBase   = 0x200000
	Buffers    = 0x300000 // of MaxDepth commands, MaxSize apart
	scratch    = 0x700000 // has the place of the registers where these are not meant
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
	regNone   = 0x50
	regState  = 0xb0

	listen    = 0xfffffffa
	stateMask = 0xf0000000
)

// load is the program under construction.
type load struct {
	*payload.Program
	fn         uint64          // word: the controller's configuration address
	queue      uint64          // description of the ring
	indices    uint64          // producer, and 8 bytes behind it consumer
	frames     map[Case]uint64 // by what of a Case they depend on
	interrupts uint64          // word
	errors     uint64          // word
}

// Kernel returns the program as an ELF kernel with a PVH entry. It uses the first
// span blocks of 512 bytes of the volume: a power of two, and at least one command.
func Kernel(span uint32, cases []Case) *bytes.Reader {
	l := &load{Program: payload.New(), frames: make(map[Case]uint64)}
	l.fn, l.indices = l.Word(), l.Reserve(16, 16)
	l.interrupts, l.errors = l.Word(), l.Word()
	l.queue = l.Data(mfi.QueueInfo{Base: ringBase, Producer: l.indices, Consumer: l.indices + 8}.Marshal(), 64)
	l.begin()
	for i, c := range cases {
		c.check(span)
		l.measured(i, span, c)
	}
	l.PowerOff()
	return l.PVHKernel()
}

// framesOf are the MaxDepth frames of a case, each with its own buffer. Their
// contexts are their numbers.
func (l *load) framesOf(c Case) uint64 {
	kind := Case{Size: c.size(), Write: c.Write}
	if at, ok := l.frames[kind]; ok {
		return at
	}
	cmd, direction := mfi.CmdLDRead, mfi.FlagRead
	if c.Write {
		cmd, direction = mfi.CmdLDWrite, mfi.FlagWrite
	}
	all := make([]byte, MaxDepth*frameAlign)
	for i := range MaxDepth {
		x := mfi.Fields{
			Cmd: cmd, Context: uint32(i), DataLen: uint32(c.size() / 512),
			Flags: mfi.FlagIEEE | mfi.FlagSGL64 | direction,
			SGL:   []mfi.SGE{{Addr: Buffers + MaxSize*uint64(i), Len: uint32(c.size())}},
		}
		copy(all[i*frameAlign:], x.Marshal())
	}
	l.frames[kind] = l.Data(all, frameAlign)
	return l.frames[kind]
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
