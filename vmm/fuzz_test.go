package vmm

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/govmm/govmm/firmware/fwcfg"
)

// FuzzMachine makes accesses to any port and any address of a machine that has every
// chip there is, as its processors would: 8 bytes of input are one. None crashes or
// hangs, whatever the others have moved, and the machine is as at power-on after a
// reset.
func FuzzMachine(f *testing.F) {
	access := func(kind byte, at uint32, v ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte{kind}, at)[:5], append(v, 0, 0, 0)[:3]...)
	}
	const write, memory = 1, 2
	chain := func(list ...[]byte) (all []byte) {
		for _, a := range list {
			all = append(all, a...)
		}
		return all
	}
	f.Add(chain(access(write|4*2, 0xcf8, 0x40, 0x0b, 0x00), access(write|4*2, 0xcfc, 0xf9, 0x03, 0x00))) // PM block over COM1
	f.Add(chain(access(write|4*1, 0x510, 0x19, 0x00), access(4*0, 0x511), access(write|4*2, 0x518, 0, 0, 1)))
	f.Add(chain(access(write, 0x505, 3), access(write, 0x501, 7), access(write, 0xcf9, 6), access(write, 0x64, 0xfe)))
	f.Add(chain(access(write|memory|4*2, 0xfee00000, 1, 2, 3), access(memory|4*3, 0xc0000000)))
	vga := make([]byte, 512)
	copy(vga, []byte{0x55, 0xaa, 1})
	c := Config{
		BIOS:     &BIOS{Image: tinyBIOS(0xf4), Debug: io.Discard, VGA: bytes.NewReader(vga)},
		Serial:   []SerialConfig{{Out: io.Discard}, {Out: io.Discard}},
		Watchdog: &WatchdogConfig{Reaction: InterruptIt}, OnPanic: Ignore, ExitPort: true, OnReset: RestartOnReset,
	}
	m := newMachine(f, nil, c)
	if err := m.AddDevice(gadgetSlot, newGadget(func(*gadget, uint32) {})); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		for ; len(input) >= 8; input = input[8:] {
			at := uint64(binary.LittleEndian.Uint32(input[1:]))
			p := bytes.Repeat(input[5:8], 3)[:1<<(input[0]>>2&3)]
			space := m.mmio
			if input[0]&memory == 0 {
				space, at, p = m.ports, at&0xffff, p[:min(len(p), 4)]
			}
			if input[0]&write != 0 {
				space.Write(at, p)
			} else {
				space.Read(at, p)
			}
		}
		m.pciBus.Reset()
		for _, reset := range m.resetters {
			reset()
		}
		read := func(port uint64, n int) uint32 {
			p := make([]byte, 4)
			m.ports.Read(port, p[:n])
			return binary.LittleEndian.Uint32(p)
		}
		config := func(fn, reg uint32) uint32 {
			m.ports.Write(portPCIConfig, binary.LittleEndian.AppendUint32(nil, 1<<31|fn<<8|reg))
			return read(portPCIConfig+4, 4)
		}
		if id, pm := config(slotHostBridge<<3, 0), config(slotISA<<3|functionPM, 0x40); id != 0x12378086 || pm&0xffc0 != 0 {
			t.Errorf("after a reset the host bridge is %#x and the PM block at %#x", id, pm)
		}
		m.ports.Write(fwcfg.Base, []byte{0, 0})
		if c := read(fwcfg.Base+1, 1); c != 'Q' {
			t.Errorf("after a reset fw_cfg begins with %#x", c)
		}
	})
}
