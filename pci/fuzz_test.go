package pci_test

import (
	"encoding/binary"
	"testing"
)

// FuzzGuest plays a hostile guest: each 8 bytes of input are one access to
// configuration space, to a decoded BAR or one signal of the device. Whatever
// it does, the map of the machine must be as the registers say, and the
// identity and the capability list must be intact.
func FuzzGuest(f *testing.F) {
	access := func(kind, size byte, at uint16, v uint32) []byte {
		return binary.LittleEndian.AppendUint32([]byte{kind, size, byte(at), byte(at >> 8)}, v)
	}
	var enable []byte
	for _, a := range [][]byte{
		access(0, 4, bar1, window), access(0, 4, command, cmdIO|cmdMemory|cmdMaster),
		access(0, 2, msixCap+2, 0x8000), access(1, 4, msixTable+8, 0x41),
		access(2, 0, 0, 0), access(1, 4, msixTable+12, 0), access(0, 4, bar0, 0xC001),
	} {
		enable = append(enable, a...)
	}
	f.Add(enable)
	f.Add(append(enable, access(0, 2, expressCap+8, 0x8000)...))
	f.Add(append(enable, access(0, 1, pmCap+4, 3)...))
	f.Fuzz(func(t *testing.T, input []byte) {
		m := newMachine()
		fn := newController()
		d := attach(t, m, 5, fn)
		for ; len(input) >= 8; input = input[8:] {
			size := 1 << (input[1] & 3)
			at := int(binary.LittleEndian.Uint16(input[2:]))
			v := append([]byte(nil), input[4:8]...)
			switch input[0] % 4 {
			case 0:
				size = min(size, 4)
				m.ports.Write(d.selectReg(at&0xFC), v[:size])
			case 1:
				m.poke(at, append(v, v...)[:size])
			case 2:
				fn.Signal(at)
				fn.SetINTx(v[0]&1 != 0)
			case 3:
				fn.WriteConfig(at-0x100, append(v, v...)[:size])
			}
		}
		checkMachine(t, m, d)
	})
}

// poke writes p, up to 8 bytes, at an offset of whatever memory is mapped, and
// reads it back.
func (m *machine) poke(at int, p []byte) {
	for _, r := range m.memory {
		off := uint64(at) % (r.size - uint64(len(p)) + 1)
		if off+uint64(len(p)) <= r.size {
			r.region.Write(off, p)
			r.region.Read(off, make([]byte, len(p)))
		}
	}
}

func checkMachine(t *testing.T, m *machine, d device) {
	t.Helper()
	if d.read(0, 4) != 0x00791000 || d.read(0x2C, 4) != 0x92611000 || d.read(0x3D, 1) != 1 {
		t.Fatal("the identity changed")
	}
	n := 0
	for off := d.read(0x34, 1); off != 0; off = d.read(int(off)+1, 1) {
		if n++; n > 4 {
			t.Fatal("the capability list changed")
		}
	}
	cmd := d.read(command, 2)
	on := d.read(pmCap+4, 1)&3 == 0
	for _, r := range m.memory {
		low, want := bar1, uint64(0x4000)
		if r.size != want {
			low, want = 0x1C, 0x40000
		}
		base := uint64(d.read(low, 4)&^15) | uint64(d.read(low+4, 4))<<32
		if r.size != want || r.base != base || cmd&cmdMemory == 0 || !on {
			t.Fatalf("%#x bytes at %#x are mapped, BAR %#x, command %#x", r.size, r.base, base, cmd)
		}
	}
	for _, r := range m.io {
		if r.base != uint64(d.read(bar0, 4)&^3) || cmd&cmdIO == 0 || !on {
			t.Fatalf("ports at %#x are mapped, command %#x", r.base, cmd)
		}
	}
}
