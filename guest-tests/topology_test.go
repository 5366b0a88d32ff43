package guesttests

import (
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
)

// TestTopology has Linux find four processors as they are put together, in
// preallocated memory from a pool of huge pages.
func TestTopology(t *testing.T) {
	t.Parallel()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip("the flags are govmm's")
	}
	v.Args = append(v.Args, "--cpus", "4,sockets=1,cores=2,threads=2", "--memory", "512M,hugepages=2M,prealloc")
	g := start(t, v, debian12(t, image(t, "64M")))
	if g.hello.CPUs != 4 {
		t.Errorf("the guest has %d processors, want 4", g.hello.CPUs)
	}
	got := g.sh(`cd /sys/devices/system/cpu
		for n in 0 1 2 3; do
			echo $n: $(cat cpu$n/topology/physical_package_id cpu$n/topology/core_id cpu$n/topology/thread_siblings_list)
		done`)
	if want := "0: 0 0 0-1\n1: 0 0 0-1\n2: 0 1 2-3\n3: 0 1 2-3\n"; got != want {
		t.Errorf("the guest finds\n%swant\n%s", got, want)
	}
	if log := g.run("dmesg"); strings.Contains(log, "[Firmware Bug]: CPU") || strings.Contains(log, "APIC id mismatch") {
		t.Errorf("the kernel complains:\n%s", log)
	}
	g.powerOff()
}
