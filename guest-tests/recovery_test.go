package guesttests

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// TestControllerRecovers has the controller go wrong in every way that it can be told
// to, and the stock driver do what it does about each: where it recovers, nothing of it
// reaches the file system and all files are as they were written; where it gives the
// controller up, nothing hangs, and the driver loaded again finds the disk and its data.
// A reset takes the driver 41 seconds, a command that does not end 20 more.
func TestControllerRecovers(t *testing.T) {
	t.Parallel()
	v := onGovmm(t, "QEMU's controller cannot be made to fail")
	for _, boot := range []struct {
		name string
		long bool // only in make test-long
		run  func(*guest)
	}{
		{"fault", false, func(g *guest) {
			g.Run("answers", func(t *testing.T) { badAnswers(g.with(t)) })
			g.Run("reset", func(t *testing.T) {
				g := g.with(t)
				recovers(g, mishap{
					faults: []string{"20 LD_WRITE: drop-interrupt", "30 LD_WRITE: answer SCSI_IO_FAILED",
						"40 LD_READ: answer SCSI_IO_FAILED", "60 LD_WRITE: fault 0xabc"},
					said: faultSaid, atLeast: 40 * time.Second, plugged: true,
				})
			})
		}},
		{"timeouts", true, func(g *guest) {
			g.Run("lost interrupt", func(t *testing.T) { lostInterrupt(g.with(t)) })
			g.Run("silent fault", func(t *testing.T) {
				recovers(g.with(t), mishap{faults: []string{"60 LD_WRITE: fault 0xabc silent"}, said: resetSaid, atLeast: 60 * time.Second})
			})
			g.Run("write that never ends", func(t *testing.T) {
				recovers(g.with(t), mishap{faults: []string{"60 LD_WRITE: hold"}, said: resetSaid, atLeast: 60 * time.Second})
			})
		}},
		{"slow reset", true, func(g *guest) {
			g.Run("60 seconds in fault", func(t *testing.T) {
				recovers(g.with(t), mishap{faults: []string{"60 LD_WRITE: stay-in-fault 60s", "60 LD_WRITE: fault 1"},
					said: faultSaid, atLeast: 60 * time.Second, plugged: true})
			})
			g.Run("management command that never ends", func(t *testing.T) { heldManagement(g.with(t)) })
		}},
		{"reset forbidden", true, func(g *guest) { resetForbidden(g) }},
		{"endless fault", true, func(g *guest) {
			givesUp(g, []string{"1 LD_WRITE: stay-in-fault 600s", "1 LD_WRITE: fault 1"}, faultSaid, "adapter not ready")
		}},
		{"diagnostic register locked", true, func(g *guest) {
			givesUp(g, []string{"1 LD_WRITE: lock-diagnostic", "1 LD_WRITE: fault 1"}, faultSaid, "adapter not ready")
		}},
	} {
		t.Run(boot.name, func(t *testing.T) {
			if boot.long && !long() {
				t.Skip("takes minutes: in make test-long")
			}
			t.Parallel()
			disk := image(t, "256M")
			machine := debian12(t, disk)
			machine.Append = "megaraid_sas." + strings.Join(shortTimeouts, " megaraid_sas.")
			g := startControlled(t, v, machine)
			boot.run(g)
			g.powerOff()
			checkImage(t, disk)
		})
	}
}

// shortTimeouts are parameters of the driver: error handling begins after two timeouts
// of a command, instead of three minutes, and waits a second, instead of three minutes.
var shortTimeouts = []string{"scmd_timeout=10", "resetwaittime=1"}

// What the driver says when it was told of a fault, and when it resets the controller
// since commands do not end.
const (
	faultSaid = "FW detected to be in faultstate"
	resetSaid = "ADP_RESET_GEN2"
)

// mishap is something that goes wrong with the controller and comes right again.
type mishap struct {
	faults  []string // as "govmm ctl fault" takes them
	said    string   // what the driver says then
	atLeast time.Duration
	plugged bool // whether a disk comes meanwhile
}

