package pci_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/govmm/govmm/pci"
)

// used is a function that a guest has programmed, with a message pending and its
// pin asserted.
func used(t *testing.T) *pci.Function {
	m, f, d := newMSIX(t)
	m.write32(window+msixTable+16*2+12, 1)
	f.Signal(2)
	f.SetINTx(true)
	d.write(0x3C, 1, 11)
	return f
}

// TestRestore puts a second function where the first was, before it is attached
// and after: it has the same registers and ranges, and sends what was pending.
func TestRestore(t *testing.T) {
	f := used(t)
	s := f.Save()
	packed, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back pci.FunctionState
	if err := json.Unmarshal(packed, &back); err != nil || !reflect.DeepEqual(back, s) {
		t.Fatalf("the state is not the same after JSON (%v)", err)
	}
	for _, attached := range []bool{false, true} {
		m, g := newMachine(), newController()
		if attached {
			attach(t, m, 5, g)
		}
		if err := g.Restore(back); err != nil {
			t.Fatal(err)
		}
		if !attached {
			attach(t, m, 5, g)
		}
		if now := g.Save(); !reflect.DeepEqual(now, s) {
			t.Errorf("attached %v: the state is %+v, was %+v", attached, now, s)
		}
		if g.Mode() != pci.ModeMSIX || m.read32(window+msixTable+16*3+8) != 0x43 {
			t.Errorf("attached %v: the table is not where it was", attached)
		}
		if sent := m.sent(); len(sent) != 0 {
			t.Errorf("attached %v: sent %x of what is masked", attached, sent)
		}
		m.write32(window+msixTable+16*2+12, 0)
		if got := data(m.sent()); !slices.Equal(got, []uint32{0x42}) {
			t.Errorf("attached %v: sent %x on unmasking, want 42", attached, got)
		}
		g.WriteConfig(msixCap+2, []byte{0, 0})
		if !m.line(16 + 5) {
			t.Errorf("attached %v: the pin is not asserted", attached)
		}
	}
}

// TestRestoreRefuses gives a function states that are not its own: they are
// errors, and change nothing.
func TestRestoreRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*pci.FunctionState){
		"bytes of configuration": func(s *pci.FunctionState) { s.Config = s.Config[:255] },
		"another function":       func(s *pci.FunctionState) { s.Config[0] ^= 1 },
		"power state D1":         func(s *pci.FunctionState) { s.Config[pmCap+4] |= 1 },
		"vectors of MSI-X":       func(s *pci.FunctionState) { s.Vectors = s.Vectors[1:] },
		"multiple of 4":          func(s *pci.FunctionState) { s.Vectors[0].Address |= 1 },
		"pending":                func(s *pci.FunctionState) { s.MSIPending = 1 << 31 },
	} {
		s := used(t).Save()
		spoil(&s)
		g := newController()
		before := g.Save()
		err := g.Restore(s)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(g.Save(), before) {
			t.Errorf("%s: the function has changed", name)
		}
	}
}
