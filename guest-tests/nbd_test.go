package guesttests

import (
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/initramfs"
)

// TestKernelNBD has a Linux kernel's own NBD client use "govmm nbd", which runs in the
// same guest and serves an image on the guest's disk: fio verifies at depth 32 with and
// without FUA, a file system is made, filled and trimmed, and both images are in order
// at the end.
func TestKernelNBD(t *testing.T) {
	if !long() {
		t.Skip("about a server that other tests try with other clients: in make test-long")
	}
	t.Parallel()
	v := onGovmm(t, "about govmm nbd")
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := artefacts.Kernel(harness.Debian12)
	unavailable(t, err)
	initrd, err := artefacts.InitrdWith(t.Context(), tree, "-nbd", initramfs.Extra{
		Modules: []string{"nbd"}, Tools: append([]string{"fstrim"}, fioTools.Tools...), Files: []string{v.Path},
	})
	if err != nil {
		t.Fatal(err)
	}
	disk := image(t, "512M")
	g := start(t, v, harness.Guest{Kernel: tree.VMLinux(), Initrd: initrd, Disks: []harness.Disk{{Path: disk}}, Memory: "768M"})
	t.Cleanup(func() {
		if t.Failed() && g.ctx.Err() == nil {
			t.Logf("server and client say:\n%s", g.sh("cat /tmp/server /tmp/client; true"))
		}
	})
	g.sh(`chmod +x ` + v.Path + `
		mkfs.ext4 -q -F /dev/sda; mount -t ext4 /dev/sda /mnt
		` + v.Path + ` img create -q -f qcow2 /mnt/served.qcow2 256M`)
	g.sh(`(` + v.Path + ` nbd --once --socket /tmp/nbd /mnt/served.qcow2 > /tmp/server 2>&1 < /dev/null; echo $? > /tmp/served) > /dev/null 2>&1 < /dev/null &
		until test -S /tmp/nbd; do sleep 0.1; done`)
	g.sh(`(/init nbd /tmp/nbd /dev/nbd0 > /tmp/client 2>&1 < /dev/null; echo ended > /tmp/ended) > /dev/null 2>&1 < /dev/null &
		until test "$(blockdev --getsize64 /dev/nbd0)" = 268435456; do sleep 0.1; done`)
	if queue := g.sh(`cd /sys/block/nbd0/queue; cat write_cache fua`); strings.Join(strings.Fields(queue), " ") != "write back 1" {
		t.Errorf("the device's cache and FUA are %q", queue)
	}
	for _, job := range []fioJob{
		{offset: 1 << 20, size: 2 << 20, block: 4096},
		{offset: 100 << 20, size: 12 << 20, block: 96 << 10},
		{offset: 200 << 20, size: 1 << 20, block: 4096, fua: true},
	} {
		begun := time.Now()
		r := parseFio(t, []byte(g.patiently("fio "+strings.Join(job.args("/dev/nbd0"), " ")+" --do_verify=1")))
		t.Logf("%d blocks of %d bytes: %v", job.size/job.block, job.block, time.Since(begun))
		blocks := job.size / job.block
		if j := r.Jobs[0]; j.Error != 0 || j.Write.IOs != blocks || j.Read.IOs != blocks {
			t.Errorf("of %d blocks %d written, %d verified, error %d", blocks, j.Write.IOs, j.Read.IOs, j.Error)
		}
	}
	g.patiently(`mkfs.ext4 -q -F /dev/nbd0
		mkdir /tmp/disk; mount -t ext4 /dev/nbd0 /tmp/disk
		cp /usr/lib/x86_64-linux-gnu/*.so* /tmp/disk
		cd /tmp/disk; find . -type f | sort | xargs sha256sum > /tmp/sums; cd /
		umount /tmp/disk; echo 3 > /proc/sys/vm/drop_caches
		mount -t ext4 /dev/nbd0 /tmp/disk
		cd /tmp/disk; sha256sum --check --quiet --strict /tmp/sums; rm *.so*; cd /
		sync; fstrim -v /tmp/disk; umount /tmp/disk
		e2fsck -f -n /dev/nbd0 2>&1`)
	g.sh(`/init nbd /dev/nbd0
		until test -e /tmp/ended && test -e /tmp/served; do sleep 0.1; done
		test "$(cat /tmp/served)" = 0
		` + v.Path + ` img check /mnt/served.qcow2
		umount /mnt; e2fsck -f -n /dev/sda 2>&1`)
	if said := g.sh("cat /tmp/client"); said != "" {
		t.Errorf("the client says %q", said)
	}
	if log := g.run("dmesg"); trouble.MatchString(log) {
		t.Errorf("the kernel complains:\n%s", lastLines(log, 40))
	}
	g.powerOff()
	checkImage(t, disk)
}
