package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/govmm/govmm/vmm/kvm"
)

// tinyBIOS writes a BIOS to a file that sends '!' to COM1 and 'd' to the debug
// port, and resets the machine.
func tinyBIOS(t *testing.T) string {
	t.Helper()
	s, err := kvm.Open()
	if err != nil {
		t.Skip(err)
	}
	s.Close()
	const size = 128 << 10
	image := make([]byte, size)
	copy(image[size-64:], []byte{
		0xBA, 0xF8, 0x03, 0xB0, '!', 0xEE, // mov dx, 0x3f8; mov al, '!'; out dx, al
		0xBA, 0x02, 0x04, 0xB0, 'd', 0xEE, // mov dx, 0x402; mov al, 'd'; out dx, al
		0xBA, 0xF9, 0x0C, 0xB0, 0x06, 0xEE, // mov dx, 0xcf9; mov al, 6; out dx, al
		0xF4, // hlt
	})
	copy(image[size-16:], []byte{0xEB, 0xCE}) // jmp to the code: 48 bytes back
	return write(t, string(image), t.TempDir(), "bios")
}

func TestRunFirmware(t *testing.T) {
	bios := tinyBIOS(t)
	debug := filepath.Join(t.TempDir(), "log")
	status, stdout, stderr := govmm("run", "--accel", "kvm", "--memory", "16M", "--firmware", bios, "--bios-debug", debug, "--on-reboot", "exit")
	if status != exitReset || stdout != "!" {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
	if text, err := os.ReadFile(debug); err != nil || string(text) != "d" {
		t.Errorf("messages %q, %v", text, err)
	}
}

// UEFI firmware is started like a BIOS, and its user told in one line what to expect
// of it.
func TestRunUEFI(t *testing.T) {
	image, err := os.ReadFile(tinyBIOS(t))
	if err != nil {
		t.Fatal(err)
	}
	copy(image[40:], "_FVH")
	uefi := write(t, string(image), t.TempDir(), "OVMF.fd")
	status, stdout, stderr := govmm("run", "--accel", "kvm", "--memory", "16M", "--firmware", uefi, "--on-reboot", "exit")
	if status != exitReset || stdout != "!" || !strings.Contains(stderr, "no driver for the MegaRAID controller") || strings.Count(stderr, "\n") != 2 {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

// The nested machine's user is told that it does not get far with UEFI firmware.
func TestNestedUEFIWarning(t *testing.T) {
	image := make([]byte, 128<<10)
	bios := write(t, string(image), t.TempDir(), "bios")
	copy(image[40:], "_FVH")
	uefi := write(t, string(image), t.TempDir(), "OVMF.fd")
	for _, tt := range []struct {
		spec machineSpec
		want int // lines
	}{
		{machineSpec{bios: uefi}, 1}, {machineSpec{bios: bios}, 0}, {machineSpec{bios: "/none"}, 0}, {machineSpec{kernel: "k", bios: uefi}, 0},
	} {
		var stderr strings.Builder
		(&app{stderr: &stderr}).warnNestedUEFI(tt.spec)
		if got := strings.Count(stderr.String(), "\n"); got != tt.want {
			t.Errorf("%+v: %q", tt.spec, &stderr)
		}
	}
}

func TestRunRefusesBadFirmware(t *testing.T) {
	bios := tinyBIOS(t)
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"BIOS image of 4 bytes": {"--firmware", write(t, "tiny", dir, "tiny")},
		"not a regular file":    {"--firmware", dir},
		"--bios-debug: open":    {"--firmware", bios, "--bios-debug", dir},
	} {
		status, _, stderr := govmm(append([]string{"run", "--accel", "kvm"}, args...)...)
		if status != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: status %d, %q, want %q", args, status, stderr, want)
		}
	}
}

func TestMissingFileNamesThePlaces(t *testing.T) {
	dir := t.TempDir()
	missing, there := filepath.Join(dir, "none"), write(t, "", dir, "there")
	if got, err := firstFile([]string{missing, there}, ""); got != there || err != nil {
		t.Errorf("found %q, %v", got, err)
	}
	_, err := firstFile([]string{missing}, "install it")
	if err == nil || !strings.Contains(err.Error(), "install it") || !strings.Contains(err.Error(), missing) {
		t.Errorf("%v", err)
	}
}

func TestBootOrder(t *testing.T) {
	for _, tt := range []struct {
		order []int
		disks int
		want  []int
	}{
		{nil, 3, []int{0, 1, 2}},
		{[]int{3, 1}, 4, []int{2, 0, 1, 3}},
		{[]int{1}, 1, []int{0}},
		{[]int{bootDisc, 2}, 3, []int{2, 1, 0}},
		{nil, 0, nil},
	} {
		b := bootFlag{tt.order}
		if got := b.slots(tt.disks); !slices.Equal(got, tt.want) {
			t.Errorf("%s of %d disks: slots %v, want %v", &b, tt.disks, got, tt.want)
		}
	}
}
