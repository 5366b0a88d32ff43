package guesttests

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
)

// expected are the lines by which the stock driver tells that it understood
// the controller, and what it takes it for.
var expected = []string{
	"FW now in Ready state",
	"63 bit DMA mask and 32 bit consistent mask",
	"controller type : MR(512MB)",
	"Online Controller Reset(OCR) : Enabled",
	"INIT adapter done",
	"pci id : (0x1000)/(0x0079)/(0x1000)/(0x9261)",
	"Max firmware commands: 1007",
	"Attached SCSI disk",
}

// unwanted must not be in the log, at whatever level.
var unwanted = []string{
	"Unit Not Ready",
	"Unknown command completed",
	"Sense Key",
	"I/O error",
	"ACPI Error",
	"ACPI Warning",
	"ACPI BIOS Error",
	"[Firmware Bug]",
	"[Firmware Warn]",
	"can't claim BAR",
	"nobody cared",
	"Call Trace",
	"WARNING:",
	"BUG:",
}

// checkProbe checks the kernel's log of a guest with one disk, for the expected
// lines and for more.
func checkProbe(g *guest, more ...string) {
	log := g.kernelLog()
	for _, want := range append(more, expected...) {
		if !slices.ContainsFunc(log, func(r record) bool { return strings.Contains(r.text, want) }) {
			g.Errorf("not in the kernel's log: %q", want)
		}
	}
	for _, r := range log {
		for _, bad := range unwanted {
			if strings.Contains(r.text, bad) && !isHarmless(r) {
				g.Errorf("in the kernel's log: %q", r.text)
			}
		}
	}
	for _, r := range complaints(log) {
		g.Errorf("the kernel complains (level %d): %q", r.level, r.text)
	}
}

// interrupts returns the number of interrupts of the controller, and how
// /proc/interrupts describes the line.
func (g *guest) interrupts() (count int, how string) {
	g.Helper()
	for line := range strings.Lines(g.run("cat", "/proc/interrupts")) {
		if !strings.Contains(line, "megasas") && !strings.Contains(line, "megaraid_sas") {
			continue
		}
		fields := strings.Fields(line)
		n, err := strconv.Atoi(fields[1])
		if err != nil {
			g.Fatalf("/proc/interrupts: %q: %v", line, err)
		}
		return n, strings.Join(fields[2:], " ")
	}
	g.Fatal("/proc/interrupts does not list the controller")
	return 0, ""
}

// TestProbe boots the stock kernel of Debian 12 and looks at how its driver
// took the controller.
func TestProbe(t *testing.T) {
	t.Parallel()
	g := start(t, vmm(t), debian12(t, image(t, "1G")))
	t.Run("log", func(t *testing.T) {
		checkProbe(g.with(t), "requested/available msix 1/1")
	})
	t.Run("disk", func(t *testing.T) {
		sub := g.with(t)
		if got := strings.TrimSpace(sub.run("blockdev", "--getsize64", "/dev/sda")); got != "1073741824" {
			t.Errorf("size of the disk: %s, want 1073741824", got)
		}
		if got := strings.TrimSpace(sub.run("cat", "/sys/block/sda/queue/logical_block_size")); got != "512" {
			t.Errorf("logical block size %s, want 512", got)
		}
		if got := strings.Fields(sub.run("lsblk", "-dno", "NAME")); !slices.Equal(got, []string{"sda"}) {
			t.Errorf("disks %v, want one", got)
		}
	})
	t.Run("clocks", func(t *testing.T) {
		sub := g.with(t)
		checkClocks(sub)
		checkStealTime(sub)
	})
	t.Run("msix", func(t *testing.T) {
		sub := g.with(t)
		checkInterrupts(sub, "MSI")
	})
	g.powerOff()
}

