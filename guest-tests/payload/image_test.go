package payload

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestCompletedWriteIsInTheImage pulls the plug after a write that completed: a
// volume caches nothing, unless it was told to. The image is looked at as it is
// on the host's disk while govmm still has it open.
func TestCompletedWriteIsInTheImage(t *testing.T) {
	const lba = 777
	data := append(sector(1), sector(2)...)
	d := newDriver()
	d.initialize(16)
	write, _ := d.transfer(mfi.CmdLDWrite, lba, 2, d.Data(data, 512))
	d.post(write)
	d.awaitStatus(write, mfi.StatusOK)
	d.PowerOff()
	h := newHost(t, d.Program, nil)
	h.run()

	left, err := os.ReadFile(h.image)
	if err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "crashed.qcow2")
	if err := os.WriteFile(crashed, left, 0o600); err != nil {
		t.Fatal(err)
	}
	disk := h.openImage(crashed)
	got := make([]byte, len(data))
	if err := disk.ReadV([][]byte{got}, 512*lba); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("the image has % x ...", got[:16])
	}
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	qemuImg, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("not checked by qemu-img, which is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), qemuImg, "check", crashed).CombinedOutput(); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
}

// TestBadTransfersAreRefused makes requests that must neither reach the image
// nor memory outside the guest's, and then one that works.
func TestBadTransfersAreRefused(t *testing.T) {
	d := newDriver()
	d.initialize(16)
	buffer := d.Reserve(512, 512)
	var frames []uint64
	for _, bad := range []struct {
		cmd    mfi.Cmd
		lba    uint64
		blocks uint32
		addr   uint64
	}{
		{mfi.CmdLDRead, diskSize / 512, 1, buffer},      // beyond the end
		{mfi.CmdLDWrite, 1 << 40, 1, buffer},            // far beyond
		{mfi.CmdLDWrite, 0, 1, 0xfffffffffffff000},      // no such memory
		{mfi.CmdLDRead, 0, 1, bar},                      // the controller's own registers
		{mfi.CmdLDRead, 0, 64, 16<<20 - 512},            // runs out of memory half-way
		{mfi.CmdLDWrite, diskSize/512 - 1, 2, 0x100000}, // runs out of disk half-way
	} {
		frame, _ := d.transfer(bad.cmd, bad.lba, bad.blocks, bad.addr)
		d.post(frame)
		frames = append(frames, frame)
	}
	d.Wait32(d.producer, 0xffffffff, uint32(len(frames)))
	good, _ := d.transfer(mfi.CmdLDRead, 0, 1, buffer)
	d.post(good)
	d.awaitStatus(good, mfi.StatusOK)
	d.PowerOff()
	h := newHost(t, d.Program, fillSectors(t, 1))
	h.run()
	for i, f := range frames {
		if s := mfi.Status(h.word(f) >> 16); s == mfi.StatusOK || s == mfi.StatusPending {
			t.Errorf("request %d: %v", i, s)
		}
	}
	if !bytes.Equal(h.bytes(buffer, 512), sector(0)) {
		t.Error("the read after them brought other data")
	}
	last := make([]byte, 512)
	if err := h.disk.ReadV([][]byte{last}, diskSize-512); err != nil || !bytes.Equal(last, make([]byte, 512)) {
		t.Errorf("the last block was written (%v)", err)
	}
}
