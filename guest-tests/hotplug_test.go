package guesttests

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// hotPlug plugs disks into a running guest from outside and takes them out again: each
// appears, is used, and disappears without a scan, soon, and nothing of it stays behind,
// in the controller's lists, in the guest, which has one disk before and after, or in
// govmm. At length it does so a thousand times.
func hotPlug(g *guest) {
	g.Helper()
	// As many at once, for the time it takes; the first rounds are with one, to see how
	// long that is.
	single, together, batch := 4, 1, 4
	if long() {
		single, together, batch = 40, 30, 32
	}
	var names []string
	for i := range batch {
		names = append(names, fmt.Sprintf("data%d", i))
	}
	images := make([]string, batch)
	for i := range images {
		images[i] = image(g.T, "8M")
	}
	list, lists, nodes := g.ctl("disk", "list"), g.lists(), g.nodes()
	// await waits until the guest has n disks beside its own, and returns their names.
	await := func(n int) []string {
		return slices.DeleteFunc(strings.Fields(g.run("/init", "await-disks", strconv.Itoa(1+n))), func(name string) bool { return name == "sda" })
	}
	// How long it took to come or go is what waiting takes longer than when it is so
	// already: that a command in the guest is slow where the processor is emulated is not
	// the disk's fault.
	var commands []time.Duration
	timed := func(n int) time.Duration {
		begun := time.Now()
		await(n)
		took := time.Since(begun)
		begun = time.Now()
		await(n)
		command := time.Since(begun)
		commands = append(commands, command)
		return max(0, took-command)
	}
	round := func(n int) (appeared, disappeared time.Duration) {
		for i := range n {
			g.ctl("disk", "add", names[i], "path="+images[i])
		}
		appeared = timed(n)
		// A driver that works off the LD_DELETED of earlier disks may take away what has such
		// a target id by now, and bring it back: so a disk may be missing for a moment.
		g.until("(for d in $(/init await-disks " + strconv.Itoa(1+n) + "); do dd if=/dev/$d of=/dev/null bs=4k count=1 iflag=direct status=none || exit 1; done)")
		for i := range n {
			g.ctl("disk", "remove", names[i])
		}
		return appeared, timed(0)
	}
	var in, out []time.Duration
	for range single {
		a, d := round(1)
		in, out = append(in, a), append(out, d)
	}
	slices.Sort(in)
	slices.Sort(out)
	slices.Sort(commands)
	command := commands[len(commands)/2]
	g.Logf("a disk appears after %v, at most %v, and disappears after %v, at most %v; a command takes %v", in[single/2], in[single-1], out[single/2], out[single-1], command)
	// The host may be busy for a moment: the median counts. Where it is busy all the time, a
	// command in the guest tells how much.
	if soon := max(2*time.Second, 20*command); in[single/2] > soon || out[single/2] > soon {
		g.Errorf("disks take longer than %v to come or to go", soon)
	}
	free, slab := g.memory()
	files, goroutines, heap := g.figure("open files"), g.figure("goroutines"), g.figure("bytes of heap in use")
	begun := time.Now()
	for i := range together {
		round(batch)
		g.Logf("%d disks more, %d at a time: %v", (i+1)*batch, batch, time.Since(begun).Round(time.Millisecond))
	}

	if now := g.ctl("disk", "list"); now != list {
		g.Errorf("the disks were\n%sand are\n%s", list, now)
	}
	if now := g.lists(); now != lists {
		g.Errorf("lists of drives and volumes, and the configuration, were\n%s\nand are\n%s", lists, now)
	}
	if log := g.ask(mfi.OpCtrlEventGetInfo, 20); log.u32(0)-log.u32(4) > 4096 {
		g.Errorf("the event log keeps %d events", log.u32(0)-log.u32(4))
	}
	if now := g.nodes(); now != nodes {
		g.Errorf("the guest's devices were\n%sand are\n%s", nodes, now)
	}
	nowFree, nowSlab := g.memory()
	g.Logf("the guest has %d KiB less of memory, %d KiB more in slabs", free-nowFree, nowSlab-slab)
	// A disk that is not freed takes tens of KiB of slabs, a thousand tens of MiB.
	if free-nowFree > 32<<10 || nowSlab-slab > 16<<10 {
		g.Error("the guest's memory has not come back")
	}
	// The last connection ends in its own time.
	for ; g.figure("open files") > files || g.figure("goroutines") > goroutines; time.Sleep(10 * time.Millisecond) {
		if g.ctx.Err() != nil {
			g.Errorf("govmm has %d files open and %d goroutines, it had %d and %d", g.figure("open files"), g.figure("goroutines"), files, goroutines)
			break
		}
	}
	// The event log and the pools have their last share of it.
	now := g.figure("bytes of heap in use")
	g.Logf("govmm has %d KiB of heap in use, it had %d", now>>10, heap>>10)
	if now-heap > 4<<20 {
		g.Error("govmm's heap has grown")
	}
	if log := g.run("dmesg"); trouble.MatchString(log) {
		g.Errorf("the kernel complains:\n%s", lastLines(log, 40))
	}
	agree(g)
	for _, path := range images {
		checkImage(g.T, path)
	}
}

// lists is what the controller tells of drives and volumes.
func (g *guest) lists() string {
	g.Helper()
	return fmt.Sprintf("% x\n% x\n", g.ask(mfi.OpPDGetList, 1024), g.ask(mfi.OpLDListQuery, 268, 0))
}

// nodes are the disks, SCSI devices and device files that the guest has.
func (g *guest) nodes() string {
	g.Helper()
	return g.sh("cd /sys; ls -1 block bus/scsi/devices class/bsg class/scsi_device class/scsi_disk class/scsi_generic; ls -1 /dev | grep -E '^(sd|sg|bsg)'")
}

// memory is the memory that the guest could give to programs, and that of its kernel's
// objects that are in use, in KiB.
func (g *guest) memory() (free, slab int) {
	g.Helper()
	out := g.sh(`echo 3 > /proc/sys/vm/drop_caches; sed -n 's/^MemAvailable: *\|^SUnreclaim: *//p' /proc/meminfo`)
	if _, err := fmt.Sscanf(strings.Join(strings.Fields(out), " "), "%d kB %d kB", &free, &slab); err != nil {
		g.Fatalf("%q: %v", out, err)
	}
	return free, slab
}
