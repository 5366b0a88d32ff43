package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
)

// TestStarts measures each start once on both sides.
func TestStarts(t *testing.T) {
	if _, err := exec.LookPath(qemuProgram); err != nil {
		t.Skipf("the comparison is with QEMU: %v", err)
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip(err)
	} else {
		f.Close()
	}
	if testing.Short() {
		t.Skip("SeaBIOS takes seconds where KVM interprets: not in short mode")
	}
	govmm := filepath.Join(t.TempDir(), "govmm")
	if out, err := exec.Command("go", "build", "-o", govmm, "github.com/govmm/govmm/cmd/govmm").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out bytes.Buffer
	if err := benchStarts(t.Context(), [sideCount][]string{{govmm}, {qemuProgram}}, 1, &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 || strings.Contains(out.String(), "NaN") {
		t.Errorf("%d lines, want 3:\n%s", n, &out)
	}
	t.Logf("\n%s", &out)
}

// The memory of a guest is not that of its process.
func TestResidentBesideGuest(t *testing.T) {
	const guest = 64 << 20
	before, err := residentBeside(os.Getpid(), guest)
	if err != nil {
		t.Fatal(err)
	}
	ram := make([]byte, guest)
	for i := range ram {
		ram[i] = 1
	}
	after, err := residentBeside(os.Getpid(), guest)
	if err != nil {
		t.Fatal(err)
	}
	if before == 0 || after > before+guest/4 {
		t.Errorf("%d bytes with the memory of a guest, %d without", after, before)
	}
	if ram[guest-1] != 1 {
		t.Error("the memory is gone")
	}
}

// Ratios are those of rounds: a host that is slow in one is slow for both sides.
func TestTableTakesRatiosOfRounds(t *testing.T) {
	r := result{Names: []string{"govmm", "QEMU"}, Boots: [][]booted{
		{{Up: 2e9, Exits: map[string]uint64{"exits": 10, "none": 0}}, {Up: 20e9}, {Up: 2e9}},
		{{Up: 4e9, Exits: map[string]uint64{"exits": 20, "io_exits": 3}}, {Up: 40e9}, {Up: 4e9}},
	}}
	var out bytes.Buffer
	r.write(&out, harness.AccelKVM, imageBz)
	lines := strings.Split(out.String(), "\n")
	want := strings.Fields("process start to user space, s 2.00 4.00 0.50")
	if got := strings.Fields(lines[3]); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("line %q, want %q", got, want)
	}
	if kinds := strings.Join(r.exitKinds(), " "); kinds != "exits io_exits" {
		t.Errorf("kinds %q", kinds)
	}
}
