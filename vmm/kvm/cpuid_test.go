package kvm

import (
	"slices"
	"testing"
)

// hostLeaves is an AMD host that offers everything that must be hidden.
func hostLeaves() []CPUIDEntry {
	return []CPUIDEntry{
		{Function: 0, Eax: 0x1f, Ebx: vendorAMD, Ecx: 0x444d4163, Edx: 0x69746e65},
		{Function: 1, Eax: 0x00a20f10, Ebx: 0x05020807, Ecx: 1<<3 | 1<<5 | 1<<21, Edx: 1<<28 | 1},
		{Function: 4, Index: 0, Flags: CPUIDIndexed, Eax: 0xfc01c121},
		{Function: 4, Index: 3, Flags: CPUIDIndexed, Eax: 0xfc03c163},
		{Function: 4, Index: 4, Flags: CPUIDIndexed, Eax: 0},
		{Function: 6, Eax: 0x77, Ecx: 9},
		{Function: 7, Index: 0, Flags: CPUIDIndexed, Ebx: 1<<2 | 1, Ecx: 1<<30 | 2},
		{Function: 0xa, Eax: 0x07300404},
		{Function: 0xb, Index: 0, Flags: CPUIDIndexed, Eax: 1, Ebx: 2, Ecx: 0x100, Edx: 5},
		{Function: 0xd, Index: 0, Flags: CPUIDIndexed, Eax: 7, Ebx: 0x340, Edx: 1},
		{Function: 0x12, Index: 0, Flags: CPUIDIndexed, Eax: 1},
		{Function: 0x40000000, Eax: 0x40000001, Ebx: 0x4b4d564b},
		{Function: 0x40000001, Eax: 1<<24 | 9},
		{Function: 0x80000001, Ecx: 1<<2 | 1<<22},
		{Function: 0x80000008, Eax: 0x3030, Ecx: 0x6007},
		{Function: 0x8000000a, Eax: 1, Ebx: 8},
		{Function: 0x8000001d, Index: 3, Flags: CPUIDIndexed, Eax: 0x0001c163},
		{Function: 0x8000001e, Eax: 5, Ebx: 0x102, Ecx: 0x300},
		{Function: 0x8000001f, Eax: 3},
	}
}

func leaf(t *testing.T, list []CPUIDEntry, function, index uint32) CPUIDEntry {
	t.Helper()
	for _, e := range list {
		if e.Function == function && e.Index == index {
			return e
		}
	}
	t.Fatalf("no leaf %#x.%d", function, index)
	return CPUIDEntry{}
}

func TestGuestCPUIDTopology(t *testing.T) {
	for _, tt := range []struct {
		id, count  int
		shift      uint32
		share, htt uint32
	}{
		{0, 1, 0, 0, 0},
		{1, 2, 1, 1, 1},
		{2, 3, 2, 2, 1},
		{63, 64, 6, 63, 1},
	} {
		got := GuestCPUID(hostLeaves(), CPU{ID: tt.id, Topology: Topology{1, tt.count, 1}})
		id, count := uint32(tt.id), uint32(tt.count)

		f := leaf(t, got, 1, 0)
		if f.Ebx>>24 != id || f.Ebx>>16&0xff != count || f.Edx>>28&1 != tt.htt {
			t.Errorf("%d of %d: leaf 1 has EBX %#x, EDX %#x", id, count, f.Ebx, f.Edx)
		}
		for _, fn := range []uint32{0xb, 0x1f} {
			thread, core := leaf(t, got, fn, 0), leaf(t, got, fn, 1)
			if thread.Eax != 0 || thread.Ebx != 1 || thread.Ecx != 0x100 || thread.Edx != id {
				t.Errorf("%d of %d: threads %+v", id, count, thread)
			}
			if core.Eax != tt.shift || core.Ebx != count || core.Ecx != 0x201 || core.Edx != id {
				t.Errorf("%d of %d: cores %+v", id, count, core)
			}
			if id>>tt.shift != 0 {
				t.Errorf("%d of %d: outside the package", id, count)
			}
		}
		if l1, l3 := leaf(t, got, 4, 0), leaf(t, got, 4, 3); l1.Eax>>14&0xfff != 0 || l3.Eax>>14&0xfff != tt.share {
			t.Errorf("%d of %d: caches are shared by %#x and %#x", id, count, l1.Eax, l3.Eax)
		}
		if c := leaf(t, got, 0x80000008, 0); c.Ecx&0xff != count-1 || c.Ecx>>12&0xf != tt.shift || c.Eax != 0x3030 {
			t.Errorf("%d of %d: leaf 0x80000008 %+v", id, count, c)
		}
		if c := leaf(t, got, 0x8000001e, 0); c.Eax != id || c.Ebx != id || c.Ecx != 0 {
			t.Errorf("%d of %d: leaf 0x8000001e %+v", id, count, c)
		}
		if c := leaf(t, got, 0x80000001, 0); c.Ecx>>1&1 != tt.htt {
			t.Errorf("%d of %d: leaf 0x80000001 ECX %#x", id, count, c.Ecx)
		}
	}
}

