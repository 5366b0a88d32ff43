package guesttests

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/kernel"
)

// withUnpacked has govmm start a kernel from a cache in which it is unpacked, and say
// so.
func withUnpacked(t *testing.T, v harness.Govmm, tree kernel.Tree) harness.Govmm {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "kernels")
	if out, err := exec.Command(v.Path, "kernel-unpack", dir, tree.Image()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	v.Args = append(v.Args, "--kernel-cache", dir, "--log-level", "vmm=debug")
	return v
}

// startedUnpacked is what govmm says of a kernel that did not unpack itself.
const startedUnpacked = `format="bzImage, unpacked"`

// TestUnpackedKernel starts Debian's kernels as they are shipped, unpacked before by
// govmm, and restarts them: each time they are at other addresses, in their map and in
// RAM, unless they are told to stay where they were linked.
func TestUnpackedKernel(t *testing.T) {
	t.Parallel()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip("QEMU has the guest unpack its kernel")
	}
	for _, name := range []string{harness.Debian12, harness.Backports} {
		t.Run(name, func(t *testing.T) {
			tree, initrd := debian(t, name)
			v := withUnpacked(t, v, tree)
			v.Args = append(v.Args, "--on-reboot", "restart")
			g := start(t, v, harness.Guest{Kernel: tree.Image(), Initrd: initrd, KASLR: true, Disks: []harness.Disk{{Path: image(t, "64M")}}})
			first := g.addresses()
			g.reboot()
			second := g.addresses()
			t.Logf("at %s, then at %s", first, second)
			if first == second {
				t.Errorf("the kernel is at %s twice", first)
			}
			g.powerOff()
			if n := strings.Count(g.machine.Console(), startedUnpacked); n != 2 {
				t.Errorf("govmm started an unpacked kernel %d times, want 2:\n%s", n, g.machine.Console())
			}
		})
	}
	t.Run("nokaslr", func(t *testing.T) {
		tree, initrd := debian(t, harness.Debian12)
		g := start(t, withUnpacked(t, v, tree), harness.Guest{Kernel: tree.Image(), Initrd: initrd})
		if got := g.addresses(); got != "ffffffff81000000 01000000" {
			t.Errorf("the kernel is at %s, want it where it was linked", got)
		}
		g.powerOff()
		if !strings.Contains(g.machine.Console(), startedUnpacked) {
			t.Error("govmm did not start an unpacked kernel")
		}
	})
}

// TestUnpackedKernelAbove4GiB restarts a machine with as much RAM above 4 GiB as below until its
// kernel is there, where only page tables of ours map it when it is entered.
func TestUnpackedKernelAbove4GiB(t *testing.T) {
	t.Parallel()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip("QEMU has the guest unpack its kernel")
	}
	tree, initrd := debian(t, harness.Debian12)
	v = withUnpacked(t, v, tree)
	v.Args = append(v.Args, "--on-reboot", "restart")
	g := start(t, v, harness.Guest{Kernel: tree.Image(), Initrd: initrd, KASLR: true, Memory: "6G", Disks: []harness.Disk{{Path: image(t, "64M")}}})
	const starts = 14 // half of them are above, so that none is in one test of 16,384
	var all []string
	for range starts {
		virtual, physical, _ := strings.Cut(g.addresses(), " ")
		all = append(all, physical)
		if at, err := strconv.ParseUint(physical, 16, 64); err != nil {
			t.Fatalf("the kernel is at %q, %q: %v", virtual, physical, err)
		} else if at >= 4<<30 {
			levels := strings.TrimSpace(g.run("sh", "-c", "grep -qw la57 /proc/cpuinfo && echo five || echo four"))
			g.sh("lsblk -dn /dev/sda")
			g.powerOff()
			t.Logf("the kernel was at %s, with page tables of %s levels", all, levels)
			if n := strings.Count(g.machine.Console(), startedUnpacked); n != len(all) {
				t.Errorf("govmm started an unpacked kernel %d times, want %d", n, len(all))
			}
			return
		}
		g.reboot()
	}
	t.Errorf("the kernel was at %s, never above 4 GiB", all)
}

// addresses are where the kernel is mapped, and where it is in RAM.
func (g *guest) addresses() string {
	g.Helper()
	return strings.TrimSpace(g.run("sh", "-c", `echo $(sed -n 's/ T _text$//p' /proc/kallsyms) $(sed -n 's/^ *\([0-9a-f]*\)-.*Kernel code$/\1/p' /proc/iomem)`))
}
