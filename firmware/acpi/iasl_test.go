package acpi

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestIASL has the reference compiler disassemble every table and compile the
// result again: neither step may find fault, and what comes out must be what
// went in. The root pointer is not a table that it reads.
func TestIASL(t *testing.T) {
	iasl, err := exec.LookPath("iasl")
	if err != nil {
		t.Skip("acpica-tools not installed")
	}
	full := machine()
	full.TimerOverride = true
	full.LevelIRQs = []uint8{5, 10, 11}
	full.Mouse, full.VGA = true, true
	full.Serial = append(full.Serial, Serial{Port: 0x2F8, IRQ: 3})

	bare := machine()
	bare.CPUs = []uint32{0, 300}
	bare.Serial, bare.RTC, bare.Keyboard = nil, false, false
	bare.Power.SMICommand, bare.Power.GPE0, bare.Reset.Port = 0, 0, 0
	bare.PCI.MMIO64 = Window{}

	for name, c := range map[string]Config{"plain": machine(), "full": full, "bare": bare} {
		tables := mustBuild(t, c)
		for _, e := range tables.Index {
			if e.Signature == "RSD PTR " {
				continue
			}
			t.Run(name+"/"+e.Signature, func(t *testing.T) {
				t.Parallel()
				roundTrip(t, iasl, e.Signature, tables.Blob[e.Offset:][:e.Size])
			})
		}
	}
}

// roundTrip disassembles and recompiles one table.
func roundTrip(t *testing.T, iasl, signature string, table []byte) {
	dir := t.TempDir()
	file := filepath.Join(dir, "table.aml")
	if err := os.WriteFile(file, table, 0o600); err != nil {
		t.Fatal(err)
	}
	runIASL(t, iasl, dir, "-d", file)
	again := filepath.Join(dir, "again")
	// -oa: no optimization, so that the encoding can be compared.
	runIASL(t, iasl, dir, "-oa", "-p", again, filepath.Join(dir, "table.dsl"))
	got, err := os.ReadFile(again + ".aml")
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(table)
	if signature != "FACS" {
		// The compiler signs with its own name and revision, and makes the
		// checksum right for that.
		for _, p := range [][]byte{got, want} {
			p[9] = 0
			clear(p[28:36])
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("recompiled:\n% x\nwant:\n% x", got, want)
	}
}

// Of a run without fault the compiler says so; the disassembler says nothing.
var (
	faultless = regexp.MustCompile(`\b0 Errors, 0 Warnings, 0 Remarks\b`)
	fault     = regexp.MustCompile(`(?i)error|warning|invalid|unknown|checksum|too (short|long)`)
)

func runIASL(t *testing.T, iasl, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(iasl, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("iasl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if !faultless.Match(out) && fault.Match(out) {
		t.Errorf("iasl %s found fault:\n%s", strings.Join(args, " "), out)
	}
}
