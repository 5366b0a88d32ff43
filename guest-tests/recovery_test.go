package guesttests

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/harness"
)

// TestControllerRecovers has the controller go wrong under a file system, and
// the stock driver put it right: nothing of it reaches the file system, and all
// files are as they were written. A reset takes the driver 41 seconds.
func TestControllerRecovers(t *testing.T) {
	v := vmm(t)
	if v.Name() != "govmm" {
		t.Skip("QEMU's controller cannot be made to fail")
	}
	for _, tt := range []struct {
		name, script, said string
		long               bool // only in make test-long
		atLeast            time.Duration
	}{
		{
			name: "fault",
			script: `20 LD_WRITE: drop-interrupt
				30 LD_WRITE: answer SCSI_IO_FAILED
				40 LD_READ: answer SCSI_IO_FAILED
				120 LD_WRITE: fault 0xabc`,
			said: "FW detected to be in faultstate", atLeast: 40 * time.Second,
		},
		{name: "silent fault", script: "120 LD_WRITE: fault 0xabc silent", said: "resetting|reset", long: true, atLeast: 40 * time.Second},
		{name: "command that never ends", script: "120 LD_WRITE: hold", said: "resetting|reset", long: true, atLeast: 40 * time.Second},
		{name: "slow reset", script: "120 LD_WRITE: stay-in-fault 60s\n120 LD_WRITE: fault 1",
			said: "FW detected to be in faultstate", long: true, atLeast: 60 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long && os.Getenv("GOVMM_TEST_LONG") == "" {
				t.Skip("takes minutes: in make test-long")
			}
			t.Parallel()
			script := filepath.Join(t.TempDir(), "faults")
			if err := os.WriteFile(script, []byte(tt.script), 0o600); err != nil {
				t.Fatal(err)
			}
			disk := image(t, "256M")
			govmm := v.(harness.Govmm)
			govmm.Args = append(govmm.Args, "--controller", "faults="+script)
			machine := debian12(t, disk)
			machine.Append = "megaraid_sas.scmd_timeout=10 megaraid_sas.resetwaittime=1"
			g := start(t, govmm, machine)
			begun := time.Now()
			g.sh(`mkfs.ext4 -q -F /dev/sda; mount -t ext4 /dev/sda /mnt; cd /mnt
				for i in $(seq 24); do dd if=/dev/urandom of=f$i bs=64k count=16 oflag=direct conv=fsync status=none; done
				sha256sum f* > SUMS; sync; echo 3 > /proc/sys/vm/drop_caches
				sha256sum --check --quiet --strict SUMS; cd /; umount /mnt; e2fsck -f -n /dev/sda 2>&1`)
			if took := time.Since(begun); took < tt.atLeast {
				t.Errorf("took %v: was there a reset at all?", took)
			}
			log := g.run("dmesg")
			if !regexp.MustCompile(tt.said).MatchString(log) {
				t.Errorf("the driver has not noticed:\n%s", lastLines(log, 30))
			}
			if found := regexp.MustCompile(`I/O error.*|EXT4-fs (error|warning).*|offline.*|Call Trace.*|[Uu]nknown command completed.*`).FindString(log); found != "" {
				t.Errorf("the kernel says %q:\n%s", found, lastLines(log, 40))
			}
			// The driver listens to the event log again.
			agree(g)
			comeAndGo(g, 0, "/dev/sda")
			g.until(`rmmod megaraid_sas`) // the disk that came is still being probed
			g.sh(`! test -b /dev/sda`)
			g.powerOff()
			checkImage(t, disk)
		})
	}
}
