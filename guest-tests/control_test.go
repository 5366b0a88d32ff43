package guesttests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/ioverify"
	"golang.org/x/sys/unix"
)

// TestControl steers a stock kernel from outside while it runs: disks come, grow and
// go, the machine is paused, its power button pressed. At the end the kernel panics,
// which ends the machine with a status of its own.
func TestControl(t *testing.T) {
	t.Parallel()
	v := onGovmm(t, "the commands are govmm's")
	v.Args = append(v.Args, "--watchdog", "exit", "--on-panic", "exit")
	disk, other := image(t, "64M"), image(t, "96M")
	g := startControlled(t, v, debian12(t, disk))
	events := follow(g)

	g.sh(`for m in evdev button pvpanic pvpanic-mmio watchdog i6300esb sg; do
			insmod $(find / -xdev -name $m.ko)
		done`)
	if log := g.run("dmesg"); !strings.Contains(log, "i6300ESB timer 0x25ab detected") && !strings.Contains(log, "initialized. heartbeat") {
		t.Errorf("the kernel has not found the watchdog:\n%s", lastLines(log, 10))
	}

	g.clearLog()
	g.ctl("disk", "add", "data", "path="+other)
	g.sh(`n=0; while [ ! -b /dev/sdb ]; do n=$((n+1)); [ $n -lt 2000 ]; sleep 0.1; done
		dd if=/dev/zero of=/dev/sdb bs=1M count=4 oflag=direct status=none`)
	g.ctl("disk", "resize", "data", "128M")
	if size := g.sh(`echo 1 > /sys/block/sdb/device/rescan; blockdev --getsize64 /dev/sdb`); strings.TrimSpace(size) != "134217728" {
		t.Errorf("the guest sees %s bytes after the disk grew to 128M", size)
	}
	g.ctl("snapshot", "create", "data", "one")
	g.ctl("disk", "remove", "data")
	g.sh(`n=0; while [ -e /sys/block/sdb ]; do n=$((n+1)); [ $n -lt 2000 ]; sleep 0.1; done`)
	checkImage(t, other)
	if list := qemuImg(t, "snapshot", "-l", other); !strings.Contains(list, "one") {
		t.Errorf("qemu-img sees no snapshot: %s", list)
	}
	hotPlug(g)

	hostFull(g)

	g.ctl("stop")
	if s := g.ctl("status"); !strings.HasPrefix(s, "paused") {
		t.Errorf("status %q", s)
	}
	g.ctl("cont")
	suspend(g)
	// The button is an input device. Its event has type 1 (a key), code 116 (power) and
	// value 1 (pressed).
	g.sh(`dd if=/dev/sda of=/dev/null bs=1M iflag=direct status=none
		cd /sys/class/input
		event=$(grep -l 'Power Button' event*/device/name | head -n 1)
		exec 3< /dev/input/${event%%/*}
		dd bs=24 count=1 status=none <&3 > /tmp/key 2> /tmp/error &`)
	g.ctl("shutdown")
	if key := g.sh(`n=0; while [ ! -s /tmp/key ] && [ $n -lt 2000 ]; do n=$((n+1)); sleep 0.1; done
		od -An -tx1 -j16 /tmp/key`); strings.Join(strings.Fields(key), " ") != "01 00 74 00 01 00 00 00" {
		t.Errorf("the power button arrives as %q; %s", key, g.sh("cat /tmp/error; grep -i acpi /proc/interrupts; ls -l /dev/input; cat /proc/bus/input/devices; dmesg | tail -n 20"))
	}
	if stats := g.ctl("stats"); !strings.Contains(stats, "accesses: megasas") {
		t.Errorf("figures: %s", stats)
	}

	g.run("sh", "-c", "(sleep 0.5; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &")
	if err := g.machine.Wait(g.ctx); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("after a panic: %v", err)
	}
	checkImage(t, disk)
	seen := events()
	for _, want := range []string{"MEGASAS_EVENT", "Inserted: PD", "DEVICE_DELETED", "BLOCK_IO_ERROR", `"nospace":true`, `"action":"report"`, `"action":"stop"`, "STOP", "RESUME", "POWERDOWN", "GUEST_PANICKED", "SHUTDOWN"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %s among the events:\n%s", want, seen)
		}
	}
}

