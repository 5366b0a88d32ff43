package guesttests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/initramfs"
)

// storageTools is what the guests of these tests have more: the tools that
// people look at disks with.
var storageTools = initramfs.Extra{
	Modules: []string{"xfs"},
	Tools: []string{
		"fstrim", "kexec", "mkfs.xfs", "smartctl", "xfs_repair",
		"sg_compare_and_write", "sg_get_lba_status", "sg_inq", "sg_logs", "sg_luns", "sg_modes", "sg_opcodes",
		"sg_persist", "sg_prevent", "sg_raw", "sg_readcap", "sg_reassign", "sg_sanitize", "sg_sat_identify", "sg_senddiag",
		"sg_start", "sg_sync", "sg_turs", "sg_unmap", "sg_verify", "sg_vpd", "sg_write_same", "sg_write_verify",
	},
}

// storageGuest is a guest with Debian 12's kernel, the tools and the disks.
func storageGuest(t *testing.T, disks ...harness.Disk) harness.Guest {
	t.Helper()
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := artefacts.Kernel(harness.Debian12)
	unavailable(t, err)
	initrd, err := artefacts.InitrdWith(t.Context(), tree, "-storage", storageTools)
	if err != nil {
		t.Fatal(err)
	}
	return harness.Guest{Kernel: tree.VMLinux(), Initrd: initrd, Disks: disks}
}

// words checks that each of the words is in the output of a tool, with any space
// between the parts of one.
func words(t *testing.T, what, out string, want ...string) {
	t.Helper()
	text := strings.Join(strings.Fields(out), " ")
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q is not in\n%s", what, w, out)
		}
	}
}

// allocated is how many bytes of an image that is in use have storage, as
// qemu-img sees it.
func allocated(t *testing.T, path string) (n int64) {
	t.Helper()
	var extents []struct {
		Length int64
		Data   bool
	}
	if err := json.Unmarshal([]byte(qemuImg(t, "map", "-U", "--output=json", path)), &extents); err != nil {
		t.Fatal(err)
	}
	for _, e := range extents {
		if e.Data {
			n += e.Length
		}
	}
	return n
}

// TestStorageTools looks at a volume, a SAS drive and a SATA drive with the tools
// that people use, makes file systems on them, and takes the driver away and
// back.
func TestStorageTools(t *testing.T) {
	t.Parallel()
	v := onGovmm(t, "about drives that only govmm has")
	volume, sas, sata := image(t, "640M"), image(t, "24M"), image(t, "24M")
	nvram := filepath.Join(t.TempDir(), "card.nvram")
	v.Args = append(v.Args, "--controller", "nvram="+nvram)
	g := startControlled(t, v, storageGuest(t,
		harness.Disk{Path: volume, Options: "serial=VOLDISK"},
		harness.Disk{Path: sas, Options: "use=system,serial=SASDISK"},
		harness.Disk{Path: sata, Options: "use=system,interface=sata,media=hdd,serial=SATADISK"}))

	names := g.diskNames()
	t.Logf("disks: %v", names)
	for _, part := range []struct {
		name string
		run  func(*guest, diskNames)
	}{
		{"management commands", func(g *guest, _ diskNames) { everyCommand(g) }},
		{"volume comes and goes", func(g *guest, n diskNames) { comeAndGo(g, 0, n.volume) }},
		{"smartctl", smart},
		{"sg3-utils", opcodes},
		{"file systems", fileSystems},
		{"driver", driverAgain},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(g.with(t), names) })
	}
	t.Run("fstrim", func(t *testing.T) { trim(g.with(t), names, volume) })
	g.powerOff()
	for _, disk := range []string{volume, sas, sata} {
		checkImage(t, disk)
	}
	if info, err := os.Stat(nvram); err != nil || info.Size() == 0 {
		t.Errorf("no NVRAM: %v", err)
	}
}

