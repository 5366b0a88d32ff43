package guesttests

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/initramfs"
	"github.com/govmm/govmm/guest-tests/kernel"
)

// kernelDisk is a disk with a file system that has both forms of a kernel, vmlinux
// and vmlinuz, and an initramfs.
func kernelDisk(t *testing.T, tree kernel.Tree, initrd string) harness.Disk {
	t.Helper()
	dir, disk := t.TempDir(), filepath.Join(t.TempDir(), "kernels.img")
	for _, argv := range [][]string{
		{"cp", tree.VMLinux(), filepath.Join(dir, "vmlinux")},
		{"cp", tree.Image(), filepath.Join(dir, "vmlinuz")},
		{"cp", initrd, filepath.Join(dir, "initrd")},
		{"mke2fs", "-q", "-t", "ext4", "-L", "kernels", "-d", dir, disk, "256m"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	return harness.Disk{Path: disk, Format: "raw", ReadOnly: true}
}

// TestKexec has a guest of two processors start another kernel without a reset of
// the machine, and then one for the case that this one crashes, which happens on its
// second processor. Each finds the disks on the controller that its predecessor left
// as it was, and complains of nothing; the last finds its predecessor's memory. The
// first was unpacked by govmm, and put at random addresses.
func TestKexec(t *testing.T) {
	t.Parallel()
	v := vmm(t)
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := artefacts.Kernel(harness.Debian12)
	unavailable(t, err)
	initrd, err := artefacts.InitrdWith(t.Context(), tree, "-kexec", initramfs.Extra{Tools: []string{"kexec", "vmcore-dmesg"}})
	if err != nil {
		t.Fatal(err)
	}
	disk := image(t, "256M")
	if govmm, ok := v.(harness.Govmm); ok {
		v = withUnpacked(t, govmm, tree)
	}
	g := start(t, v, harness.Guest{
		Kernel: tree.Image(), Initrd: initrd, Append: "crashkernel=256M", KASLR: true, Memory: "1G", CPUs: 2,
		Disks: []harness.Disk{{Path: disk}, kernelDisk(t, tree, initrd)},
	})
	// By kexec_load(2), and the kernel as its linker made it.
	g.sh(`disk=/dev/$(lsblk -dnro NAME,RO | sed -n 's/ 0$//p')
		mkfs.ext4 -q -L data $disk
		mount -t ext4 $disk /mnt
		dd if=/dev/urandom of=/mnt/data bs=1M count=16 status=none
		(cd /mnt; sha256sum data > SUM)
		umount /mnt
		mount -t ext4 -o ro $(findfs LABEL=kernels) /mnt
		kexec --kexec-syscall --args-linux --load /mnt/vmlinux --initrd=/mnt/initrd --reuse-cmdline --append=govmm.mode=agent
		umount /mnt`)
	g.rebootBy("sh", "-c", "(sleep 1; kexec --exec) > /dev/null 2>&1 &")
	g.checkSuccessor(leftTimer)
	if n := strings.TrimSpace(g.run("nproc")); n != "2" {
		t.Errorf("the second kernel finds %s processors, want 2", n)
	}
	// By kexec_file_load(2), and as Debian ships it. The parameters are those of
	// Debian's kdump-tools.
	g.sh(`mount -t ext4 -o ro $(findfs LABEL=kernels) /mnt
		kexec --kexec-file-syscall --load-panic /mnt/vmlinuz --initrd=/mnt/initrd --reuse-cmdline --append="reset_devices nr_cpus=1 irqpoll"
		umount /mnt
		echo a mark for the dump > /dev/kmsg`)
	g.rebootBy("sh", "-c", "(sleep 1; taskset 2 sh -c 'echo c > /proc/sysrq-trigger') > /dev/null 2>&1 &")
	g.checkSuccessor(leftTimer, "NR_CPUS", "Misrouted IRQ fixup and polling support enabled", "This may significantly impact system performance")
	dump := g.run("vmcore-dmesg", "/proc/vmcore")
	for _, want := range []string{"a mark for the dump", "sysrq: Trigger a crash", "CPU: 1 PID:"} {
		if !strings.Contains(dump, want) {
			t.Errorf("%q is not in what the dump has of the kernel's log:\n%s", want, lastLines(dump, 40))
		}
	}
	g.powerOff()
	checkImage(t, disk)
}

// leftTimer is what Linux says of an interrupt of its predecessor's timer that was on its
// way, on all machines.
const leftTimer = "Spurious LAPIC timer interrupt on cpu"

// checkSuccessor checks what a kernel that was started by another makes of the
// machine. It may complain of what its parameters ask for. The disks may have changed
// their names.
func (g *guest) checkSuccessor(excused ...string) {
	g.Helper()
	for _, r := range complaints(g.kernelLog()) {
		if !slices.ContainsFunc(excused, func(text string) bool { return strings.Contains(r.text, text) }) {
			g.Errorf("the kernel complains (level %d): %q", r.level, r.text)
		}
	}
	g.sh(`mount -t ext4 -o ro $(findfs LABEL=data) /mnt
		cd /mnt
		sha256sum --check --quiet --strict SUM
		cd /
		umount /mnt`)
}
