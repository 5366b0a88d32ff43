package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCompleted(t *testing.T) {
	s, err := completed("Sending 10 read requests, ...\nRun completed in 1.234 seconds.\n")
	if err != nil || s != 1.234 {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := completed("qemu-img: Could not open"); err == nil {
		t.Error("a result in an error message")
	}
}

// TestLine compares with the fastest way of QEMU's, in pairs: what slowed a
// whole round down does not count.
func TestLine(t *testing.T) {
	one := func(seconds float64, cpu time.Duration) sample {
		return sample{seconds: seconds, cpu: cpu, peak: 10 * mib}
	}
	c := comparison{count: 1000, goal: goal{2, 0.2}, ways: append([]way{ours}, theirs(false)...), samples: [][]sample{
		{one(1, time.Second), one(4, time.Second), one(1, time.Second)},
		{one(9, time.Second), one(9, time.Second), one(9, time.Second)},
		{one(2, 4*time.Second), one(8, 4*time.Second), one(2, 4*time.Second)},
	}}
	got := strings.Fields(c.line("name"))
	want := strings.Fields("name 1000 500 (io_uring) 2.00 1000.0 4000.0 0.25 10 10 - - 2.00/0.20 no: CPU")
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, want %q", got, want)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v", m)
	}
}

// TestRows runs every row once, a few requests of it, on small images.
func TestRows(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the comparison is with QEMU's tools: %v", err)
		}
	}
	dir := t.TempDir()
	s := sides{ctx: t.Context(), dir: dir, govmm: buildGovmm(t, dir)}
	seen := make(map[string]bool)
	for _, r := range rows() {
		if seen[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		seen[r.name] = true
		if !r.fresh || r.depth == 1 {
			continue // their images take long to make
		}
		r.count, r.direct = 100, false // direct I/O is not everywhere
		c, err := s.compare(r, 1)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if line := c.line(r.name); len(strings.Fields(line)) < 10 {
			t.Errorf("%q", line)
		}
	}
}

// TestTasks runs every command that takes no time once, by both programs.
func TestTasks(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the comparison is with QEMU's tools: %v", err)
		}
	}
	dir := t.TempDir()
	s := sides{ctx: t.Context(), dir: dir, govmm: buildGovmm(t, dir)}
	seen := make(map[string]bool)
	for _, k := range tasks() {
		if seen[k.name] {
			t.Errorf("two lines are called %s", k.name)
		}
		seen[k.name] = true
		if k.files.name != sparseFiles.name && k.repeat == 0 || k.files.name == allocated64G.name {
			continue // their images take long to make
		}
		k.repeat = 0
		c, err := s.compareTask(k, 1)
		if err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		if line := c.taskLine(k); len(strings.Fields(line)) < 9 {
			t.Errorf("%q", line)
		}
	}
}

// buildGovmm builds the program.
func buildGovmm(t *testing.T, dir string) string {
	t.Helper()
	govmm := filepath.Join(dir, "govmm")
	if out, err := exec.Command("go", "build", "-o", govmm, "github.com/govmm/govmm/cmd/govmm").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return govmm
}
