package payload

// Encodings are those of the Intel SDM, volume 2.

// memory loads RBX with an address for the instruction that follows.
func (p *Program) memory(addr uint64) {
	p.Raw(0x48, 0xbb) // mov rbx, imm64
	p.imm64(addr)
}

// port loads DX with a port number for the instruction that follows.
func (p *Program) port(n uint16) {
	p.Raw(0x66, 0xba) // mov dx, imm16
	p.imm16(n)
}

// Store8 writes a byte to memory or a device's registers.
func (p *Program) Store8(addr uint64, v uint8) {
	p.memory(addr)
	p.Raw(0xc6, 0x03, v) // mov byte [rbx], imm8
}

// Store16 writes 16 bits.
func (p *Program) Store16(addr uint64, v uint16) {
	p.memory(addr)
	p.Raw(0x66, 0xc7, 0x03) // mov word [rbx], imm16
	p.imm16(v)
}

// Store32 writes 32 bits.
func (p *Program) Store32(addr uint64, v uint32) {
	p.memory(addr)
	p.Raw(0xc7, 0x03) // mov dword [rbx], imm32
	p.imm32(v)
}

// Store64 writes 64 bits with one access.
func (p *Program) Store64(addr uint64, v uint64) {
	p.Set(v)
	p.memory(addr)
	p.Raw(0x48, 0x89, 0x03) // mov [rbx], rax
}

// Set gives the accumulator a value.
func (p *Program) Set(v uint64) {
	p.Raw(0x48, 0xb8) // mov rax, imm64
	p.imm64(v)
}

// Add adds to the low 32 bits of the accumulator.
func (p *Program) Add(v uint32) {
	p.Raw(0x05) // add eax, imm32
	p.imm32(v)
}

// Load8 reads a byte into the accumulator.
func (p *Program) Load8(addr uint64) {
	p.memory(addr)
	p.Raw(0x0f, 0xb6, 0x03) // movzx eax, byte [rbx]
}

// Load32 reads 32 bits into the accumulator.
func (p *Program) Load32(addr uint64) {
	p.memory(addr)
	p.Raw(0x8b, 0x03) // mov eax, [rbx]
}

// AddWord32 adds the word at addr to the low 32 bits of the accumulator.
func (p *Program) AddWord32(addr uint64) {
	p.memory(addr)
	p.Raw(0x03, 0x03) // add eax, [rbx]
}

// AddAddress adds a place in memory to the accumulator.
func (p *Program) AddAddress(addr uint64) {
	p.memory(addr)
	p.Raw(0x48, 0x01, 0xd8) // add rax, rbx
}

// And clears the bits of the accumulator that are not in mask.
func (p *Program) And(mask uint32) {
	p.Raw(0x25) // and eax, imm32
	p.imm32(mask)
}

// LoadIndexed32 reads word number n of the array at base into the accumulator, n
// being the accumulator.
func (p *Program) LoadIndexed32(base uint64) {
	p.memory(base)
	p.Raw(0x8b, 0x04, 0x83) // mov eax, [rbx+4*rax]
}

// Load64 reads 64 bits into the accumulator, with one access.
func (p *Program) Load64(addr uint64) {
	p.memory(addr)
	p.Raw(0x48, 0x8b, 0x03) // mov rax, [rbx]
}

// Save32 writes the low 32 bits of the accumulator.
func (p *Program) Save32(addr uint64) {
	p.memory(addr)
	p.Raw(0x89, 0x03) // mov [rbx], eax
}

// Save64 writes the accumulator, with one access.
func (p *Program) Save64(addr uint64) {
	p.memory(addr)
	p.Raw(0x48, 0x89, 0x03) // mov [rbx], rax
}

// Increment32 adds 1 to the word at addr, atomically.
func (p *Program) Increment32(addr uint64) {
	p.memory(addr)
	p.Raw(0xf0, 0xff, 0x03) // lock inc dword [rbx]
}

// IncrementIndexed32 adds 1 to word number n of the array at base, atomically, n
// being the accumulator.
func (p *Program) IncrementIndexed32(base uint64) {
	p.memory(base)
	p.Raw(0xf0, 0xff, 0x04, 0x83) // lock inc dword [rbx+4*rax]
}

// Out8 writes a byte to a port.
func (p *Program) Out8(port uint16, v uint8) {
	p.port(port)
	p.Raw(0xb0, v, 0xee) // mov al, imm8; out dx, al
}

// Out16 writes 16 bits to a port.
func (p *Program) Out16(port, v uint16) {
	p.port(port)
	p.Raw(0x66, 0xb8) // mov ax, imm16
	p.imm16(v)
	p.Raw(0x66, 0xef) // out dx, ax
}

// Out32 writes 32 bits to a port.
func (p *Program) Out32(port uint16, v uint32) {
	p.port(port)
	p.Raw(0xb8) // mov eax, imm32
	p.imm32(v)
	p.Raw(0xef) // out dx, eax
}

// Put8 writes the lowest byte of the accumulator to a port.
func (p *Program) Put8(port uint16) {
	p.port(port)
	p.Raw(0xee) // out dx, al
}

// Put32 writes the low 32 bits of the accumulator to a port.
func (p *Program) Put32(port uint16) {
	p.port(port)
	p.Raw(0xef) // out dx, eax
}

// OutString writes the bytes of s to a port with a string instruction.
func (p *Program) OutString(port uint16, s string) {
	addr := p.Data([]byte(s), 1)
	p.Raw(0x51, 0x56) // push rcx; push rsi
	p.port(port)
	p.Raw(0x48, 0xbe) // mov rsi, imm64
	p.imm64(addr)
	p.Raw(0xb9) // mov ecx, imm32
	p.imm32(uint32(len(s)))
	p.Raw(0xfc, 0xf3, 0x6e) // cld; rep outsb
	p.Raw(0x5e, 0x59)       // pop rsi; pop rcx
}

// In8 reads a byte from a port into the accumulator.
func (p *Program) In8(port uint16) {
	p.port(port)
	p.Raw(0x31, 0xc0, 0xec) // xor eax, eax; in al, dx
}

// In16 reads 16 bits from a port into the accumulator.
func (p *Program) In16(port uint16) {
	p.port(port)
	p.Raw(0x31, 0xc0, 0x66, 0xed) // xor eax, eax; in ax, dx
}

// In32 reads 32 bits from a port into the accumulator.
func (p *Program) In32(port uint16) {
	p.port(port)
	p.Raw(0xed) // in eax, dx
}

// Copy copies n bytes of memory.
func (p *Program) Copy(dst, src uint64, n uint32) {
	p.Raw(0x51, 0x56, 0x57) // push rcx; push rsi; push rdi
	p.Raw(0x48, 0xbf)       // mov rdi, imm64
	p.imm64(dst)
	p.Raw(0x48, 0xbe) // mov rsi, imm64
	p.imm64(src)
	p.Raw(0xb9) // mov ecx, imm32
	p.imm32(n)
	p.Raw(0xfc, 0xf3, 0xa4) // cld; rep movsb
	p.Raw(0x5f, 0x5e, 0x59) // pop rdi; pop rsi; pop rcx
}
