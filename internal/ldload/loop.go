package ldload

import (
	"encoding/binary"
	"fmt"

	"github.com/govmm/govmm/internal/payload"
)

// run is the loop of a case. Between its beginning and its end these registers
// have a meaning:
//
//	RSI  frames          RDI  the controller's registers
//	RBP  ring            R12  the indices
//	R8   consumer index  R9   entries of the ring
//	R10  commands that are left to post
//	R11  commands that are left to complete
//	R13  next block      R14  mask of blocks
//	R15  commands that failed
//
// Encodings are those of the Intel SDM, volume 2.
func (l *load) run(number int, span uint32, c Case) {
	label := func(name string) string { return fmt.Sprintf("%s %d", name, number) }
	registers := uint64(regsBase)
	if c.Target == Memory {
		registers = scratch
	}
	l.Raw(0xfa) // cli
	if c.Target == Controller {
		// The last interrupt of an earlier case may have been taken in one that does
		// not look at the registers.
		l.Store32(regsBase+regClear, everything)
	}
	l.constant64(0x48, 0xbe, l.framesOf(c)) // mov rsi, imm64
	l.constant64(0x48, 0xbf, registers)
	l.constant64(0x48, 0xbd, ringBase)
	l.constant64(0x49, 0xbc, l.indices)
	l.constant32(0xba, c.Commands) // mov r10d, imm32
	l.constant32(0xbb, c.Commands)
	l.Raw(0x45, 0x31, 0xed) // xor r13d, r13d
	l.constant32(0xbe, span-1)
	l.Raw(0x45, 0x31, 0xff) // xor r15d, r15d
	l.Load32(l.queue + 4)
	l.Raw(0x41, 0x89, 0xc1)             // mov r9d, eax
	l.Raw(0x45, 0x8b, 0x44, 0x24, 0x08) // mov r8d, [r12+8]

	l.letIn(c)
	l.Raw(0x31, 0xc0) // xor eax, eax
	l.Label(label("fill"))
	l.post(c)
	l.Raw(0xff, 0xc0)                // inc eax
	l.Raw(0x83, 0xf8, byte(c.Depth)) // cmp eax, depth
	l.JumpIf(payload.NotEqual, label("fill"))
	if c.Target != Controller {
		l.Jump(label("take"))
	}

	l.Label(label("wait"))
	l.Raw(0xfa) // cli
	l.compareIndices()
	l.JumpIf(payload.NotEqual, label("awake"))
	if c.Wait != Poll {
		l.Raw(0xfb, 0xf4) // sti; hlt
	}
	l.Jump(label("wait"))

	l.Label(label("awake"))
	l.letIn(c)
	l.Label(label("take"))
	l.Raw(0x42, 0x8b, 0x44, 0x85, 0) // mov eax, [rbp+4*r8]
	l.Raw(0x41, 0xff, 0xc0)          // inc r8d
	l.Raw(0x45, 0x39, 0xc8)          // cmp r8d, r9d
	l.JumpIf(payload.NotEqual, label("in the ring"))
	l.Raw(0x45, 0x31, 0xc0) // xor r8d, r8d
	l.Label(label("in the ring"))
	l.Raw(0x45, 0x89, 0x44, 0x24, 0x08) // mov [r12+8], r8d
	l.frame()
	l.Raw(0x80, 0x7b, 0x02, 0) // cmp byte [rbx+2], 0
	l.JumpIf(payload.Equal, label("good"))
	l.Raw(0x41, 0xff, 0xc7) // inc r15d
	l.Label(label("good"))
	l.Raw(0x45, 0x85, 0xd2) // test r10d, r10d
	l.JumpIf(payload.Equal, label("posted"))
	l.post(c)
	l.Label(label("posted"))
	l.Raw(0x41, 0xff, 0xcb) // dec r11d
	l.JumpIf(payload.Equal, label("end"))
	l.compareIndices()
	switch {
	case c.Interrupts:
		l.interruptItself()
		l.Jump(label("take"))
	case c.Target != Controller:
		l.Jump(label("take"))
	default:
		l.JumpIf(payload.NotEqual, label("take"))
		l.Jump(label("wait"))
	}

	l.Label(label("end"))
	l.Raw(0xfa) // cli
	if c.Target != Controller {
		l.restoreConsumer()
		return // the frames were never answered
	}
	l.Raw(0x44, 0x89, 0xf8) // mov eax, r15d
	l.Save32(l.errors)
}

// letIn lets interrupts in where the case has them at all times.
func (l *load) letIn(c Case) {
	if c.Wait == Interrupt {
		l.Raw(0xfb) // sti
	}
}

// frame makes RBX the address of the frame with the context in EAX.
func (l *load) frame() {
	l.Raw(0x89, 0xc3)       // mov ebx, eax
	l.Raw(0xc1, 0xe3, 0x08) // shl ebx, 8: frameAlign
	l.Raw(0x48, 0x01, 0xf3) // add rbx, rsi
}

// post posts the frame with the context in EAX for the next blocks.
func (l *load) post(c Case) {
	l.frame()
	l.Raw(0xc6, 0x43, 0x02, 0xff)                                                              // mov byte [rbx+2], 0xff: pending
	l.Raw(0x44, 0x89, 0x6b, 0x20)                                                              // mov [rbx+0x20], r13d: LBA
	l.Raw(binary.LittleEndian.AppendUint32([]byte{0x41, 0x81, 0xc5}, uint32(c.size()/512))...) // add r13d, blocks
	l.Raw(0x45, 0x21, 0xf5)                                                                    // and r13d, r14d
	l.Raw(0x83, 0xcb, 0x01)                                                                    // or ebx, 1
	l.Raw(0x41, 0xff, 0xca)                                                                    // dec r10d
	register := byte(regPost)
	if c.Target == Nowhere {
		register = regNone
	}
	l.Raw(0x89, 0x5f, register) // mov [rdi+register], ebx
}

// compareIndices compares the producer index with the consumer index.
func (l *load) compareIndices() {
	l.Raw(0x41, 0x8b, 0x14, 0x24) // mov edx, [r12]
	l.Raw(0x44, 0x39, 0xc2)       // cmp edx, r8d
}

// interruptItself is an interrupt, and what the wait for it costs.
func (l *load) interruptItself() {
	const (
		lapicCommand = payload.LAPIC + 0x300
		self         = 1<<18 | 1<<14
	)
	l.Store32(lapicCommand, self|vector)
	l.Raw(0xfb, 0xf4) // sti; hlt
	l.Raw(0xfa)       // cli
	l.compareIndices()
}

// restoreConsumer undoes what a dry case does to the consumer index.
func (l *load) restoreConsumer() {
	l.Load32(l.indices)
	l.Save32(l.indices + 8)
}

// constant64 is a move of 64 bits into the register that the opcode names.
func (l *load) constant64(prefix, opcode byte, v uint64) {
	l.Raw(binary.LittleEndian.AppendUint64([]byte{prefix, opcode}, v)...)
}

// constant32 is a move of 32 bits into a register from R8 on.
func (l *load) constant32(opcode byte, v uint32) {
	l.Raw(binary.LittleEndian.AppendUint32([]byte{0x41, opcode}, v)...)
}
