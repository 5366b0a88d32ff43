package ldload

import (
	"debug/elf"
	"testing"

	"github.com/govmm/govmm/internal/payload"
)

func TestKernelLeavesRoomForItsMemory(t *testing.T) {
	f, err := elf.NewFile(Kernel(8, []Case{{Depth: MaxDepth, Commands: MaxDepth}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if end := p.Paddr + p.Memsz; end > payload.PVHEnd || end > ringBase {
			t.Errorf("a segment ends at %#x", end)
		}
	}
	const ringMax = 4 * (entriesMask + 1)
	if ringBase+ringMax > Buffers || Buffers+MaxDepth*MaxSize > scratch {
		t.Error("ring, buffers and scratch memory overlap")
	}
}

func TestWrongCasesAreRefused(t *testing.T) {
	for name, f := range map[string]func(){
		"span no power of two": func() { Kernel(24, []Case{{Depth: 1, Commands: 1}}) },
		"span below a command": func() { Kernel(4, []Case{{Depth: 1, Commands: 1}}) },
		"no depth":             func() { Kernel(8, []Case{{Commands: 1}}) },
		"too deep":             func() { Kernel(8, []Case{{Depth: MaxDepth + 1, Commands: 1000}}) },
		"not dry":              func() { Kernel(8, []Case{{Depth: 1, Commands: 1, Interrupts: true}}) },
		"not deep":             func() { Kernel(8, []Case{{Depth: 2, Commands: 1}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no complaint", name)
				}
			}()
			f()
		}()
	}
}
