package guesttests

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/harness"
)

// bootLimit is for one start of a whole Debian in a nested machine, which takes a
// minute and a half on a calm host, or for the installation of a kernel.
const bootLimit = 15 * time.Minute

// pc is a machine that boots its disks, as a person at its console sees it.
type pc struct {
	*testing.T
	*harness.Dialogue
	started time.Time
}

// bootDisks starts govmm on disks, without a kernel.
func bootDisks(t *testing.T, args ...string) *pc {
	t.Helper()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip("boots disks through govmm's command line")
	}
	argv := append([]string{v.Path, "run", "--memory", "512M"}, v.Nest...)
	d, err := harness.Converse(append(argv, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Stop()
		if t.Failed() {
			t.Logf("the end of the console:\n%s", lastLines(d.Output(), consoleLines))
		}
	})
	return &pc{t, d, time.Now()}
}

// expect waits for a text on the console.
func (p *pc) expect(text string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), bootLimit)
	defer cancel()
	before, err := p.Expect(ctx, text)
	if err != nil {
		p.Fatal(err)
	}
	p.Logf("%5.1f s: %q", time.Since(p.started).Seconds(), text)
	return before
}

// logIn waits for the login prompt and logs in as root.
func (p *pc) logIn() {
	p.Helper()
	p.expect("guest login: ")
	p.send("root\r")
	p.expect("# ")
	p.sh("stty -echo; PS1=; PS2=; TERM=dumb")
}

func (p *pc) send(keys string) {
	p.Helper()
	if err := p.Type(keys); err != nil {
		p.Fatal(err)
	}
}

// sh runs a command in the shell that is logged in, and returns its output. It
// must succeed.
func (p *pc) sh(command string) string {
	p.Helper()
	// The mark is put together by the shell, so that an echo is not it.
	p.send(command + "; echo STA''TUS=$?\r")
	ctx, cancel := context.WithTimeout(p.Context(), bootLimit)
	defer cancel()
	out, err := p.Expect(ctx, "STATUS=")
	if err != nil {
		p.Fatalf("%s: %v", command, err)
	}
	if status, err := p.Expect(ctx, "\r\n"); err != nil || status != "0" {
		p.Fatalf("%s: status %s, %v: %s", command, status, err, out)
	}
	p.Logf("%5.1f s: %s", time.Since(p.started).Seconds(), command)
	return out
}

// slowHost is what a kernel says of its clocks where the host is slow: these guests
// have the parameters that an installed system has.
var slowHost = regexp.MustCompile(`clocksource|hrtimer|perf: interrupt took`)

// checkLog checks that the kernel has not complained.
func (p *pc) checkLog() {
	p.Helper()
	log, err := parseLog(strings.ReplaceAll(p.sh("dmesg -r | grep '^<[0-4]>'; true"), "\r", ""))
	if err != nil {
		p.Fatal(err)
	}
	for _, r := range complaints(log) {
		if slowHost.MatchString(r.text) {
			p.Logf("level %d: %q", r.level, r.text)
			continue
		}
		p.Errorf("the kernel complains (level %d): %q", r.level, r.text)
	}
}

// powerOff switches the guest off, which must end govmm in good order.
func (p *pc) powerOff() {
	p.Helper()
	p.send("systemctl poweroff\r")
	p.awaitOff()
}

// awaitOff waits until the machine is off and govmm has ended in good order.
func (p *pc) awaitOff() {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), bootLimit)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		p.Fatal(err)
	}
	p.Logf("%5.1f s: off", time.Since(p.started).Seconds())
}

// debianDisk is a disk of its own with the Debian that the set-up installed.
func debianDisk(t *testing.T) string {
	t.Helper()
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		t.Fatal(err)
	}
	installed := artefacts.Build("debian", "disk.qcow2")
	if _, err := os.Stat(installed); err != nil {
		unavailable(t, fmt.Errorf("%w: %w", err, harness.ErrNotSetUp))
	}
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", installed, "-F", "qcow2", disk)
	return disk
}

// iso makes an image of a disc with a file called data, and returns the file's
// SHA-256 sum.
func iso(t *testing.T) (path, sum string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(t.TempDir(), "disc.iso")
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i) ^ byte(i>>11)
	}
	if err := os.WriteFile(filepath.Join(dir, "data"), data, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-V", "TEST", "-o", path, dir).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(data))
}

// TestDebianDisk holds that a Debian that was installed on a disk boots from it
// unchanged: SeaBIOS, GRUB's menu on the text screen, the kernel and initramfs by
// INT 13h, systemd, a login prompt on the serial console. It reads the disc in the
// CD-ROM drive. What it wrote is there afterwards, and the image is in order. At
// length, it installs another kernel in the guest, and boots that in another machine.
func TestDebianDisk(t *testing.T) {
	t.Parallel()
	disk := debianDisk(t)
	iso, sum := iso(t)
	args := []string{"--disk", disk + ",cache=writeback", "--cdrom", iso}
	upgrade := os.Getenv("GOVMM_TEST_LONG") != ""
	if upgrade {
		artefacts, err := harness.FindArtefacts()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--disk", "path="+artefacts.Build("debian", "upgrade.img")+",format=raw,readonly=on")
	}
	p := bootDisks(t, args...)
	p.expect("GNU GRUB")
	p.expect("Debian GNU/Linux")
	p.logIn()
	first := p.sh("uname -r")
	// With two disks, either may be the one that the kernel names first.
	p.sh("grep -q '^/dev/sd[ab]1 / ext4 rw' /proc/mounts || { grep ' / ' /proc/mounts; false; }")
	p.sh("systemctl is-system-running --wait; ! systemctl --failed --plain --no-legend | grep .")
	p.checkLog()
	p.sh("mount /dev/sr0 /mnt")
	if got := p.sh("sha256sum </mnt/data"); !strings.HasPrefix(got, sum) {
		t.Errorf("the disc has the sum %q, want %q", got, sum)
	}
	p.sh("umount /mnt")
	p.sh("echo written in the guest >/root/mark; sync")
	if upgrade {
		// What the scripts of the package do by starting hundreds of programs takes
		// minutes on an emulated processor: they get less to do.
		p.sh(`printf 'BUSYBOX=n\nFSTYPE=ext4\nKEYMAP=n\nRESUME=none\n' >/etc/initramfs-tools/conf.d/less`)
		p.sh(`printf 'GRUB_DISABLE_RECOVERY=true\nGRUB_DISABLE_SUBMENU=y\n' >>/etc/default/grub`)
		p.sh("for d in a b; do [ -e /dev/sd${d}1 ] || mount -o ro /dev/sd$d /mnt; done")
		p.sh("dpkg -i /mnt/*.deb && umount /mnt")
		// Not by a reset: of code that was emulated before, an emulator keeps account in lists,
		// which are so long by now that to write over it takes a boot loader minutes.
		p.powerOff()
		p = bootDisks(t, args...)
		p.expect("GNU GRUB")
		p.logIn()
		if second := p.sh("uname -r"); second == first {
			t.Errorf("after the upgrade the kernel is %q as before", second)
		} else {
			t.Logf("kernel %q, then %q", first, second)
		}
		p.sh("grep -q guest /root/mark")
		p.checkLog()
	}
	p.powerOff()
	checkImage(t, disk)
}
