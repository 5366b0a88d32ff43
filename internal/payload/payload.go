// Package payload writes tiny guest programs for tests: a few dozen instructions
// that drive a device of the machine as a driver would, without an assembler, a
// firmware or an operating system.
//
// A [Program] is a sequence of steps, each a method that appends the instructions
// for it: store this word to that address, wait until those bits are set, take
// interrupts until a counter has that value. [Program.Kernel] makes an ELF kernel
// of it, which a machine boots like any other. It runs in 64-bit mode, ring 0,
// with the low 4 GiB mapped onto themselves.
//
// The instructions are those that every KVM knows, also one that interprets
// guest code; there a step costs a few microseconds.
//
// RAX, RBX and RDX are overwritten by every step. RAX is the accumulator: the
// steps that read leave what they read in it. A Program is for one goroutine.
package payload

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Where a program lies in guest-physical memory. It must end below dataBase, and
// its data below End.
const (
	Base     = 0x100000 // also the entry
	dataBase = Base + 0x40000
	End      = Base + 0x80000
)

// Program is a guest program under construction.
type Program struct {
	code     bytes.Buffer
	labels   map[string]int // offset in code
	fixups   []fixup
	reserved uint64           // bytes of data that are given out
	handlers map[uint8]string // interrupt vector to label
	initial  []datum          // data that is not zero at the start
	unique   int              // number of labels of our own
	idtAddr  uint64           // interrupt descriptor table, 0 if there is none
}

// fixup is a place in the code that holds the distance from its end to a label.
type fixup struct {
	at    int
	label string
}

type datum struct {
	addr uint64
	data []byte
}

// New returns an empty program.
func New() *Program {
	return &Program{labels: make(map[string]int), handlers: make(map[uint8]string)}
}

// Raw appends instructions as they are.
func (p *Program) Raw(code ...byte) { p.code.Write(code) }

// Reserve sets aside n bytes of memory, zero at the start, and returns their
// address, a multiple of align (a power of two).
func (p *Program) Reserve(n, align uint64) uint64 {
	p.reserved = (p.reserved + align - 1) &^ (align - 1)
	addr := dataBase + p.reserved
	p.reserved += n
	if addr+n > End {
		panic(fmt.Sprintf("payload: no room for %#x bytes of data", n))
	}
	return addr
}

// Word sets aside an aligned 64-bit word, for instance for a result that the test
// reads from guest memory.
func (p *Program) Word() uint64 { return p.Reserve(8, 8) }

// Data sets aside memory that holds data at the start.
func (p *Program) Data(data []byte, align uint64) uint64 {
	addr := p.Reserve(uint64(len(data)), align)
	p.initial = append(p.initial, datum{addr, bytes.Clone(data)})
	return addr
}

// Label names the next instruction.
func (p *Program) Label(name string) {
	if _, dup := p.labels[name]; dup {
		panic("payload: label " + name + " twice")
	}
	p.labels[name] = p.code.Len()
}

// newLabel is a name that nobody else uses.
func (p *Program) newLabel() string {
	p.unique++
	return fmt.Sprintf(".%d", p.unique)
}

// relative appends the distance to a label, the last part of an instruction.
func (p *Program) relative(label string) {
	p.fixups = append(p.fixups, fixup{p.code.Len(), label})
	p.Raw(0, 0, 0, 0)
}

func (p *Program) imm16(v uint16) { p.code.Write(binary.LittleEndian.AppendUint16(nil, v)) }
func (p *Program) imm32(v uint32) { p.code.Write(binary.LittleEndian.AppendUint32(nil, v)) }
func (p *Program) imm64(v uint64) { p.code.Write(binary.LittleEndian.AppendUint64(nil, v)) }

// link returns the code with all labels resolved.
func (p *Program) link() []byte {
	code := bytes.Clone(p.code.Bytes())
	for _, f := range p.fixups {
		binary.LittleEndian.PutUint32(code[f.at:], uint32(p.offset(f.label)-(f.at+4)))
	}
	if len(code) > dataBase-Base {
		panic(fmt.Sprintf("payload: %d bytes of code", len(code)))
	}
	return code
}

func (p *Program) offset(label string) int {
	off, ok := p.labels[label]
	if !ok {
		panic("payload: no label " + label)
	}
	return off
}
