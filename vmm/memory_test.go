package vmm

import (
	"testing"

	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/vmm/memory"
)

// A guest and a device reach all RAM of a large machine, of which the host gives
// only what is touched, in a file too.
func TestLargeMemory(t *testing.T) {
	for name, o := range map[string]memory.Options{"private": {}, "shared": {Shared: true}} {
		t.Run(name, func(t *testing.T) { largeMemory(t, o) })
	}
}

func largeMemory(t *testing.T, o memory.Options) {
	const (
		gib       = 1 << 30
		size      = 201 * gib
		end       = size + 1*gib // the hole below 4 GiB is as large
		pointers  = 0xa000       // the table of the third level that the loader made
		presentRW = 3
		large     = 1 << 7
		largePage = 2 * mib
	)
	marks := map[uint64]uint32{200 * gib: 0x11223344, end - largePage: 0x55667788, end - 4: 0x99aabbcc}
	p := payload.New()
	for _, base := range []uint64{200 * gib, end - largePage} {
		directory := p.Reserve(4096, 4096)
		p.Store64(pointers+base/gib*8, directory|presentRW)
		p.Store64(directory+base%gib/largePage*8, base|presentRW|large)
	}
	copies := make(map[uint64]uint64)
	for addr, v := range marks {
		copies[addr] = p.Word()
		p.Store32(addr, v)
	}
	for addr := range marks {
		p.Load32(addr)
		p.Save32(copies[addr])
	}
	p.PowerOff()
	m := newMachine(t, p, Config{Memory: size, RAM: o})
	device := []byte{1, 2, 3, 4}
	if err := m.DMA().WriteAt(device, 201*gib); err != nil {
		t.Error(err)
	}
	if err := m.DMA().WriteAt(device, end-2); err == nil {
		t.Error("a device wrote behind the end of RAM")
	}
	runTo(t, m, PowerOff)
	for addr, want := range marks {
		if v := result(t, m, addr); v != want {
			t.Errorf("at %#x is %#x, want %#x", addr, v, want)
		}
		if v := result(t, m, copies[addr]); v != want {
			t.Errorf("the guest read %#x at %#x, want %#x", v, addr, want)
		}
	}
}
