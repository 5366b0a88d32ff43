package firmware

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/firmware/acpi"
)

// The programs that stand in for a BIOS and for a root file system; their
// sources lie beside them.
var (
	//go:embed testdata/boot/reset.bin
	resetImage []byte
	//go:embed testdata/boot/init
	initProgram []byte
)

// resetParams is what the reset code reads from the middle of its image.
type resetParams struct {
	Entry, RBX, RSI, RSP, CR3, CR4, EFER, CR0 uint32
	GDTLimit                                  uint16
	GDTBase                                   uint32
	_                                         uint16
	Tables, Destination, Count                uint32
}

const (
	resetParamsAt = 0x1000
	// stagedTables is RAM from which the reset code copies the ACPI tables to
	// their place: at power-on the chipset has ROM there.
	stagedTables = 256 * mib
)

// complaint is a message about what this package told the kernel, and not about
// how long something took, which depends on the load of the host. Only
// warnings and worse reach the console.
var complaint = regexp.MustCompile(`(?i)acpi|io-?apic|\bpci|pnp|e820|i8042|rtc|firmware|bios|initrd|initramfs|mptable`)

// TestBoot boots real kernels, loaded by this package and described by its
// ACPI tables, on QEMU's i440FX machine: the first process runs, soft-off ends
// the machine, and nothing of ours is complained about.
func TestBoot(t *testing.T) {
	if testing.Short() {
		t.Skip("boots whole kernels: not in short mode")
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("qemu-system-x86 not installed")
	}
	eachKernel(t, func(t *testing.T, path string) {
		kernel := openKernel(t, path)
		t.Run("itself", func(t *testing.T) { checkBoot(t, qemu, oldProcessor, LoadConfig{Kernel: kernel}) })
		p, err := OpenPayload(kernel)
		if err != nil {
			return
		}
		out, err := p.Unpack()
		if err != nil {
			t.Fatal(err)
		}
		unpacked := bytes.NewReader(out)
		t.Run("unpacked", func(t *testing.T) {
			checkBoot(t, qemu, oldProcessor, LoadConfig{Kernel: kernel, Unpacked: unpacked})
		})
		t.Run("unpacked with LA57", func(t *testing.T) {
			checkBoot(t, qemu, oldProcessor+",+la57", LoadConfig{Kernel: kernel, Unpacked: unpacked, LA57: true})
		})
	})
}

// oldProcessor is one of QEMU's. QEMU 7.2 leaves garbage in EFLAGS now and then where a
// kernel uses CMPXCHG16B, as Linux 6.12's allocator does.
const oldProcessor = "EPYC,-cx16"

// checkBoot boots a kernel.
func checkBoot(t *testing.T, qemu, processor string, config LoadConfig) {
	console := boot(t, qemu, processor, config)
	if !strings.Contains(console, "the first process runs") {
		t.Fatalf("the first process does not run; console:\n%s", console)
	}
	for line := range strings.Lines(console) {
		if complaint.MatchString(line) {
			t.Errorf("complaint: %s", strings.TrimSpace(line))
		}
	}
}

// boot runs a kernel on a processor of QEMU's until it switches the machine off, and
// returns what was on its console.
func boot(t *testing.T, qemu, processor string, config LoadConfig) string {
	l := mustLayout(t, 512*mib)
	c := acpi.I440FX()
	c.Base = TablesBase
	c.CPUs = []uint32{0, 1}
	c.TimerOverride, c.Mouse = true, true // as QEMU's machine is
	c.PCI.MMIO32, c.PCI.MMIO64 = acpi.Window(l.MMIO32()), acpi.Window(l.MMIO64())
	c.PCI.Route = func(slot, pin int) int { return 16 + (slot+pin)&7 }
	tables, err := acpi.Build(c)
	if err != nil {
		t.Fatal(err)
	}
	m := make(flat, 512*mib)
	config.Layout, config.Initrd, config.RSDP = l, bytes.NewReader(initramfs()), tables.RSDP
	config.Cmdline, config.Seed = "console=ttyS0 loglevel=5 panic=-1 reboot=a mitigations=off", make([]byte, 32)
	e, err := Load(m, config)
	if err != nil {
		t.Fatal(err)
	}
	if e.Declined != nil {
		t.Fatalf("the kernel was to unpack itself: %v", e.Declined)
	}
	t.Logf("%s at %v, entry %#x, CR4 %#x", e.Format, e.Kernel, e.RIP, e.CR4)

	rom := bytes.Clone(resetImage)
	if _, err := binary.Encode(rom[resetParamsAt:], binary.LittleEndian, resetParams{
		Entry: uint32(e.RIP), RBX: uint32(e.RBX), RSI: uint32(e.RSI), RSP: uint32(e.RSP),
		CR3: uint32(e.CR3), CR4: uint32(e.CR4), EFER: uint32(e.EFER), CR0: uint32(e.CR0),
		GDTLimit: e.GDT.Limit, GDTBase: uint32(e.GDT.Base),
		Tables: stagedTables, Destination: uint32(tables.Base), Count: uint32(len(tables.Blob)+3) / 4,
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, p []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, p, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	args := []string{
		"-accel", "tcg,thread=single", "-M", "pc", "-cpu", processor, "-smp", "2", "-m", "512", "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-bios", file("rom", append(make([]byte, 64<<10-len(rom)), rom...)),
	}
	put := func(name string, addr uint64, p []byte) {
		args = append(args, "-device", fmt.Sprintf("loader,addr=%#x,force-raw=on,file=%s", addr, file(name, p)))
	}
	put("low", 0, m.read(0, VideoBase))
	put("kernel", e.Kernel.Base, bytes.TrimRight(m.read(e.Kernel.Base, e.Kernel.Size), "\x00"))
	put("initrd", e.Initrd.Base, m.read(e.Initrd.Base, e.Initrd.Size))
	put("tables", stagedTables, tables.Blob)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, qemu, args...)
	cmd.Stderr = &stderr
	console, err := cmd.Output()
	if err != nil {
		t.Fatalf("qemu: %v\n%s\nconsole:\n%s", err, &stderr, console)
	}
	return string(console)
}

// initramfs is an archive with a console and the first process, in the "newc"
// format of cpio.
func initramfs() []byte {
	const directory, device, program = 0o040755, 0o020600, 0o100755
	var b bytes.Buffer
	for i, f := range []struct {
		name         string
		mode         int
		major, minor int
		data         []byte
	}{
		{"dev", directory, 0, 0, nil},
		{"dev/console", device, 5, 1, nil},
		{"init", program, 0, 0, initProgram},
		{"TRAILER!!!", 0, 0, 0, nil},
	} {
		b.WriteString("070701")
		for _, v := range []int{i + 1, f.mode, 0, 0, 1, 0, len(f.data), 0, 0, f.major, f.minor, len(f.name) + 1, 0} {
			fmt.Fprintf(&b, "%08X", v)
		}
		for _, p := range [][]byte{append([]byte(f.name), 0), f.data} {
			b.Write(p)
			b.Write(make([]byte, -b.Len()&3))
		}
	}
	return b.Bytes()
}
