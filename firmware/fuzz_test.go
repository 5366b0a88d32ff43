package firmware

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// guarded is guest memory that fails the test when it is written outside a
// machine's RAM, and keeps nothing.
type guarded struct {
	t *testing.T
	l Layout
}

func (g guarded) WriteAt(p []byte, addr uint64) error {
	if !containedInAny(g.l.RAM(), Range{addr, uint64(len(p))}) {
		g.t.Errorf("%d bytes written at %#x", len(p), addr)
	}
	return nil
}

// checkHostile loads a kernel that may be anything: it is refused in one line,
// or entered inside the RAM, with the initrd out of its way.
func checkHostile(t *testing.T, kernel []byte) {
	l, err := NewLayout(64*mib, 40)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Load(guarded{t, l}, LoadConfig{
		Layout: l, Kernel: bytes.NewReader(kernel), Initrd: bytes.NewReader(make([]byte, 8<<10)),
		Cmdline: "quiet", RSDP: TablesBase, Seed: make([]byte, 32),
	})
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\r") || len(err.Error()) > 300 {
			t.Errorf("not one line: %q", err)
		}
		return
	}
	if !e.Kernel.Contains(Range{e.RIP, 1}) {
		t.Errorf("entry %#x outside the kernel %v", e.RIP, e.Kernel)
	}
	if e.Kernel.Overlaps(e.Initrd) || !l.LowRAM().Contains(e.Kernel) || !l.LowRAM().Contains(e.Initrd) {
		t.Errorf("kernel %v, initrd %v", e.Kernel, e.Initrd)
	}
	for _, c := range e.Version {
		if c < ' ' || c > '~' {
			t.Errorf("unprintable version %q", e.Version)
		}
	}
}

func FuzzBzImage(f *testing.F) {
	small := newFakeBzImage()
	small.sects, small.code = 4, fill(2<<10, "code")
	f.Add(makeBzImage(small))
	for _, change := range []func(*fakeBzImage){
		func(f *fakeBzImage) { f.relocatable = 0 },
		func(f *fakeBzImage) { f.initSize = 1<<32 - 1 },
		func(f *fakeBzImage) { f.prefAddress = LowRAMMax - pageSize },
		func(f *fakeBzImage) { f.initrdAddrMax = 0 },
		func(f *fakeBzImage) { f.sects = 255 },
	} {
		k := small
		change(&k)
		f.Add(makeBzImage(k))
	}
	f.Fuzz(func(t *testing.T, kernel []byte) { checkHostile(t, kernel) })
}

func FuzzELF(f *testing.F) {
	small := func() fakeELF {
		k := newFakeELF()
		k.data[0], k.data[1] = fill(512, "text"), fill(64, "percpu")
		return k
	}
	f.Add(makeELF(small()))
	f.Add(makeELF(small().withNotes(4, note(4, "Xen", 18, u32(0x1000010)))))
	f.Add(makeELF(small().withNotes(8, note(8, "GNU", 3, u64(1)), note(8, "Xen", 18, u64(0x1000010)))))
	f.Fuzz(func(t *testing.T, kernel []byte) { checkHostile(t, kernel) })
}

// Example prints a machine's memory map.
func Example() {
	l, err := NewLayout(4<<30, 40)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range l.E820() {
		fmt.Println(e.Range, e.Type)
	}
	// Output:
	// 0x0-0x9fbff usable
	// 0x9fc00-0x9ffff reserved
	// 0xe0000-0xeffff reserved
	// 0xf0000-0xfffff reserved
	// 0x100000-0xbfffffff usable
	// 0xfeffc000-0xfeffffff reserved
	// 0x100000000-0x13fffffff usable
}
