package main

import (
	"strings"
	"testing"

	"github.com/govmm/govmm/vmm/kvm"
	"github.com/govmm/govmm/vmm/memory"
)

func TestHardwareFlags(t *testing.T) {
	k := write(t, "", t.TempDir(), "k")
	s := parseRun(t, "--kernel", k, "--memory", "1G,prealloc,hugepages", "--cpus", "8,threads=2,sockets=2")
	if s.memory != 1<<30 || s.ram != (memory.Options{HugePages: true, Prealloc: true}) {
		t.Errorf("memory %d, %+v", s.memory, s.ram)
	}
	if s.cpus != 8 || s.topology != (kvm.Topology{Sockets: 2, Cores: 2, Threads: 2}) {
		t.Errorf("%d processors, %+v", s.cpus, s.topology)
	}
	if args := strings.Join(s.args(), " "); !strings.HasPrefix(args, "--memory 1G,hugepages,prealloc --cpus 8,sockets=2,cores=2,threads=2 ") {
		t.Errorf("as arguments: %s", args)
	}
	s = parseRun(t, "--kernel", k, "--memory", "1G,shared,hugepages=2M")
	if s.ram != (memory.Options{PoolPage: 2 << 20, Shared: true}) {
		t.Errorf("memory %+v", s.ram)
	}
	if args := strings.Join(s.args(), " "); !strings.HasPrefix(args, "--memory 1G,hugepages=2M,shared ") {
		t.Errorf("as arguments: %s", args)
	}
	for flag, want := range map[string]string{
		"--memory=1G,fast":             `"fast": must be hugepages, hugepages=2M, hugepages=1G, prealloc or shared`,
		"--memory=1G,hugepages=4K":     `"hugepages=4K": huge pages have 2M or 1G`,
		"--memory=":                    "a size is a number",
		"--cpus=many":                  `"many": must be a number`,
		"--cpus=4,cores=0":             `"cores=0": must be`,
		"--cpus=4,cores=1,cores=2":     "each once",
		"--cpus=4,dies=2":              `"dies=2": must be`,
		"--cpus=4,cores=3":             "1 sockets of 3 cores of 1 threads are 3 processors",
		"--cpus=5,sockets=2,threads=2": "are 4 processors",
	} {
		status, _, stderr := govmm("run", "--kernel", k, flag)
		if status != exitFailure || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, want %q", flag, status, stderr, want)
		}
	}
}
