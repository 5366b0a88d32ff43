package payload

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"testing"
)

func parse(t *testing.T, p *Program) (*elf.File, []byte, []byte) {
	t.Helper()
	f, err := elf.NewFile(p.Kernel())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Progs) != 2 {
		t.Fatalf("%d segments, want 2", len(f.Progs))
	}
	segment := func(i int) []byte {
		data, err := io.ReadAll(f.Progs[i].Open())
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return f, segment(0), segment(1)
}

func TestKernelIsAnELFExecutable(t *testing.T) {
	p := New()
	p.Halt()
	f, code, _ := parse(t, p)
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 || f.Entry != Base {
		t.Errorf("%v for %v, entry %#x", f.Type, f.Machine, f.Entry)
	}
	for i, want := range []uint64{Base, dataBase} {
		if s := f.Progs[i]; s.Type != elf.PT_LOAD || s.Paddr != want || s.Memsz < s.Filesz {
			t.Errorf("segment %d: %+v", i, s.ProgHeader)
		}
	}
	if want := []byte{0xfa, 0xf4, 0xe9, 0xf9, 0xff, 0xff, 0xff}; !bytes.Equal(code, want) {
		t.Errorf("code % x, want % x", code, want)
	}
}

func TestJumpsReachTheirLabels(t *testing.T) {
	p := New()
	p.Label("start")
	p.Jump("end")
	p.Raw(0x90, 0x90)
	p.Jump("start")
	p.Label("end")
	_, code, _ := parse(t, p)
	if d := int32(binary.LittleEndian.Uint32(code[1:])); d != 7 {
		t.Errorf("jump forward by %d, want 7", d)
	}
	if d := int32(binary.LittleEndian.Uint32(code[8:])); d != -12 {
		t.Errorf("jump back by %d, want -12", d)
	}
}

func TestConditionsSkipTheirBody(t *testing.T) {
	for name, step := range map[string]func(p *Program, body func()){
		"If32":         func(p *Program, body func()) { p.If32(0xff, 1, body) },
		"Until32":      func(p *Program, body func()) { p.Until32(Base, 0xff, 1, body) },
		"UntilEqual32": func(p *Program, body func()) { p.UntilEqual32(Base, Base, body) },
	} {
		p := New()
		body := 0 // where it begins, behind the jump over it
		step(p, func() { body = p.code.Len(); p.Raw(0x90, 0x90, 0x90) })
		_, code, _ := parse(t, p)
		if skip := int32(binary.LittleEndian.Uint32(code[body-4:])); body+int(skip) != len(code) {
			t.Errorf("%s: the jump leads to %d of %d bytes", name, body+int(skip), len(code))
		}
	}
}

func TestDataIsInPlace(t *testing.T) {
	p := New()
	word := p.Word()
	text := p.Data([]byte("text"), 64)
	p.Halt()
	if word != dataBase || text != dataBase+64 {
		t.Errorf("data at %#x and %#x", word, text)
	}
	_, _, data := parse(t, p)
	if want := append(make([]byte, 64), "text"...); !bytes.Equal(data, want) {
		t.Errorf("data % x", data)
	}
}

func TestInterruptGatesPointAtHandlers(t *testing.T) {
	const vector = 0x40
	p := New()
	p.OnInterrupt(vector, func() { p.Raw(0x90) })
	p.EnableInterrupts()
	p.Halt()
	_, code, data := parse(t, p)
	gate := data[p.idtAddr-dataBase+vector*gateSize:]
	low := binary.LittleEndian.Uint64(gate)
	addr := low&0xffff | low>>48<<16
	if low>>16&0xffff != codeSelector || low>>32&0xffff != interruptGate {
		t.Errorf("gate %#x", low)
	}
	want := []byte{
		0x50, 0x53, 0x52,
		0x48, 0x8b, 0x44, 0x24, 24, 0x80, 0x38, 0xf4, 0x75, 5, 0x48, 0xff, 0x44, 0x24, 24, // not back to a hlt
		0x90,
	}
	if body := code[addr-Base:]; !bytes.HasPrefix(body, want) {
		t.Errorf("the handler at %#x begins with % x, want % x", addr, body[:len(want)], want)
	}
}

func TestMistakesAreFoundEarly(t *testing.T) {
	for name, mistake := range map[string]func(p *Program){
		"unknown label":   func(p *Program) { p.Jump("nowhere"); p.Kernel() },
		"label twice":     func(p *Program) { p.Label("a"); p.Label("a") },
		"too much data":   func(p *Program) { p.Reserve(End-dataBase+1, 1) },
		"too many steps":  func(p *Program) { p.Raw(make([]byte, dataBase-Base+1)...); p.Kernel() },
		"data overflows":  func(p *Program) { p.Word(); p.Reserve(End-dataBase, 1) },
		"handler without": func(p *Program) { p.handlers[33] = "gone"; p.EnableInterrupts(); p.Kernel() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no complaint", name)
				}
			}()
			mistake(New())
		}()
	}
}

// The note of a PVH kernel names a place in the segment behind the program's.
func TestPVHKernel(t *testing.T) {
	p := New()
	p.Halt()
	f, err := elf.NewFile(p.PVHKernel())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Progs) != 4 || f.Progs[3].Type != elf.PT_NOTE {
		t.Fatalf("%d segments, want code, data, start and a note", len(f.Progs))
	}
	note, err := io.ReadAll(f.Progs[3].Open())
	if err != nil {
		t.Fatal(err)
	}
	entry := uint64(binary.LittleEndian.Uint32(note[16:]))
	start := f.Progs[2]
	if entry < start.Paddr || entry >= start.Paddr+start.Memsz || start.Paddr+start.Memsz != PVHEnd {
		t.Errorf("entry %#x, segment %+v", entry, start.ProgHeader)
	}
}
