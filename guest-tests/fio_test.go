package guesttests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/initramfs"
)

// fioTools is what guests have more in which fio makes the load: fio with all the
// libraries that Debian's has, which is why other guests are without it.
var fioTools = initramfs.Extra{Tools: []string{"fio"}}

// fioGuest is a guest with Debian 12's kernel, fio and the disks.
func fioGuest(t *testing.T, disks ...harness.Disk) harness.Guest {
	t.Helper()
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := artefacts.Kernel(harness.Debian12)
	unavailable(t, err)
	initrd, err := artefacts.InitrdWith(t.Context(), tree, "-fio", fioTools)
	if err != nil {
		t.Fatal(err)
	}
	return harness.Guest{Kernel: tree.VMLinux(), Initrd: initrd, Disks: disks, Memory: "768M"}
}

// fioJob is a load of fio's that writes every block of an area once, in random
// order, each with a checksum and its own place in it.
type fioJob struct {
	offset, size, block int
	fua                 bool // every write is durable by itself
}

// args are the arguments of fio for the job on a file or device. They are the same
// for those who write and those who verify.
func (j fioJob) args(file string) []string {
	args := []string{
		"--name=job", "--filename=" + file, "--direct=1", "--ioengine=libaio", "--iodepth=32", "--rw=randwrite",
		fmt.Sprintf("--offset=%d", j.offset), fmt.Sprintf("--size=%d", j.size), fmt.Sprintf("--bs=%d", j.block),
		"--verify=crc32c", "--randseed=20", "--output-format=json",
	}
	if j.fua {
		args = append(args, "--sync=dsync")
	}
	return args
}

// fioReport is what matters here of what fio prints.
type fioReport struct {
	Jobs []struct {
		Error       int
		TotalErrors int `json:"total_err"`
		Write, Read struct {
			IOs int `json:"total_ios"`
		}
	}
}

func parseFio(t *testing.T, out []byte) fioReport {
	t.Helper()
	var r fioReport
	// Warnings may come first.
	if i := strings.IndexByte(string(out), '{'); i > 0 {
		out = out[i:]
	}
	if err := json.NewDecoder(strings.NewReader(string(out))).Decode(&r); err != nil || len(r.Jobs) != 1 {
		t.Fatalf("fio printed %q: %v", out, err)
	}
	return r
}

// verifyFio has fio, outside, look for the blocks of a job in an image, and returns how
// many are there.
func verifyFio(t *testing.T, image string, j fioJob) int {
	t.Helper()
	return j.size/j.block - len(missingFio(t, image, j))
}

// fioMisses is how fio tells of a block that is not as the job wrote it.
var fioMisses = regexp.MustCompile(`requested block: offset=(\d+), length=(\d+)`)

// missingFio has fio, outside, look for the blocks of a job in an image, as qemu-img
// unpacks it, and returns the offsets of those that are not as they were written.
func missingFio(t *testing.T, image string, j fioJob) map[int]bool {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	qemuImg(t, "convert", "-O", "raw", image, raw)
	defer os.Remove(raw)
	// Not --direct: the directory may be on a tmpfs.
	args := append(j.args(raw), "--direct=0", "--verify_only=1", "--continue_on_error=verify")
	cmd := exec.CommandContext(t.Context(), "fio", args...)
	cmd.Dir = t.TempDir() // where it leaves what it remembers of its work
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("fio: %v", err)
	}
	r := parseFio(t, out)
	if blocks := j.size / j.block; r.Jobs[0].Read.IOs != blocks {
		t.Fatalf("fio looked at %d blocks of %d", r.Jobs[0].Read.IOs, blocks)
	}
	missing := make(map[int]bool)
	for _, m := range fioMisses.FindAllStringSubmatch(stderr.String(), -1) {
		offset, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatalf("%q: %v", m[0], err)
		}
		missing[offset] = true
	}
	if len(missing) != r.Jobs[0].TotalErrors {
		t.Fatalf("fio tells of %d blocks, and counts %d", len(missing), r.Jobs[0].TotalErrors)
	}
	return missing
}