// diskNames are the guest's names for the disks: system drives come before
// volumes, whatever the order of slots.
type diskNames struct{ volume, sas, sata string }

func (g *guest) diskNames() diskNames {
	g.Helper()
	out := g.sh(`for d in /sys/block/sd*; do echo $(basename $d) $(cat $d/device/vendor) $(cat $d/device/model); done`)
	var n diskNames
	for line := range strings.Lines(out) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasPrefix(rest, "LSI"):
			n.volume = "/dev/" + name
		case strings.HasPrefix(rest, "ATA"):
			n.sata = "/dev/" + name
		case strings.HasPrefix(rest, "GOVMM"):
			n.sas = "/dev/" + name
		}
	}
	if n.volume == "" || n.sas == "" || n.sata == "" {
		g.Fatalf("a disk is missing: %+v of\n%s", n, out)
	}
	return n
}

// smart has smartctl find the drives behind the controller and look at them,
// through the driver's management interface and as disks.
func smart(g *guest, n diskNames) {
	scan := g.run("smartctl", "--scan")
	words(g.T, "smartctl --scan", scan, "-d megaraid,0", "-d megaraid,1", "-d megaraid,2")
	g.sh(`dd if=` + n.sas + ` of=/dev/null bs=1M count=8 iflag=direct status=none`)
	sas := g.smartctl("-a", "-d", "megaraid,1", n.volume)
	g.Logf("SAS drive:\n%s", sas)
	words(g.T, "the SAS drive", sas, "Vendor: GOVMM", "Product: VIRTUAL DISK", "Serial number: SASDISK",
		"Transport protocol: SAS", "Rotation Rate: Solid State Device", "SMART Health Status: OK",
		"Current Drive Temperature:", "Error counter log:", "Accumulated power on time",
		"Non-medium error count: 0", "SMART support is: Enabled")
	member := g.smartctl("-a", "-d", "megaraid,0", n.volume)
	words(g.T, "the volume's drive", member, "Serial number: VOLDISK", "SMART Health Status: OK")
	sata := g.smartctl("-a", "-d", "sat+megaraid,2", n.volume)
	g.Logf("SATA drive:\n%s", sata)
	words(g.T, "the SATA drive", sata, "Device Model: GOVMM SATA DISK", "Serial Number: SATADISK", "Firmware Version: 1.0",
		"Rotation Rate: 7200 rpm", "SMART support is: Enabled", "Power_On_Hours", "Temperature_Celsius",
		"Raw_Read_Error_Rate", "Power_Cycle_Count", "SMART Error Log Version: 1", "No Errors Logged",
		"SMART Self-test log structure revision number 1")
	direct := g.smartctl("-x", "-d", "sat", n.sata)
	words(g.T, "the SATA drive as a disk", direct, "overall-health self-assessment test result: PASSED",
		"Device Statistics (GP Log 0x04)", "Logical Sectors Read", "Write cache is: Enabled")
	// A short self-test is over at once, and logged.
	g.smartctl("-t", "short", "-d", "sat", n.sata)
	words(g.T, "self-test log", g.smartctl("-l", "selftest", "-d", "sat", n.sata), "# 1", "Completed without error")
	g.smartctl("-t", "long", n.sas)
	words(g.T, "self-test log of SAS", g.smartctl("-l", "selftest", n.sas), "Background long")
}

// smartctl runs smartctl. The low bits of its status are its own failures; what
// the higher ones say of the drive is in the output.
func (g *guest) smartctl(args ...string) string {
	g.Helper()
	res, err := g.machine.Run(g.ctx, append([]string{"smartctl"}, args...)...)
	if err != nil {
		g.Fatal(err)
	}
	if res.Exit&0x07 != 0 {
		g.Errorf("smartctl %v: exit status %#x\n%s%s", args, res.Exit, res.Stdout, res.Stderr)
	}
	return string(res.Stdout)
}

