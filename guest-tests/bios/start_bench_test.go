package bios

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// firstByte is a BIOS that sends a byte to COM1 and sleeps.
func firstByte(b *testing.B) string {
	b.Helper()
	const size = 128 << 10
	image := make([]byte, size)
	copy(image[size-64:], []byte{
		0xBA, 0xF8, 0x03, 0xB0, '!', 0xEE, // mov dx, 0x3f8; mov al, '!'; out dx, al
		0xF4, 0xEB, 0xFD, // hlt; jmp to the hlt
	})
	copy(image[size-16:], []byte{0xEB, 0xCE}) // jmp to the code: 48 bytes back
	path := filepath.Join(b.TempDir(), "bios")
	if err := os.WriteFile(path, image, 0o666); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkFirstInstruction is from the start of a process to the first instructions
// of a guest with 512 MiB, side by side with QEMU on the same KVM: the time, the CPU
// time that the process has used by then, and the memory that it has resident, to
// which the guest adds next to nothing.
func BenchmarkFirstInstruction(b *testing.B) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		b.Skip(err)
	}
	bios := firstByte(b)
	for _, vmm := range []struct {
		name string
		argv []string
	}{
		{"govmm", []string{"../../bin/govmm", "run", "--accel", "kvm", "--memory", "512M", "--firmware", bios}},
		{"QEMU", []string{"qemu-system-x86_64", "-nodefaults", "-display", "none", "-M", "pc", "-accel", "kvm", "-m", "512M", "-bios", bios, "-serial", "stdio"}},
	} {
		b.Run(vmm.name, func(b *testing.B) {
			path, err := exec.LookPath(vmm.argv[0])
			if err != nil {
				b.Skip(err)
			}
			var cpu time.Duration
			var resident uint64
			for b.Loop() {
				c, kib := startOnce(b, path, vmm.argv[1:])
				cpu += c
				resident += kib
			}
			b.ReportMetric(float64(cpu.Microseconds())/1000/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(resident)/1024/float64(b.N), "MiB-resident")
		})
	}
}

// startOnce runs a VMM until its guest has said something. The end is not measured.
func startOnce(b *testing.B, path string, args []string) (cpu time.Duration, residentKiB uint64) {
	b.Helper()
	cmd := exec.Command(path, args...)
	// Something to read that never comes: the console's input is open.
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	defer b.StartTimer()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		fmt.Sscanf(line, "VmRSS: %d kB", &residentKiB)
	}
	_ = cmd.Process.Kill() // it runs until it is killed
	_ = cmd.Wait()
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), residentKiB
}