// TestFio has fio write and verify at depth 32 with direct I/O: volumes in
// write-through and system drives with a cache, with FUA as well, and with blocks of
// 512 and of 4096 bytes. Then fio outside finds the same in the images.
func TestFio(t *testing.T) {
	t.Parallel()
	v := onGovmm(t, "about drives that only govmm has")
	size := 2 << 20
	if long() {
		size = 64 << 20
	}
	const volume, drive, large, advanced = 0, 1, 2, 3
	disks := []struct {
		options, address, queue string // queue: kind of cache, FUA, sizes of blocks
		image                   string
	}{
		volume:   {"", "2:0", "write through 0 512 512", ""},
		drive:    {"use=system", "0:1", "write back 1 512 512", ""},
		large:    {"logical_block_size=4096", "2:1", "write through 0 4096 4096", ""},
		advanced: {"use=system,physical_block_size=4096", "0:3", "write back 1 512 4096", ""},
	}
	var guest []harness.Disk
	for i := range disks {
		d := &disks[i]
		d.image = image(t, "256M")
		guest = append(guest, harness.Disk{Path: d.image, Options: d.options})
	}
	g := start(t, v, fioGuest(t, guest...))
	name := func(disk int) string { return g.diskAt(disks[disk].address) }
	for i, d := range disks {
		got := g.sh(`cd /sys/block/` + name(i) + `/queue; cat write_cache fua logical_block_size physical_block_size`)
		if strings.Join(strings.Fields(got), " ") != d.queue {
			t.Errorf("disk %q: cache, FUA and blocks are %q, want %s", d.options, got, d.queue)
		}
	}
	for _, tt := range []struct {
		name string
		disk int
		job  fioJob
	}{
		{"volume, 4k", volume, fioJob{offset: 1 << 20, size: size, block: 4096}},
		{"volume, 96k", volume, fioJob{offset: 100 << 20, size: 6 * size, block: 96 << 10}},
		{"drive, 4k", drive, fioJob{offset: 1 << 20, size: size, block: 4096}},
		{"drive, 4k with FUA", drive, fioJob{offset: 100 << 20, size: size, block: 4096, fua: true}},
		{"volume of 4096-byte blocks", large, fioJob{offset: 1 << 20, size: size, block: 8192}},
		{"drive of advanced format", advanced, fioJob{offset: 1 << 20, size: size / 8, block: 512, fua: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := g.with(t)
			argv := append([]string{"fio"}, append(tt.job.args("/dev/"+name(tt.disk)), "--do_verify=1")...)
			r := parseFio(t, []byte(g.run(argv...)))
			blocks := tt.job.size / tt.job.block
			if j := r.Jobs[0]; j.Error != 0 || j.Write.IOs != blocks || j.Read.IOs != blocks {
				t.Errorf("of %d blocks %d written, %d verified, error %d", blocks, j.Write.IOs, j.Read.IOs, j.Error)
			}
			// What is durable is in the image while the guest runs.
			if d := disks[tt.disk]; tt.job.fua || strings.HasPrefix(d.queue, "write through") {
				if n := verifyFio(t, copyOf(t, d.image), tt.job); n != blocks {
					t.Errorf("%d of %d blocks are in the image", n, blocks)
				}
			}
		})
	}
	t.Run("driver unbound", func(t *testing.T) { unbind(g.with(t), []string{disks[volume].address, disks[drive].address}) })
	g.powerOff()
	for _, d := range disks {
		checkImage(t, d.image)
	}
	// So is what was only in the drive's cache, by now.
	for _, disk := range []int{volume, drive} {
		if n := verifyFio(t, disks[disk].image, fioJob{offset: 1 << 20, size: size, block: 4096}); n != size/4096 {
			t.Errorf("%d of %d blocks of disk %d are in the image", n, size/4096, disk)
		}
	}
}

// unbind takes the controller from its driver while fio writes to disks at depth 32, and
// gives it back, again and again: fio fails and ends, as nothing hangs, and the disks
// come back.
func unbind(g *guest, addresses []string) {
	rounds := 1
	if long() {
		rounds = 20
	}
	g.clearLog()
	for range rounds {
		var names []string
		for _, a := range addresses {
			names = append(names, g.diskAt(a))
		}
		g.sh(`cd /sys/bus/pci/drivers/megaraid_sas
			card=$(basename 0000:*) pids=
			writes() { set -- $(cat /sys/block/$1/stat); echo $5; }
			for d in ` + strings.Join(names, " ") + `; do
				writes $d > /tmp/before-$d
				fio --name=cut --filename=/dev/$d --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4096 \
					--offset=200M --size=32M --time_based --runtime=600 > /tmp/cut-$d 2>&1 < /dev/null &
				pids="$pids $!"
			done
			for d in ` + strings.Join(names, " ") + `; do
				until test $(writes $d) -gt $(($(cat /tmp/before-$d) + 500)); do sleep 0.1; done
			done
			echo $card > unbind
			for p in $pids; do
				wait $p && exit 3
			done
			ls -d /sys/block/sd* 2>/dev/null && exit 4
			echo $card > bind
			/init await-disks 4`)
	}
	if log := g.run("dmesg"); confused.MatchString(log) {
		g.Errorf("the kernel complains:\n%s", lastLines(log, 40))
	}
}

// diskAt is the name of the disk at an address, CHANNEL:TARGET, as in "sda".
func (g *guest) diskAt(address string) string {
	g.Helper()
	return strings.TrimSpace(g.sh(`basename $(ls -d /sys/bus/scsi/devices/*:` + address + `:0/block/sd*)`))
}

// copyOf copies an image that is in use as it is at a moment: what a crash would
// leave.
func copyOf(t *testing.T, image string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.qcow2")
	if out, err := exec.Command("cp", "--sparse=always", image, path).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return path
}
