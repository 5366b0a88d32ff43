package kvm

import (
	"slices"
	"testing"
)

func TestTopologyNumbers(t *testing.T) {
	for _, tt := range []struct {
		t   Topology
		ids []int
	}{
		{Topology{1, 3, 1}, []int{0, 1, 2}},
		{Topology{1, 2, 2}, []int{0, 1, 2, 3}},
		{Topology{2, 3, 2}, []int{0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13}},
		{Topology{4, 1, 1}, []int{0, 1, 2, 3}},
	} {
		var ids []int
		for n := range tt.t.CPUs() {
			ids = append(ids, tt.t.APICID(n))
		}
		if !slices.Equal(ids, tt.ids) {
			t.Errorf("%+v: ids %v, want %v", tt.t, ids, tt.ids)
		}
	}
	if p := (Topology{2, 3, 2}).Place(9); p != (Place{1, 1, 1}) {
		t.Errorf("place %+v", p)
	}
}

// A processor of two sockets of two cores of two threads says so in every leaf.
func TestGuestCPUIDWithThreads(t *testing.T) {
	got := GuestCPUID(hostLeaves(), CPU{ID: 7, Topology: Topology{2, 2, 2}})
	if f := leaf(t, got, 1, 0); f.Ebx>>16&0xff != 4 || f.Ebx>>24 != 7 || f.Edx>>28&1 != 1 {
		t.Errorf("leaf 1 %+v", f)
	}
	thread, core := leaf(t, got, 0xb, 0), leaf(t, got, 0xb, 1)
	if thread.Eax != 1 || thread.Ebx != 2 || core.Eax != 2 || core.Ebx != 4 || core.Edx != 7 {
		t.Errorf("threads %+v, cores %+v", thread, core)
	}
	if l1, l3 := leaf(t, got, 4, 0), leaf(t, got, 4, 3); l1.Eax>>14&0xfff != 1 || l3.Eax>>14&0xfff != 3 || l3.Eax>>26 != 1 {
		t.Errorf("caches %#x and %#x", l1.Eax, l3.Eax)
	}
	if c := leaf(t, got, 0x80000008, 0); c.Ecx&0xff != 3 || c.Ecx>>12&0xf != 2 {
		t.Errorf("leaf 0x80000008 %+v", c)
	}
	if c := leaf(t, got, 0x8000001e, 0); c.Eax != 7 || c.Ebx != 0x101 || c.Ecx != 1 {
		t.Errorf("leaf 0x8000001e %+v", c)
	}
}
