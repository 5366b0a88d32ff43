package payload

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas/mfi"
)

// sector is what the tests put on block n of the disk.
func sector(n int) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, uint64(n)^0x6d656761), 512/8)
}

// fillSectors fills the first n blocks of the disk.
func fillSectors(t *testing.T, n int) func(block.Device) {
	return func(d block.Device) {
		for i := range n {
			if err := d.WriteV([][]byte{sector(i)}, int64(512*i)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestConfigurationSpace reads the function's registers as a bus scan does.
func TestConfigurationSpace(t *testing.T) {
	p := payload.New()
	results := map[int]uint64{} // register to where its value is kept
	read := func(reg int) {
		results[reg] = p.Word()
		p.ConfigRead32(slot, 0, reg)
		p.Save32(results[reg])
	}
	for _, reg := range []int{0x00, 0x08, 0x2c, 0x34, 0x3c, 0x50, 0x68, 0xa8, 0xc0, 0xc4, 0xc8} {
		read(reg)
	}
	for _, bar := range []int{0x10, 0x14, 0x18, 0x1c, 0x20, 0x24} {
		p.ConfigWrite32(slot, 0, bar, 0xffffffff)
		read(bar)
	}
	absent := p.Word()
	p.ConfigRead32(slot+1, 0, 0)
	p.Save32(absent)
	p.PowerOff()
	h := newHost(t, p, nil)
	h.run()

	for _, want := range []struct {
		reg         int
		value, mask uint32
		what        string
	}{
		{0x00, 0x00791000, 0xffffffff, "vendor and device"},
		{0x08, 0x01040000, 0xffffff00, "class"},
		{0x2c, 0x92611000, 0xffffffff, "subsystem"},
		{0x3c, 0x00000100, 0x0000ff00, "interrupt pin"},
		{0x10, 0xffffff01, 0xffffffff, "size of the I/O BAR"},
		{0x14, 0xffffc004, 0xffffffff, "size of the register BAR"},
		{0x18, 0xffffffff, 0xffffffff, "its upper half"},
		{0x1c, 0xfffc0004, 0xffffffff, "size of the queue BAR"},
		{0x20, 0xffffffff, 0xffffffff, "its upper half"},
		{0x24, 0, 0xffffffff, "BAR 5"},
		{0xc4, 0x00002001, 0xffffffff, "MSI-X table"},
		{0xc8, 0x00003801, 0xffffffff, "MSI-X pending bits"},
	} {
		if got := h.word(results[want.reg]) & want.mask; got != want.value {
			t.Errorf("%s (register %#02x): %#08x, want %#08x", want.what, want.reg, got, want.value)
		}
	}
	if got := h.word(absent); got != 0xffffffff {
		t.Errorf("vendor of an empty slot: %#08x", got)
	}
	// Power management, Express, MSI and MSI-X, in whatever order.
	var ids []int
	for at := int(h.word(results[0x34]) & 0xff); at != 0 && len(ids) < 10; {
		addr, ok := results[at]
		if !ok {
			t.Fatalf("a capability at %#02x", at)
		}
		header := h.word(addr)
		ids = append(ids, int(header&0xff))
		at = int(header >> 8 & 0xff)
	}
	slices.Sort(ids)
	if want := []int{0x01, 0x05, 0x10, 0x11}; !slices.Equal(ids, want) {
		t.Errorf("capabilities %#x, want %#x", ids, want)
	}
}

// TestRegistersMoveWithTheBAR moves the registers while the controller is up.
func TestRegistersMoveWithTheBAR(t *testing.T) {
	const elsewhere = 0xd0000000
	d := newDriver()
	before, gone, after, off := d.Word(), d.Word(), d.Word(), d.Word()
	keep := func(addr, result uint64) {
		d.Load32(addr)
		d.Save32(result)
	}
	keep(bar+scratchPad0, before)
	d.place(elsewhere)
	keep(bar+scratchPad0, gone)
	keep(elsewhere+scratchPad0, after)
	d.ConfigWrite16(slot, 0, regCommand, 0)
	keep(elsewhere+scratchPad0, off)
	d.PowerOff()
	h := newHost(t, d.Program, nil)
	h.run()
	if got := h.word(before); got&stateMask != stateReady {
		t.Errorf("firmware state %#08x, want ready", got)
	}
	if got := h.word(after); got != h.word(before) {
		t.Errorf("state at the new address: %#08x, was %#08x", got, h.word(before))
	}
	if a, b := h.word(gone), h.word(off); a != 0xffffffff || b != 0xffffffff {
		t.Errorf("the old address reads %#08x, the new one without decoding %#08x; nobody should answer", a, b)
	}
}

// TestPolledFrames goes the way of a driver's probe, without interrupts.
func TestPolledFrames(t *testing.T) {
	d := newDriver()
	d.initialize(shortRing)
	info := d.dcmd(mfi.OpCtrlGetInfo, 2048, mfi.StatusOK)
	d.dcmd(0x7fff0000, 64, mfi.StatusInvalidDCMD)
	inquiry := d.passThrough(0, 36, mfi.StatusOK, 0x12, 0, 0, 0, 36, 0)
	d.passThrough(1, 36, mfi.StatusDeviceNotFound, 0x12, 0, 0, 0, 36, 0)
	d.passThrough(0, 0, mfi.StatusOK, 0, 0, 0, 0, 0, 0) // TEST UNIT READY has no data
	capacity := d.passThrough(0, 8, mfi.StatusOK, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	buffer := d.Reserve(1024, 512)
	read, _ := d.transfer(mfi.CmdLDRead, 3, 2, buffer)
	d.post(read)
	d.awaitStatus(read, mfi.StatusOK)
	d.PowerOff()
	h := newHost(t, d.Program, fillSectors(t, 8))
	h.run()

	if got := h.bytes(info, 8); !bytes.Equal(got, []byte{0x00, 0x10, 0x79, 0x00, 0x00, 0x10, 0x61, 0x92}) {
		t.Errorf("the controller calls itself % x", got)
	}
	if got := string(h.bytes(inquiry+8, 24)); got != "LSI     MR9260-8i       " {
		t.Errorf("INQUIRY of the volume: %q", got)
	}
	if last := binary.BigEndian.Uint32(h.bytes(capacity, 4)); last != diskSize/512-1 {
		t.Errorf("last block %d, want %d", last, diskSize/512-1)
	}
	if got := h.bytes(buffer, 1024); !bytes.Equal(got, append(sector(3), sector(4)...)) {
		t.Errorf("blocks 3 and 4: % x ...", got[:16])
	}
	if s := h.machine.Stats(); s.LineChanges != 0 || s.Messages != 0 {
		t.Errorf("%d changes of the interrupt line, %d messages, all while interrupts were masked", s.LineChanges, s.Messages)
	}
}

// checkReplies checks the contexts in the ring after n replies in all, and what
// the reads of blocks 0 to n-1 brought.
func checkReplies(h *host, d *driver, buffers []uint64) {
	h.Helper()
	n, entries := len(buffers), int(d.entries)
	if got := h.word(d.producer); got != uint32(n%entries) {
		h.Errorf("producer index %d, want %d", got, n%entries)
	}
	for i := max(0, n-entries); i < n; i++ {
		if got := h.word(d.ring + uint64(4*(i%entries))); got != uint32(i+1) {
			h.Errorf("reply %d has context %d", i+1, got)
		}
	}
	for i, b := range buffers {
		if !bytes.Equal(h.bytes(b, 512), sector(i)) {
			h.Errorf("read of block %d brought other data", i)
		}
	}
}

// shortRing is a ring that wraps with the reads that tests of interrupts make.
const (
	shortRing = 5
	reads     = shortRing + 3
)

// TestPostedWithINTx waits for each reply in the handler of the interrupt pin.
func TestPostedWithINTx(t *testing.T) {
	d := newDriver()
	flag := d.Word()
	d.OnInterrupt(vector, func() {
		d.Load32(bar + outboundStatus)
		d.or(flag)
		d.Store32(bar+outboundClear, 1)
	})
	d.EnableInterrupts()
	d.RouteIOAPIC(gsi, vector, true)
	d.initialize(shortRing)
	d.Store32(bar+outboundMask, unmaskReplies)
	var buffers []uint64
	for i := range uint64(reads) {
		buffers = append(buffers, d.read(i, flag))
	}
	d.PowerOff()
	h := newHost(t, d.Program, fillSectors(t, reads))
	h.run()
	checkReplies(h, d, buffers)
	if s := h.machine.Stats(); s.Messages != 0 || s.LineChanges != 2*reads {
		t.Errorf("%d messages, %d changes of the interrupt line; want none, and up and down for each of %d reads",
			s.Messages, s.LineChanges, reads)
	}
}

// TestPostedWithMSIX waits for each reply in the handler of the message.
func TestPostedWithMSIX(t *testing.T) {
	d := newDriver()
	flag := d.Word()
	d.OnInterrupt(vector, func() { d.Store32(flag, 1) })
	d.EnableInterrupts()
	d.enableMSIX()
	d.initialize(shortRing)
	d.Store32(bar+outboundMask, unmaskReplies)
	var buffers []uint64
	for i := range uint64(reads) {
		buffers = append(buffers, d.read(i, flag))
	}
	d.PowerOff()
	h := newHost(t, d.Program, fillSectors(t, reads))
	h.run()
	checkReplies(h, d, buffers)
	if s := h.machine.Stats(); s.Messages != reads || s.Undelivered != 0 || s.LineChanges != 0 {
		t.Errorf("%d messages, %d not delivered, %d changes of the interrupt line; want %d, 0, 0",
			s.Messages, s.Undelivered, s.LineChanges, reads)
	}
}

// TestMaskedVectorStaysPending completes a read while the vector is masked.
func TestMaskedVectorStaysPending(t *testing.T) {
	d := newDriver()
	flag, early := d.Word(), d.Word()
	d.OnInterrupt(vector, func() { d.Store32(flag, 1) })
	d.EnableInterrupts()
	d.enableMSIX()
	d.initialize(shortRing)
	d.Store32(bar+outboundMask, unmaskReplies)
	d.maskVector(true)
	buffer := d.Reserve(512, 512)
	frame, _ := d.transfer(mfi.CmdLDRead, 0, 1, buffer)
	d.post(frame)
	d.Wait32(bar+msixPending, 1, 1)
	d.Load32(flag)
	d.Save32(early)
	d.maskVector(false)
	d.HaltUntil32(flag, 1, 1)
	d.Wait32(bar+msixPending, 1, 0)
	d.PowerOff()
	h := newHost(t, d.Program, fillSectors(t, 1))
	h.run()
	checkReplies(h, d, []uint64{buffer})
	if h.word(early) != 0 {
		t.Error("an interrupt came through a masked vector")
	}
	if s := h.machine.Stats(); s.Messages != 1 {
		t.Errorf("%d messages, want 1", s.Messages)
	}
}

// TestFramesPostedTogether posts as many reads as the ring has room for, before
// it looks at the first reply.
func TestFramesPostedTogether(t *testing.T) {
	const n = 4
	d := newDriver()
	d.initialize(n + 1)
	var frames, buffers []uint64
	for i := range n {
		buffers = append(buffers, d.Reserve(512, 512))
		frame, _ := d.transfer(mfi.CmdLDRead, uint64(i), 1, buffers[i])
		frames = append(frames, frame)
	}
	for _, f := range frames {
		d.post(f)
	}
	d.Wait32(d.producer, 0xffffffff, n)
	d.PowerOff()
	h := newHost(t, d.Program, fillSectors(t, n))
	h.run()
	var contexts []uint32
	for i := range n {
		contexts = append(contexts, h.word(d.ring+uint64(4*i)))
		if !bytes.Equal(h.bytes(buffers[i], 512), sector(i)) {
			t.Errorf("read of block %d brought other data", i)
		}
		if s := mfi.Status(h.word(frames[i]) >> 16); s != mfi.StatusOK {
			t.Errorf("read of block %d: %v", i, s)
		}
	}
	slices.Sort(contexts) // replies may overtake each other
	if want := []uint32{1, 2, 3, 4}; !slices.Equal(contexts, want) {
		t.Errorf("contexts %v, want each of %v once", contexts, want)
	}
}
