package bios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/raid"
	"github.com/govmm/govmm/qcow2"
	"github.com/govmm/govmm/vmm"
	"github.com/govmm/govmm/vmm/kvm"
)

const (
	seabios        = "/usr/share/seabios/bios-256k.bin"
	controllerSlot = 5
	memory         = 64 << 20
	diskSize       = 16 << 20

	// When a boot sector says keyCue, key is typed at COM1.
	keyCue = "KEY?\n"
	key    = "k"

	// bootLimit is far more than a start takes, also where KVM interprets.
	bootLimit = 10 * time.Minute
)

// disk is a qcow2 image with sectors in it.
type disk struct {
	path    string
	sectors map[int64][]byte
}

// newDisk makes an image.
func newDisk(t *testing.T, sectors map[int64][]byte) disk {
	t.Helper()
	d := disk{filepath.Join(t.TempDir(), "disk.qcow2"), sectors}
	f, err := qcow2.OpenFile(d.path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := qcow2.Create(f, qcow2.CreateOptions{Size: diskSize}); err != nil {
		t.Fatal(err)
	}
	im, err := qcow2.Open(f, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for lba, data := range sectors {
		if err := im.WriteV([][]byte{data}, lba*sectorSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	return d
}

// open opens the image.
func (d disk) open(t *testing.T) *qcow2.Image {
	t.Helper()
	f, err := qcow2.OpenFile(d.path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	im, err := qcow2.Open(f, qcow2.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// sector reads a sector of an image that no machine has open.
func (d disk) sector(t *testing.T, lba int64) []byte {
	t.Helper()
	im := d.open(t)
	defer im.Close()
	p := make([]byte, sectorSize)
	if err := im.ReadV([][]byte{p}, lba*sectorSize); err != nil {
		t.Fatal(err)
	}
	return p
}

// buffer is output of a machine.
type buffer struct {
	mu     sync.Mutex
	text   bytes.Buffer // guarded by mu
	more   sync.Cond    // on mu: text has grown, or does not any more
	closed bool         // guarded by mu
}

func newBuffer() *buffer {
	b := &buffer{}
	b.more.L = &b.mu
	return b
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.more.Broadcast()
	return b.text.Write(p)
}

// waitFor waits for a text, or for the end of the output.
func (b *buffer) waitFor(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && !bytes.Contains(b.text.Bytes(), []byte(text)) {
		b.more.Wait()
	}
}

// close ends the output.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.more.Broadcast()
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// typist is input that comes when the output of a machine has a certain text.
type typist struct {
	watched *buffer
	cue     string
	keys    io.Reader
}

// Read waits for the cue, or for the end of the machine.
func (k *typist) Read(p []byte) (int, error) {
	k.watched.waitFor(k.cue)
	return k.keys.Read(p)
}

// machine is a machine that starts SeaBIOS.
type machine struct {
	*vmm.Machine
	controller *megasas.Controller
	screen     *buffer // COM1: what SeaBIOS shows of the text screen
	serial     *buffer // COM2: what the boot sector says
	debug      *buffer // SeaBIOS's messages
}

// newMachine builds a machine with disks behind its controller. c has what the
// test wants different from the usual.
func newMachine(t *testing.T, c vmm.Config, order []string, disks ...disk) *machine {
	t.Helper()
	return newMachineWith(t, c, vmm.BIOS{BootOrder: order}, disks...)
}

// newMachineWith is newMachine with more about the BIOS than the boot order.
func newMachineWith(t *testing.T, c vmm.Config, b vmm.BIOS, disks ...disk) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a BIOS, which takes too long for -short")
	}
	image, err := os.ReadFile(seabios)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%v (package seabios)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{screen: newBuffer(), serial: newBuffer(), debug: newBuffer()}
	keys := &typist{m.serial, keyCue, strings.NewReader(key)}
	c.Memory, c.CPUs = max(c.Memory, memory), max(c.CPUs, 1)
	c.Serial = []vmm.SerialConfig{{In: keys, Out: m.screen}, {Out: m.serial}}
	b.Image, b.Debug = bytes.NewReader(image), m.debug
	c.BIOS = &b
	m.Machine, err = vmm.New(c)
	var open *kvm.OpenError
	if errors.As(err, &open) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var drives []megasas.DriveConfig
	var images []*qcow2.Image
	for i, d := range disks {
		im := d.open(t)
		images = append(images, im)
		drives = append(drives, megasas.DriveConfig{Drive: raid.NewDrive(im, raid.DriveIdentity{
			Vendor: "GOVMM", Product: fmt.Sprint("DISK ", i), Revision: "1.0", Serial: fmt.Sprint(i),
			WWN: 3<<60 | uint64(i+1), Enclosure: raid.NoEnclosure, Slot: uint8(i),
		})})
	}
	controller, err := megasas.New(megasas.Config{Drives: drives})
	if err != nil {
		t.Fatal(err)
	}
	m.controller = controller
	if err := m.AddDevice(controllerSlot, controller); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.serial.close()
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		for _, im := range images {
			if err := im.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// run runs the machine to its end, and shows what it said if that is not the
// one that is wanted.
func (m *machine) run(t *testing.T, want vmm.Outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	begun := time.Now()
	got, err := m.Run(ctx)
	t.Logf("%v after %v, %d exits with an access", got, time.Since(begun).Round(time.Millisecond), m.Stats().Accesses())
	if err != nil || got != want {
		t.Fatalf("the machine ended with %v, %v, want %v\n%+v\nscreen:\n%q\nboot sector:\n%s\nfirmware:\n%s", got, err, want, m.Stats(), m.screen, m.serial, m.debug)
	}
}