// fileSystems makes file systems on all three, fills and checks them.
func fileSystems(g *guest, n diskNames) {
	for _, tt := range []struct{ disk, mkfs, check string }{
		{n.volume, "mkfs.xfs -q -f", "xfs_repair -n"},
		{n.sas, "mkfs.ext4 -q -F", "e2fsck -f -n"},
		{n.sata, "mkfs.ext4 -q -F", "e2fsck -f -n"},
	} {
		kind := strings.Fields(strings.TrimPrefix(tt.mkfs, "mkfs."))[0]
		g.sh(fmt.Sprintf(`%[2]s %[1]s
			mount -t %[4]s %[1]s /mnt
			mkdir /mnt/lib; cp /usr/lib/x86_64-linux-gnu/libc.so.6 /mnt/lib; for i in $(seq 50); do echo $i > /mnt/lib/$i; done
			cd /mnt; find lib -type f | sort | xargs sha256sum > SUMS; cd /
			umount /mnt
			%[3]s %[1]s 2>&1
			echo 3 > /proc/sys/vm/drop_caches
			mount -t %[4]s -o ro %[1]s /mnt
			cd /mnt; sha256sum --check --quiet --strict SUMS; cd /
			umount /mnt`, tt.disk, tt.mkfs, tt.check, kind))
	}
}

// driverAgain tries to take the driver away while a disk is open, takes it away as soon as
// none is under commands that do not end, and brings it back: again and again.
func driverAgain(g *guest, n diskNames) {
	rounds := 2
	if long() {
		rounds = 10
	}
	g.clearLog()
	g.sh(`exec 3< ` + n.volume + `
		dd if=/dev/urandom of=` + n.volume + ` bs=1M count=32 seek=500 oflag=direct status=none & pid=$!
		rmmod megaraid_sas 2>/dev/null && exit 3 # it is in use
		wait $pid
		dd if=` + n.volume + ` bs=1M count=32 skip=500 iflag=direct status=none | sha256sum > /tmp/sum`)
	for range rounds {
		g.sh(`rm -f /tmp/stop
			(while ! test -e /tmp/stop; do sg_turs ` + n.volume + `; smartctl -i -d megaraid,1 ` + n.volume + `; sg_inq ` + n.sas + `; sg_vpd ` + n.sata + `; done) > /dev/null 2>&1 & loop=$!
			until rmmod megaraid_sas 2>/dev/null; do :; done
			touch /tmp/stop
			wait $loop || :
			test ! -b ` + n.volume + `
			insmod $(grep megaraid_sas /etc/modules)
			/init await-disks 3`)
		n = g.diskNames()
		g.sh(`dd if=` + n.volume + ` bs=1M count=32 skip=500 iflag=direct status=none | sha256sum | cmp - /tmp/sum`)
	}
	if log := g.run("dmesg"); trouble.MatchString(log) {
		g.Errorf("the kernel complains:\n%s", lastLines(log, 40))
	}
}

// trim fills a file system, deletes all, and has fstrim give it back: the clusters
// of the image are free again. (Whether the host's file system gets them back too
// depends on whether the machine's can punch holes, which that of a nested one
// cannot.)
func trim(g *guest, _ diskNames, image string) {
	n := g.diskNames()
	g.sh(`mkfs.ext4 -q -F -E nodiscard ` + n.volume + `
		mount -t ext4 ` + n.volume + ` /mnt
		tr '\000' '\125' < /dev/zero | dd of=/mnt/fill bs=1M count=48 iflag=fullblock status=none; sync`)
	full := allocated(g.T, image)
	out := g.sh(`rm /mnt/fill; sync; fstrim -v /mnt; umount /mnt; e2fsck -f -n ` + n.volume + ` 2>&1`)
	empty := allocated(g.T, image)
	g.Logf("%d MiB allocated before, %d MiB after: %s", full>>20, empty>>20, out)
	if freed := full - empty; freed < 44<<20 {
		g.Errorf("fstrim freed %d MiB of 48", freed>>20)
	}
}
