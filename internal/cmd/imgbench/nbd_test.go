package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/nbdproto"
)

// TestNBDRows runs the rows of servers whose images are quickly made once, a few
// requests of each, and READs and WRITEs of every size.
func TestNBDRows(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-nbd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the comparison is with QEMU's tools: %v", err)
		}
	}
	dir := t.TempDir()
	s := sides{ctx: t.Context(), dir: dir, govmm: buildGovmm(t, dir)}
	list := nbdRows()
	for _, size := range []int64{4 * kib, 64 * kib, mib} {
		for _, command := range []uint16{nbdproto.CmdRead, nbdproto.CmdWrite} {
			r := row{name: fmt.Sprintf("%d bytes by command %d", size, command), image: empty, depth: 32, size: size, step: size, fresh: true}
			list = append(list, nbdRow{r, command})
		}
	}
	seen := make(map[string]bool)
	for _, r := range list {
		if seen[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		seen[r.name] = true
		if !r.fresh || r.depth == 1 || r.direct { // direct I/O is not everywhere
			continue
		}
		r.count = 100
		c, err := s.compareNBD(r, 1)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if line := c.line(r.name); len(strings.Fields(line)) < 10 {
			t.Errorf("%q", line)
		}
	}
}

// TestNBDClientReportsErrors does not take a refused request for a fast one.
func TestNBDClientReportsErrors(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	s := sides{ctx: t.Context(), dir: dir, govmm: buildGovmm(t, dir)}
	r := nbdRow{row{name: "too long", image: empty, depth: 1, count: 1, size: 64 * mib, step: mib, fresh: true}, nbdproto.CmdRead}
	if _, err := s.measureNBD(r, ours); err == nil || !strings.Contains(err.Error(), "request 0 failed") {
		t.Errorf("a READ of 64 MiB: %v", err)
	}
}
