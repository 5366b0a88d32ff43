package chipset_test

import (
	"slices"
	"testing"

	"github.com/govmm/govmm/vmm/chipset"
)

func TestPanicPort(t *testing.T) {
	var got []chipset.PanicEvents
	p := chipset.NewPanicPort(func(e chipset.PanicEvents) { got = append(got, e) })
	if v := in(p, 0); v != 3 {
		t.Errorf("the port offers %#x, want both events", v)
	}
	for _, v := range []byte{0, 1, 2, 0xfc, 0xff} {
		out(p, 0, v)
	}
	want := []chipset.PanicEvents{chipset.Panicked, chipset.CrashLoaded, chipset.Panicked | chipset.CrashLoaded}
	if !slices.Equal(got, want) {
		t.Errorf("reports %v, want %v", got, want)
	}
}

func TestExitPort(t *testing.T) {
	var got []uint32
	p := chipset.NewExitPort(func(v uint32) { got = append(got, v) })
	if v := in(p, 0); v != 0 {
		t.Errorf("the port reads as %#x", v)
	}
	p.Write(0, []byte{7})
	p.Write(0, []byte{1, 2})
	p.Write(0, []byte{1, 2, 3, 4})
	if !slices.Equal(got, []uint32{7, 0x0201, 0x04030201}) {
		t.Errorf("values %#x", got)
	}
}

func FuzzReportPorts(f *testing.F) {
	f.Add([]byte{2, 0, 1, 0, 8 | 2, 0, 3, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		exit := chipset.NewExitPort(func(uint32) {})
		report := chipset.NewPanicPort(func(e chipset.PanicEvents) {
			if e == 0 || e&^3 != 0 {
				t.Errorf("report of %#x", e)
			}
		})
		play(input, nil, []chipset.Handler{exit, report}, []uint64{chipset.ExitPortSize, 1})
	})
}
