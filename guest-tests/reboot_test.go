package guesttests

import (
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
)

// TestReboot restarts a guest from inside in two ways: in order through ACPI, and
// by a triple fault with a file system mounted. It comes up again with its disks
// in the same process, and what was synced is there.
func TestReboot(t *testing.T) {
	t.Parallel()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip("QEMU is told to end where the guest restarts")
	}
	v.Args = append(v.Args, "--on-reboot", "restart")
	disk := image(t, "128M")
	g := start(t, v, debian12(t, disk))
	g.sh(`mkfs.ext4 -q /dev/sda
		mount -t ext4 /dev/sda /mnt
		cp -r /usr/sbin /mnt/sbin
		cd /mnt
		find sbin -type f | sort | xargs sha256sum > SUMS
		cd /
		umount /mnt
		echo acpi > /sys/kernel/reboot/type`)
	g.reboot()
	g.run("e2fsck", "-f", "-n", "/dev/sda")
	g.sh(`mount -t ext4 /dev/sda /mnt
		cd /mnt
		sha256sum --check --quiet --strict SUMS
		dd if=/dev/urandom of=synced bs=1M count=4 conv=fsync status=none
		sha256sum synced > SUM
		sync
		echo triple > /sys/kernel/reboot/type`)
	g.rebootBy("sh", "-c", "(sleep 1; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")
	g.sh(`mount -t ext4 /dev/sda /mnt
		cd /mnt
		sha256sum --check --quiet --strict SUMS SUM
		cd /
		umount /mnt`)
	if log := g.run("dmesg"); strings.Contains(log, "Call Trace") || strings.Contains(log, "megaraid_sas") && strings.Contains(log, "FW in FAULT") {
		t.Errorf("the kernel complains after the second reboot:\n%s", log)
	}
	g.powerOff()
	checkImage(t, disk)
}

// reboot has the guest restart in order.
func (g *guest) reboot() {
	g.Helper()
	hello, err := g.machine.Reboot(g.ctx)
	if err != nil {
		g.Fatalf("reboot: %v", err)
	}
	g.Logf("up again, %.1f s after its kernel started", hello.Uptime.Seconds())
}

// rebootBy runs a command that restarts the guest.
func (g *guest) rebootBy(argv ...string) {
	g.Helper()
	g.run(argv...)
	hello, err := g.machine.Boot(g.ctx)
	if err != nil {
		g.Fatalf("reboot: %v", err)
	}
	g.Logf("up again, %.1f s after its kernel started", hello.Uptime.Seconds())
}
