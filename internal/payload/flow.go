package payload

// Wait32 reads the word at addr over and over until the bits in mask have the
// value want. A test needs a deadline of its own.
func (p *Program) Wait32(addr uint64, mask, want uint32) {
	again := p.newLabel()
	p.memory(addr)
	p.Label(again)
	p.Raw(0xf3, 0x90) // pause
	p.Raw(0x8b, 0x03) // mov eax, [rbx]
	p.compare32(mask, want)
	p.Raw(0x0f, 0x85) // jnz
	p.relative(again)
}

// WaitOther32 reads the word at addr over and over until the bits in mask no longer
// have the value old.
func (p *Program) WaitOther32(addr uint64, mask, old uint32) {
	again := p.newLabel()
	p.memory(addr)
	p.Label(again)
	p.Raw(0xf3, 0x90) // pause
	p.Raw(0x8b, 0x03) // mov eax, [rbx]
	p.compare32(mask, old)
	p.Raw(0x0f, 0x84) // jz
	p.relative(again)
}

// WaitPort8 reads a port over and over until the bits in mask have the value
// want.
func (p *Program) WaitPort8(port uint16, mask, want uint8) {
	again := p.newLabel()
	p.port(port)
	p.Label(again)
	p.Raw(0xec)            // in al, dx
	p.Raw(0x24, mask)      // and al, imm8
	p.Raw(0x3c, want&mask) // cmp al, imm8
	p.Raw(0x0f, 0x85)      // jnz
	p.relative(again)
}

// WaitPort32 is WaitPort8 for 32 bits.
func (p *Program) WaitPort32(port uint16, mask, want uint32) {
	again := p.newLabel()
	p.port(port)
	p.Label(again)
	p.Raw(0xed) // in eax, dx
	p.compare32(mask, want)
	p.Raw(0x0f, 0x85) // jnz
	p.relative(again)
}

// HaltUntil32 sleeps, with interrupts enabled, until the bits in mask of the word
// at addr have the value want; an interrupt handler has to change it.
func (p *Program) HaltUntil32(addr uint64, mask, want uint32) {
	again, done := p.newLabel(), p.newLabel()
	p.Label(again)
	p.Raw(0xfa) // cli: an interrupt now would be missed by hlt
	p.Load32(addr)
	p.compare32(mask, want)
	p.Raw(0x0f, 0x84) // jz
	p.relative(done)
	p.Raw(0xfb, 0xf4) // sti; hlt: interrupts are taken only in hlt
	p.Jump(again)
	p.Label(done)
}

// compare32 sets the zero flag if the bits in mask of EAX are want's.
func (p *Program) compare32(mask, want uint32) {
	p.Raw(0x25) // and eax, imm32
	p.imm32(mask)
	p.Raw(0x3d) // cmp eax, imm32
	p.imm32(want & mask)
}

// Jump goes on at a label.
func (p *Program) Jump(label string) {
	p.Raw(0xe9) // jmp
	p.relative(label)
}

// Condition is what a comparison found.
type Condition byte

// Conditions, as the second opcode byte of a jump.
const (
	Equal    Condition = 0x84
	NotEqual Condition = 0x85
)

// JumpIf goes on at a label if the comparison before it found c.
func (p *Program) JumpIf(c Condition, label string) {
	p.Raw(0x0f, byte(c))
	p.relative(label)
}

// If32 does the steps of body if the bits in mask of the accumulator have the
// value want. The accumulator reaches body as it was.
func (p *Program) If32(mask, want uint32, body func()) {
	done := p.newLabel()
	p.Raw(0x89, 0xc2) // mov edx, eax
	p.Raw(0x81, 0xe2) // and edx, imm32
	p.imm32(mask)
	p.Raw(0x81, 0xfa) // cmp edx, imm32
	p.imm32(want & mask)
	p.Raw(0x0f, 0x85) // jnz
	p.relative(done)
	body()
	p.Label(done)
}

// Until32 does the steps of body, perhaps never, until the bits in mask of the word
// at addr have the value want.
func (p *Program) Until32(addr uint64, mask, want uint32, body func()) {
	again, done := p.newLabel(), p.newLabel()
	p.Label(again)
	p.Load32(addr)
	p.compare32(mask, want)
	p.Raw(0x0f, 0x84) // jz
	p.relative(done)
	body()
	p.Jump(again)
	p.Label(done)
}

// UntilEqual32 does the steps of body, perhaps never, until the words at a and b are
// equal.
func (p *Program) UntilEqual32(a, b uint64, body func()) {
	again, done := p.newLabel(), p.newLabel()
	p.Label(again)
	p.Load32(a)
	p.memory(b)
	p.Raw(0x3b, 0x03) // cmp eax, [rbx]
	p.Raw(0x0f, 0x84) // jz
	p.relative(done)
	body()
	p.Jump(again)
	p.Label(done)
}

// Repeat does the steps of body n times. It may be nested.
func (p *Program) Repeat(n uint32, body func()) {
	again := p.newLabel()
	p.Raw(0x51) // push rcx
	p.Raw(0xb9) // mov ecx, imm32
	p.imm32(n)
	p.Label(again)
	body()
	p.Raw(0xff, 0xc9) // dec ecx
	p.Raw(0x0f, 0x85) // jnz
	p.relative(again)
	p.Raw(0x59) // pop rcx
}

// Halt stops the processor for good.
func (p *Program) Halt() {
	again := p.newLabel()
	p.Label(again)
	p.Raw(0xfa, 0xf4) // cli; hlt
	p.Jump(again)
}
