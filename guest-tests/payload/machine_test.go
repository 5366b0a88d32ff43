package payload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/govmm/govmm/internal/block"
	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/vmm"
	"github.com/govmm/govmm/vmm/kvm"
)

// runLimit is far more than any of these guests takes.
const runLimit = time.Minute

// diskSize is the size of the disk, in bytes.
const diskSize = 8 << 20

// host is a machine with a controller that has one disk.
type host struct {
	*testing.T
	image   string // path of the disk's qcow2 image
	machine *vmm.Machine
	disk    block.Device
}

// newHost builds the machine that will run the program. fill writes what is on
// the disk at the start and may be nil. The test is skipped without KVM.
func newHost(t *testing.T, p *payload.Program, fill func(block.Device)) *host {
	t.Helper()
	h := &host{T: t, image: filepath.Join(t.TempDir(), "disk.qcow2")}
	h.createImage()
	h.disk = h.openImage(h.image)
	if fill != nil {
		fill(h.disk)
	}
	controller, err := megasas.New(megasas.Config{Drives: []megasas.DriveConfig{{
		Drive: raid.NewDrive(h.disk, raid.DriveIdentity{Vendor: "GOVMM", Product: "PAYLOAD", Serial: "1", Enclosure: raid.NoEnclosure}),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	h.machine, err = vmm.New(vmm.Config{Memory: 16 << 20, CPUs: 1, Kernel: p.Kernel()})
	var open *kvm.OpenError
	if errors.As(err, &open) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := h.machine.AddDevice(slot, controller); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.machine.Close(context.Background()), h.disk.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) createImage() {
	h.Helper()
	f, err := qcow2.OpenFile(h.image, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		h.Fatal(err)
	}
	if err := errors.Join(qcow2.Create(f, qcow2.CreateOptions{Size: diskSize}), f.Close()); err != nil {
		h.Fatal(err)
	}
}

func (h *host) openImage(path string) block.Device {
	h.Helper()
	d, err := block.Open(block.Spec{Path: path, Format: block.FormatQCOW2})
	if err != nil {
		h.Fatal(err)
	}
	return d
}

// run runs the guest until it switches the machine off.
func (h *host) run() {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), runLimit)
	defer cancel()
	outcome, err := h.machine.Run(ctx)
	if err != nil {
		h.Fatal(err)
	}
	if outcome != vmm.PowerOff {
		h.Fatalf("the machine ended with %v, want %v; %+v", outcome, vmm.PowerOff, h.machine.Stats())
	}
}

// word reads a word of the guest's memory.
func (h *host) word(addr uint64) uint32 {
	h.Helper()
	v, err := h.machine.DMA().Load32(addr)
	if err != nil {
		h.Fatal(err)
	}
	return v
}

// bytes reads n bytes of the guest's memory.
func (h *host) bytes(addr, n uint64) []byte {
	h.Helper()
	p := make([]byte, n)
	if err := h.machine.DMA().ReadAt(p, addr); err != nil {
		h.Fatal(err)
	}
	return p
}