// recovers has files written and read while the mishap comes.
func recovers(g *guest, m mishap) {
	g.Helper()
	g.clearLog()
	g.ctl(append([]string{"fault"}, m.faults...)...)
	begun := time.Now()
	g.sh(`cat > /tmp/load <<'END'
			mkfs.ext4 -q -F /dev/sda; mount -t ext4 /dev/sda /mnt; cd /mnt
			for i in $(seq 16); do dd if=/dev/urandom of=f$i bs=64k count=16 oflag=direct conv=fsync status=none; done
			sha256sum f* > SUMS; sync; echo 3 > /proc/sys/vm/drop_caches
			sha256sum --check --quiet --strict SUMS; cd /; umount /mnt; e2fsck -f -n /dev/sda 2>&1
END
		rm -f /tmp/ended
		(sh -e /tmp/load > /tmp/said 2>&1 && echo done > /tmp/ended || echo failed > /tmp/ended) > /dev/null 2>&1 < /dev/null &`)
	if m.plugged {
		g.until(`dmesg | grep -q "` + m.said + `"`)
		g.ctl("disk", "add", "late", "path="+image(g.T, "8M"))
	}
	g.until("test -s /tmp/ended")
	if out := g.sh("cat /tmp/ended /tmp/said"); !strings.HasPrefix(out, "done") {
		g.Errorf("the load: %s", out)
	}
	if took := time.Since(begun); took < m.atLeast {
		g.Errorf("took %v: was there a reset at all?", took)
	}
	log := g.run("dmesg")
	if !strings.Contains(log, m.said) {
		g.Errorf("the driver has not noticed:\n%s", lastLines(log, 30))
	}
	if found := trouble.FindString(log); found != "" {
		g.Errorf("the kernel says %q:\n%s", found, lastLines(log, 40))
	}
	// The driver listens to the event log again, and has missed nothing of it.
	if m.plugged {
		g.run("/init", "await-disks", "2")
		g.ctl("disk", "remove", "late")
		g.run("/init", "await-disks", "1")
	}
	agree(g)
	comeAndGo(g, 0, "/dev/sda")
}

// oneRead reads a block of the disk past the cache.
const oneRead = "dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct status=none"

// badAnswers has the firmware end reads with what a failing card answers: what can be
// repeated is, what cannot reaches the reader, and the disk stays.
func badAnswers(g *guest) {
	for _, tt := range []struct {
		answer string
		fails  bool
		said   string
	}{
		{"SCSI_IO_FAILED", false, ""},
		{"SCSI_DONE_WITH_ERROR 6/29/00", false, ""}, // power on or reset
		{"LD_OFFLINE", true, "I/O error, dev sda"},
		{"SCSI_DONE_WITH_ERROR 3/11/00", true, "Unrecovered read error"},
	} {
		g.clearLog()
		g.ctl("fault", "1 LD_READ: answer "+tt.answer)
		if res, err := g.machine.Run(g.ctx, "sh", "-c", oneRead); err != nil || (res.Exit != 0) != tt.fails {
			g.Errorf("%s: the read's status is %d, %v: %s", tt.answer, res.Exit, err, res.Stderr)
		}
		if log := g.run("dmesg"); !strings.Contains(log, tt.said) || !tt.fails && trouble.MatchString(log) {
			g.Errorf("%s: the kernel says\n%s", tt.answer, log)
		}
		g.sh(oneRead)
	}
}

// lostInterrupt loses the interrupt of a read that nothing follows. The driver finds the
// reply when it looks for what has become of the command, and resets nothing.
func lostInterrupt(g *guest) {
	g.clearLog()
	g.ctl("fault", "1 LD_READ: drop-interrupt")
	begun := time.Now()
	g.sh(oneRead)
	if took := time.Since(begun); took < 10*time.Second {
		g.Errorf("the read took %v: was the interrupt lost at all?", took)
	}
	if log := g.run("dmesg"); strings.Contains(log, resetSaid) || trouble.MatchString(log) {
		g.Errorf("the kernel says\n%s", lastLines(log, 40))
	}
}