func TestGuestCPUIDHidesWhatAGuestCannotUse(t *testing.T) {
	got := GuestCPUID(hostLeaves(), CPU{Topology: Topology{1, 1, 1}})
	if f := leaf(t, got, 1, 0); f.Ecx&(1<<3|1<<5) != 0 {
		t.Errorf("MONITOR or VMX: ECX %#x", f.Ecx)
	}
	if f := leaf(t, got, 0x80000001, 0); f.Ecx&(1<<2) != 0 || f.Ecx&(1<<22) == 0 {
		t.Errorf("SVM shown, or topology extensions hidden: ECX %#x", f.Ecx)
	}
	if f := leaf(t, got, 7, 0); f.Ebx != 1 || f.Ecx != 2 {
		t.Errorf("leaf 7 %+v", f)
	}
	for _, fn := range []uint32{0xa, 0x12, 0x8000000a, 0x8000001f} {
		if e := leaf(t, got, fn, 0); e.Eax|e.Ebx|e.Ecx|e.Edx != 0 {
			t.Errorf("leaf %#x is not empty: %+v", fn, e)
		}
	}
	if e := leaf(t, got, 6, 0); e.Eax != 4 || e.Ecx != 0 {
		t.Errorf("leaf 6 %+v: only the timer that never stops is there", e)
	}
}

func TestGuestCPUIDTellsTheHypervisor(t *testing.T) {
	got := GuestCPUID(hostLeaves(), CPU{Topology: Topology{1, 1, 1}, TSCDeadline: true, TSCKHz: 2_600_000})
	if f := leaf(t, got, 1, 0); f.Ecx&(1<<31) == 0 || f.Ecx&(1<<24) == 0 || f.Ecx&(1<<21) == 0 {
		t.Errorf("hypervisor, TSC deadline or x2APIC missing: ECX %#x", f.Ecx)
	}
	if e := leaf(t, got, 0x40000000, 0); e.Eax != 0x40000010 {
		t.Errorf("highest hypervisor leaf %#x", e.Eax)
	}
	if e := leaf(t, got, 0x40000010, 0); e.Eax != 2_600_000 || e.Ebx != 1_000_000 {
		t.Errorf("timing leaf %+v", e)
	}
	if e := leaf(t, got, 0x40000001, 0); e.Eax != 1<<24|9 {
		t.Errorf("KVM features changed: %#x", e.Eax)
	}
	without := GuestCPUID(hostLeaves(), CPU{Topology: Topology{1, 1, 1}})
	if f := leaf(t, without, 1, 0); f.Ecx&(1<<24) != 0 {
		t.Error("TSC deadline without a timer for it")
	}
	if e := leaf(t, without, 0x40000000, 0); e.Eax != 0x40000001 {
		t.Errorf("highest hypervisor leaf %#x without a timing leaf", e.Eax)
	}
}

func TestGuestCPUIDKeepsTheHostsList(t *testing.T) {
	host := hostLeaves()
	GuestCPUID(host, CPU{ID: 1, Topology: Topology{1, 2, 1}})
	if !slices.Equal(host, hostLeaves()) {
		t.Error("the argument was changed")
	}
	old := []CPUIDEntry{{Function: 0, Eax: 7, Ebx: 0x756e6547}, {Function: 0x80000001}}
	got := GuestCPUID(old, CPU{Topology: Topology{1, 2, 1}})
	if len(got) != len(old) {
		t.Errorf("%d leaves for a processor without extended topology: %+v", len(got), got)
	}
	if e := leaf(t, got, 0x80000001, 0); e.Ecx != 0 {
		t.Errorf("AMD's core flag on another maker's processor: %#x", e.Ecx)
	}
}

func TestHasLA57(t *testing.T) {
	for want, leaves := range map[bool][]CPUIDEntry{
		false: append(hostLeaves(), CPUIDEntry{Function: 7, Index: 1, Ecx: 1 << 16}),
		true:  {{Function: 7, Ecx: 1<<16 | 1}},
	} {
		if got := HasLA57(leaves); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestWhatTheHostSupports(t *testing.T) {
	if n := PhysBits(hostLeaves()); n != 48 {
		t.Errorf("%d address bits, want 48", n)
	}
	if n := PhysBits(nil); n != 36 {
		t.Errorf("%d address bits without the leaf, want 36", n)
	}
	if x := ExtendedStates(hostLeaves()); x != 1<<32|7 {
		t.Errorf("extended states %#x, want 0x100000007", x)
	}
	if x := ExtendedStates(nil); x != 0 {
		t.Errorf("extended states %#x without XSAVE, want 0", x)
	}
}
