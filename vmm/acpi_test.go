package vmm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/firmware/acpi"
	"github.com/govmm/govmm/internal/payload"
	"github.com/govmm/govmm/vmm/kvm"
)

// The reference compiler finds nothing in the tables of real machines: no error, no
// warning, not even a remark, neither when it reads them nor when it compiles what it
// has read.
func TestTablesOfMachinesByIASL(t *testing.T) {
	iasl, err := exec.LookPath("iasl")
	if err != nil {
		t.Skip("iasl is not installed: guest-tests/setup.sh test does that")
	}
	vga := make([]byte, 512)
	copy(vga, []byte{0x55, 0xaa, 1})
	kernel := func() *payload.Program {
		p := payload.New()
		p.Halt()
		return p
	}
	serial := []SerialConfig{{}, {}}
	for name, c := range map[string]Config{
		"kernel, 1 processor":       {CPUs: 1},
		"kernel, 3 processors":      {CPUs: 3, Serial: serial[:1], Watchdog: &WatchdogConfig{}, ExitPort: true},
		"kernel, 64 processors":     {CPUs: 64, Serial: serial},
		"kernel, topology":          {CPUs: 12, Topology: kvm.Topology{Sockets: 2, Cores: 3, Threads: 2}},
		"kernel, memory above 4 GB": {CPUs: 2, Memory: 5 << 30},
		"BIOS, 1 processor":         {CPUs: 1, BIOS: &BIOS{Image: tinyBIOS()}},
		"BIOS, VGA":                 {CPUs: 2, BIOS: &BIOS{Image: tinyBIOS(), VGA: bytes.NewReader(vga)}, Serial: serial[:1]},
		"BIOS, 64 processors":       {CPUs: 64, BIOS: &BIOS{Image: tinyBIOS()}, Serial: serial, Watchdog: &WatchdogConfig{}},
	} {
		t.Run(name, func(t *testing.T) {
			program := kernel()
			if c.BIOS != nil {
				program = nil
			}
			tables, err := acpi.Build(newMachine(t, program, c).acpiConfig())
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, e := range tables.Index {
				if e.Signature == "RSD PTR " { // no table
					continue
				}
				file := filepath.Join(dir, e.Signature)
				if err := os.WriteFile(file+".aml", tables.Blob[e.Offset:][:e.Size], 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(iasl, "-d", file+".aml").CombinedOutput()
				if err != nil || strings.Contains(strings.ToLower(string(out)), "warning") || strings.Contains(strings.ToLower(string(out)), "error") {
					t.Errorf("%s disassembled: %v\n%s", e.Signature, err, out)
				}
				out, err = exec.Command(iasl, "-we", file+".dsl").CombinedOutput()
				if err != nil || !strings.Contains(string(out), "0 Errors, 0 Warnings, 0 Remarks") {
					t.Errorf("%s compiled: %v\n%s", e.Signature, err, out)
				}
			}
		})
	}
}