// heldManagement has a tool's management command not come back: the tool waits, all else
// goes on, and a reset has the driver send it again.
func heldManagement(g *guest) {
	g.clearLog()
	want := g.run("/init", "mfi", fmt.Sprintf("%x:64", uint32(mfi.OpCtrlGetProperties)))
	outstanding := func() int {
		return g.figure("frames posted") - g.figure("frames completed") - g.figure("frames abandoned")
	}
	before := outstanding()
	g.ctl("fault", "1 CTRL_GET_PROPERTIES: hold")
	g.sh(fmt.Sprintf(`rm -f /tmp/ended; (/init mfi %x:64 > /tmp/answer 2>&1; echo ended > /tmp/ended) > /dev/null 2>&1 < /dev/null &`, uint32(mfi.OpCtrlGetProperties)))
	for outstanding() <= before {
		if err := g.ctx.Err(); err != nil {
			g.Fatalf("the command is not held: %v", err)
		}
	}
	g.sh(oneRead)
	g.sh("test ! -e /tmp/ended")
	g.ctl("fault", "1 LD_READ: fault 1")
	g.sh(oneRead)
	g.until("test -e /tmp/ended")
	if got := g.run("cat", "/tmp/answer"); got != want {
		g.Errorf("the tool was answered %q, want %q", got, want)
	}
	if log := g.run("dmesg"); !strings.Contains(log, faultSaid) || trouble.MatchString(log) {
		g.Errorf("the kernel says\n%s", lastLines(log, 40))
	}
	comeAndGo(g, 0, "/dev/sda")
}

// figure is a number that "govmm ctl stats" prints with its name.
func (g *guest) figure(name string) (n int) {
	g.Helper()
	for line := range strings.Lines(g.ctl("stats")) {
		if number, ok := strings.CutSuffix(strings.TrimSpace(line), name); ok {
			if _, err := fmt.Sscan(number, &n); err != nil {
				g.Fatalf("%q: %v", line, err)
			}
			return n
		}
	}
	g.Fatalf("no figure is called %q", name)
	return 0
}

// resetForbidden sets the property by which the driver must not reset the controller. It
// hears of that by an event. After a fault it can only give up.
func resetForbidden(g *guest) {
	set := func(forbidden bool) {
		p := bytes.Clone(g.ask(mfi.OpCtrlGetProperties, 64))
		const at, bit = 0x21, mfi.PropDisableOCR >> 8
		p[at] &^= bit
		said := "OCR).*Enabled"
		if forbidden {
			p[at] |= bit
			said = "OCR).*Disabled"
		}
		g.clearLog()
		if s, _ := g.manage(request{op: mfi.OpCtrlSetProperties, room: 64, data: p}); s[0] != mfi.StatusOK {
			g.Fatalf("CTRL_SET_PROPERTIES: %v", s[0])
		}
		g.until(`dmesg | grep -q "` + said + `"`)
	}
	set(true)
	givesUp(g, []string{"1 LD_WRITE: fault 1"}, "dis_OCR=1", "killing adapter")
	set(false)
	comeAndGo(g, 0, "/dev/sda")
}

// givesUp has the controller fail for good: the driver declares it dead and ends all
// I/O with errors, and the machine goes on. Loaded again, it resets the controller, and
// the disk has what was written. The driver has its say at the beginning and when it
// is through with the controller.
func givesUp(g *guest, faults []string, first, last string) {
	g.Helper()
	g.sh(`dd if=/dev/urandom of=/tmp/data bs=64k count=16 status=none; dd if=/tmp/data of=/dev/sda bs=64k oflag=direct status=none`)
	g.clearLog()
	g.ctl(append([]string{"fault"}, faults...)...)
	g.patiently(`dd if=/dev/zero of=/dev/sda bs=64k seek=100 count=1 oflag=direct status=none 2>/dev/null && exit 3
		dd if=/dev/sda of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null && exit 4
		true`)
	if s := g.ctl("status"); !strings.HasPrefix(s, "running") {
		g.Errorf("the machine is %s", s)
	}
	// A worker of the driver's goes on for minutes, in code that must not be taken away.
	g.until(`dmesg | grep -q "` + last + `"`)
	log := g.run("dmesg")
	if !strings.Contains(log, first) || !strings.Contains(log, "I/O error, dev sda") || confused.MatchString(log) {
		g.Errorf("the kernel says\n%s", lastLines(log, 60))
	}
	g.ctl("fault", "--clear")
	g.patiently(`rmmod megaraid_sas
		test ! -b /dev/sda
		dmesg -c > /dev/null
		insmod $(grep megaraid_sas /etc/modules) ` + strings.Join(shortTimeouts, " ") + `
		/init await-disks 1
		dd if=/dev/sda bs=64k count=16 iflag=direct status=none | cmp - /tmp/data`)
	if log := g.run("dmesg"); trouble.MatchString(log) {
		g.Errorf("loaded again, the kernel says\n%s", lastLines(log, 40))
	}
	agree(g)
	comeAndGo(g, 0, "/dev/sda")
}
