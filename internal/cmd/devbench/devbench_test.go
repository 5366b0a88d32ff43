package main

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The guest's own instructions, those of its interrupts included, are not the
// device's, and neither are exits.
func TestDeviceTime(t *testing.T) {
	s := sample{cases: make([]caseSample, caseRows+1)}
	s.cases[caseDry].cpu = 2000 * time.Microsecond        // 20 per command
	s.cases[caseInterrupts].cpu = 5000 * time.Microsecond // and 30 per interrupt
	s.cases[caseExits].cpu = 2400 * time.Microsecond      // and 4 per exit
	s.cases[caseRows] = caseSample{cpu: 9000 * time.Microsecond, interrupts: 50, exits: 150}
	if got := s.device(caseRows, 100); math.Abs(got-49) > 1e-9 {
		t.Errorf("%v us, want 90 - 20 - 30/2 - 4*3/2", got)
	}
}

func TestRatioIsThatOfPairs(t *testing.T) {
	var c comparison
	for _, ms := range [][2]int{{10, 20}, {900, 1800}, {10, 20}, {900, 20}, {10, 1800}} {
		for side, n := range ms {
			c.samples[side] = append(c.samples[side], sample{start: time.Duration(n) * time.Millisecond})
		}
	}
	start := func(s *sample) float64 { return s.start.Seconds() }
	if got := c.ratio(start); got != 0.5 {
		t.Errorf("ratio %v, want 0.5", got)
	}
}

// TestTable measures a few commands on both sides.
func TestTable(t *testing.T) {
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the comparison is with QEMU: %v", err)
		}
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		t.Skip(err)
	} else {
		f.Close()
	}
	dir := t.TempDir()
	govmm := filepath.Join(dir, "govmm")
	if out, err := exec.Command("go", "build", "-o", govmm, "github.com/govmm/govmm/cmd/govmm").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := newBench(t.Context(), dir, govmm, 200)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var out bytes.Buffer
	if err := b.run(1, "", regexp.MustCompile(""), &out); err != nil {
		t.Fatal(err)
	}
	want := 2*len(loads()) + len(durableLoads())
	if n := strings.Count(out.String(), ", depth "); n != want || strings.Contains(out.String(), "NaN") {
		t.Errorf("%d rows, want %d:\n%s", n, want, &out)
	}
}