// hostFull gives the guest a disk on a file system of the host that has room for half of
// it. With werror=report the guest learns that of the write that needs more, and goes on
// when there is room. Else the machine stands still until there is, and the guest notices
// nothing.
func hostFull(g *guest) {
	g.Helper()
	dir := g.TempDir()
	const room = 8 << 20
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", room)); errors.Is(err, unix.EPERM) {
		g.Log("only root can mount a file system that has little room: no disk gets full")
		return
	} else if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			g.Error(err)
		}
	})
	disk, ballast := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "ballast")
	plug := func(keys string) {
		qemuImg(g.T, "create", "-q", "-f", "qcow2", disk, "16M")
		if err := os.WriteFile(ballast, make([]byte, room/2), 0o600); err != nil {
			g.Fatal(err)
		}
		g.ctl("disk", "add", "small", "path="+disk+keys)
		g.until("test -b /dev/sdb")
	}
	makeRoom := func() {
		if err := os.Remove(ballast); err != nil {
			g.Fatal(err)
		}
	}
	unplug := func() {
		g.ctl("disk", "remove", "small")
		g.until("test ! -e /sys/block/sdb")
		checkImage(g.T, disk)
	}

	plug(",werror=report")
	g.sh(`dd if=/dev/urandom of=/tmp/data bs=64k count=96 status=none
		! dd if=/tmp/data of=/dev/sdb bs=64k oflag=direct 2>/tmp/error
		grep 'No space left on device' /tmp/error`)
	makeRoom()
	g.sh(`dd if=/tmp/data of=/dev/sdb bs=64k oflag=direct status=none
		dd if=/dev/sdb bs=64k count=96 iflag=direct status=none | cmp - /tmp/data
		rm /tmp/data`)
	unplug()

	plug("")
	g.clearLog()
	load := ioverify.Plan{Seed: 21, Length: 6 << 20, Workers: 4, Operations: 200, Sizes: []int{4096, 65536}, Reads: 20}
	// The guest does not answer while the machine stands still.
	verified := make(chan error, 1)
	go func() {
		_, err := g.machine.Output(g.ctx, append([]string{"/init", "io-verify", "--dev", "/dev/sdb"}, load.Args()...)...)
		verified <- err
	}()
	g.stopsForIO()
	g.ctl("cont") // it tries again, and fails again
	g.stopsForIO()
	makeRoom()
	g.ctl("cont")
	if err := <-verified; err != nil {
		g.Error(err)
	}
	if log := g.run("dmesg"); trouble.MatchString(log) {
		g.Errorf("the guest noticed that its disk's file system was full:\n%s", lastLines(log, 40))
	}
	unplug()
}

// stopsForIO waits until the machine stands still after an I/O error.
func (g *guest) stopsForIO() {
	g.Helper()
	for !strings.HasPrefix(g.ctl("status"), "io-error") {
		if err := g.ctx.Err(); err != nil {
			g.Fatalf("the machine does not stop: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// follow collects what "govmm ctl events" prints. The function returned waits for its
// end.
func follow(g *guest) func() string {
	g.Helper()
	var out bytes.Buffer
	cmd := g.control("events")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Minute
	if err := cmd.Start(); err != nil {
		g.Fatal(err)
	}
	wait := sync.OnceFunc(func() { _ = cmd.Wait() })
	g.Cleanup(func() {
		_ = cmd.Process.Kill()
		wait()
	})
	return func() string {
		wait()
		return out.String()
	}
}

// suspend sends the guest to sleep and wakes it by its power button: the controller's
// driver shuts it down and starts it again, I/O goes on, and the driver hears of events.
func suspend(g *guest) {
	g.Helper()
	g.Logf("states of sleep: %s", strings.Join(strings.Fields(g.sh("cat /sys/power/state /sys/power/mem_sleep")), " "))
	g.clearLog()
	g.sh(`dd if=/dev/urandom of=/dev/sda bs=1M count=4 oflag=direct status=none
		dd if=/dev/sda bs=1M count=4 iflag=direct status=none | sha256sum > /tmp/sum
		(while ! test -e /tmp/stop; do dd if=/dev/sda of=/dev/null bs=1M iflag=direct status=none || touch /tmp/failed; done; touch /tmp/ended) > /dev/null 2>&1 < /dev/null &
		(until echo freeze > /sys/power/state; do sleep 0.1; done; echo awake 1. > /dev/ttyS0) > /dev/null 2>&1 < /dev/null &`)
	// Nothing may be said to the agent while its port is asleep. A button that comes
	// too early is one press more.
	for g.progress("awake") < 0 {
		g.ctl("shutdown")
		for n := 0; n < 30 && g.progress("awake") < 0; n++ {
			if err := g.ctx.Err(); err != nil {
				g.Fatalf("the guest does not wake up: %v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	g.run("touch", "/tmp/stop")
	g.until(`test -e /tmp/ended`)
	g.sh(`test ! -e /tmp/failed
		dd if=/dev/sda bs=1M count=4 iflag=direct status=none | sha256sum | cmp - /tmp/sum`)
	log := g.run("dmesg", "-c")
	if !strings.Contains(log, "PM: suspend exit") || !strings.Contains(log, "megasas_resume") && !strings.Contains(log, "Ready state") || trouble.MatchString(log) {
		g.Errorf("after its sleep the kernel says:\n%s", lastLines(log, 40))
	}
	comeAndGo(g, 0, "/dev/sda")
}
