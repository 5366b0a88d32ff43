package guesttests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
)

// runStats is what is used here of the figures that govmm run --stats writes.
type runStats struct {
	Machine struct {
		Exits  map[string]uint64
		Memory []struct {
			Name          string
			Reads, Writes uint64
		}
		Messages uint64
	}
}

// TestExitsPerRead counts how often a read of 4 KiB makes the guest leave: once, to
// submit it. The driver's interrupt handler looks at the status register twice, in
// memory. What it takes to boot is the same with any number of reads.
func TestExitsPerRead(t *testing.T) {
	t.Parallel()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip("only govmm counts exits")
	}
	const few, many = 100, 1100
	before, after := readsOf4K(t, v, few), readsOf4K(t, v, many)
	perRead := func(of func(runStats) uint64) float64 {
		return (float64(of(after)) - float64(of(before))) / (many - few)
	}
	stores := perRead(func(s runStats) uint64 { _, w := s.controller(); return w })
	loads := perRead(func(s runStats) uint64 { r, _ := s.controller(); return r })
	t.Logf("per read of 4 KiB: %.2f stores to the controller, %.2f loads from it, %.2f exits for device accesses, %.2f messages",
		stores, loads,
		perRead(func(s runStats) uint64 { return s.Machine.Exits["mmio"] + s.Machine.Exits["io"] }),
		perRead(func(s runStats) uint64 { return s.Machine.Messages }))
	// The rest is for the odd read that the two boots do not have in common.
	const slack = 0.05
	if stores < 1-slack || stores > 1+slack {
		t.Errorf("%.2f stores for a read, want 1: the submit", stores)
	}
	if loads > slack {
		t.Errorf("%.2f loads for a read, want none that is an exit", loads)
	}
}

// controller returns the accesses to the controller's registers: no other
// device of the machine has registers in memory. Addresses where nothing is
// have no name.
func (s runStats) controller() (reads, writes uint64) {
	for _, r := range s.Machine.Memory {
		if r.Name != "" {
			reads += r.Reads
			writes += r.Writes
		}
	}
	return reads, writes
}

// readsOf4K boots a guest that makes n direct reads, one after the other.
func readsOf4K(t *testing.T, v harness.Govmm, n int) (stats runStats) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stats.json")
	v.Args = append(v.Args, "--stats", file)
	g := start(t, v, debian12(t, image(t, "256M")))
	g.run("dd", "if=/dev/sda", "of=/dev/null", "bs=4096", "count="+strconv.Itoa(n), "iflag=direct", "status=none")
	g.powerOff()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &stats); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if _, writes := stats.controller(); writes < uint64(n) {
		t.Fatalf("%d stores to the controller for %d reads; figures: %s", writes, n, text)
	}
	return stats
}