// checkClocks checks that the guest uses what makes time cheap in a virtual machine:
// the paravirtual clock, the timer that takes a deadline in one register, and local
// APICs without registers in memory.
func checkClocks(g *guest) {
	for file, want := range map[string]string{
		"/sys/devices/system/clocksource/clocksource0/current_clocksource": "kvm-clock",
		"/sys/devices/system/clockevents/clockevent0/current_device":       "lapic-deadline",
	} {
		if got := strings.TrimSpace(g.run("cat", file)); got != want {
			g.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	flags := strings.Fields(g.run("grep", "-m1", "^flags", "/proc/cpuinfo"))
	for _, flag := range []string{"hypervisor", "tsc_deadline_timer", "x2apic"} {
		if !slices.Contains(flags, flag) {
			g.Errorf("the processor has no %s", flag)
		}
	}
	g.sh("dmesg | grep -q 'physical x2apic'") // the mode of the local APICs
}

// checkStealTime checks that the guest has told KVM where to write the time that it
// was not given, by the register for that (Linux,
// Documentation/virt/kvm/x86/msr.rst).
func checkStealTime(g *guest) {
	const register, enabled = 0x4b564d03, 1
	g.sh(`insmod $(find /usr/lib/modules -name msr.ko)`)
	out := g.sh(fmt.Sprintf("dd if=/dev/cpu/0/msr bs=8 count=1 iflag=skip_bytes skip=%d status=none | od -An -tx1", register))
	first, _, _ := strings.Cut(strings.TrimSpace(out), " ")
	if v, err := strconv.ParseUint(first, 16, 8); err != nil || v&enabled == 0 {
		g.Errorf("the register of the steal time is % q, %v", out, err)
	}
}

// checkInterrupts checks that direct reads raise interrupts of the given kind.
func checkInterrupts(g *guest, kind string) {
	before, how := g.interrupts()
	if !strings.Contains(how, kind) {
		g.Errorf("the controller's interrupt is %q, want %s", how, kind)
	}
	const reads = 100
	g.run("dd", "if=/dev/sda", "of=/dev/null", "bs=4096", "count="+strconv.Itoa(reads), "iflag=direct", "status=none")
	after, _ := g.interrupts()
	// One at a time: each read waits for its own interrupt.
	if n := after - before; n < reads || n > reads+reads/10 {
		g.Errorf("%d reads, one after the other, raised %d interrupts", reads, n)
	}
}

// TestINTx boots with the driver told to do without MSI-X.
func TestINTx(t *testing.T) {
	t.Parallel()
	guest := debian12(t, image(t, "256M"))
	guest.Append = "megaraid_sas.msix_disable=1"
	g := start(t, vmm(t), guest)
	t.Run("log", func(t *testing.T) { checkProbe(g.with(t)) })
	t.Run("interrupts", func(t *testing.T) { checkInterrupts(g.with(t), "IO-APIC") })
	t.Run("load", func(t *testing.T) { ioVerify(g.with(t), smallLoad) })
	g.powerOff()
}

// TestBackportsKernel boots the kernel of Debian's backports.
func TestBackportsKernel(t *testing.T) {
	t.Parallel()
	v := vmm(t)
	tree, initrd := debian(t, harness.Backports)
	checkKernel(t, v, harness.Guest{Kernel: tree.VMLinux(), Initrd: initrd})
}

// TestBzImage boots the image as Debian ships it, compressed, with a command line that
// is as long as the kernel takes.
func TestBzImage(t *testing.T) {
	t.Parallel()
	v := vmm(t)
	tree, initrd := debian(t, harness.Debian12)
	guest := harness.Guest{Kernel: tree.Image(), Initrd: initrd, Disks: []harness.Disk{{}}, Append: "filler="}
	const longest = 2047
	guest.Append += strings.Repeat("x", longest-len(guest.CommandLine()))
	checkKernel(t, v, guest)
}

// checkKernel boots a guest and checks the probe and a load on its disk.
func checkKernel(t *testing.T, v harness.VMM, guest harness.Guest) {
	disk := image(t, "256M")
	guest.Disks = []harness.Disk{{Path: disk}}
	g := start(t, v, guest)
	if got, want := g.run("cat", "/proc/cmdline"), guest.CommandLine()+"\n"; got != want {
		t.Errorf("the kernel has the command line\n%swant\n%s", got, want)
	}
	t.Run("log", func(t *testing.T) { checkProbe(g.with(t)) })
	t.Run("clocks", func(t *testing.T) { checkClocks(g.with(t)) })
	t.Run("load", func(t *testing.T) { ioVerify(g.with(t), smallLoad) })
	g.powerOff()
	checkImage(t, disk)
}
