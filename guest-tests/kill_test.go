package guesttests

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/harness"
)

// TestKill kills govmm with SIGKILL at a random moment while fio writes to new images
// in write-through, at depth 32 to each: every write that was acknowledged is in the
// image, and a check finds at most leaks.
//
// Which those are, the guest's kernel tells: its trace of requests that ended goes to
// one more disk. So whatever is found there was acknowledged before the end, by cause
// and effect; no clock is compared, and nothing that the controller says of itself is
// believed.
func TestKill(t *testing.T) {
	t.Parallel()
	v := onGovmm(t, "about what govmm promises")
	rounds := 1
	if long() {
		rounds = 8
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round+1), func(t *testing.T) { killUnderFio(t, v) })
	}
}

func killUnderFio(t *testing.T, v harness.Govmm) {
	images := []struct{ kind, path string }{
		{"new clusters", image(t, "128M")},
		{"subclusters", image(t, "128M", "-o", "extended_l2=on,cluster_size=128k")},
		{"over a backing file", image(t, "128M", "-b", copyOnWriteBase(t), "-F", "qcow2")},
	}
	acks := filepath.Join(t.TempDir(), "acks")
	if err := os.WriteFile(acks, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var disks []harness.Disk
	for _, i := range images {
		disks = append(disks, harness.Disk{Path: i.path})
	}
	g := start(t, v, fioGuest(t, append(disks, harness.Disk{Path: acks, Format: "raw"})...))
	g.traceCompletions(g.diskAt(fmt.Sprintf("2:%d", len(images))))
	// More than is written in the time that it has.
	job := fioJob{offset: 32 << 20, size: 64 << 20, block: 4096}
	numbers := make([]string, len(images)) // as the trace has them
	for i := range images {
		name := g.diskAt(fmt.Sprintf("2:%d", i))
		numbers[i] = strings.Replace(strings.TrimSpace(g.run("cat", "/sys/block/"+name+"/dev")), ":", ",", 1)
		g.sh("fio " + strings.Join(job.args("/dev/"+name), " ") + " > /dev/null 2>&1 < /dev/null &")
	}
	enough := 200 + rand.IntN(3000)
	for len(acknowledged(t, acks)) < enough {
		if err := g.ctx.Err(); err != nil {
			t.Fatalf("%d writes acknowledged: %v", len(acknowledged(t, acks)), err)
		}
		time.Sleep(time.Duration(rand.IntN(int(50 * time.Millisecond))))
	}
	g.machine.Kill()
	all := acknowledged(t, acks)
	for i, img := range images {
		out, err := harness.QemuImg(t.Context(), "check", img.path)
		const leaks = 3
		if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != leaks) {
			t.Errorf("%s: qemu-img check: %v\n%s", img.kind, err, out)
		}
		missing, acked := missingFio(t, img.path, job), 0
		var lost []int
		for _, a := range all {
			if a.device != numbers[i] {
				continue
			}
			for at := a.offset; at < a.offset+a.length; at += job.block {
				if acked++; missing[at] {
					lost = append(lost, at)
				}
			}
		}
		if len(lost) > 0 || acked == 0 {
			t.Errorf("%s: of %d writes that were acknowledged %d are not in the image: %d", img.kind, acked, len(lost), lost[:min(len(lost), 10)])
		}
		t.Logf("%s: %d writes acknowledged, %d in the image", img.kind, acked, job.size/job.block-len(missing))
	}
}

// traceCompletions has the guest's kernel write its trace of requests that ended to a
// disk, 512 bytes at a time, those of that disk itself excepted.
func (g *guest) traceCompletions(log string) {
	g.Helper()
	const minorBits = 20 // of dev_t in the kernel
	g.sh(fmt.Sprintf(`mount -t tracefs tracefs /sys/kernel/tracing
		cd /sys/kernel/tracing
		echo 0 > options/context-info
		cd events/block/block_rq_complete
		IFS=:; set -- $(cat /sys/block/%[1]s/dev); unset IFS
		echo "dev != $(($1 << %[2]d | $2))" > filter
		echo 1 > enable
		(cat /sys/kernel/tracing/trace_pipe | dd of=/dev/%[1]s bs=512 iflag=fullblock oflag=direct) > /dev/null 2>&1 < /dev/null &`, log, minorBits))
}

// completion is a write of which the kernel was told that it is done, in bytes.
type completion struct {
	device         string // MAJOR,MINOR
	offset, length int
}

// completionLine is the kernel's format of block_rq_complete: device, kind, command,
// sector + sectors [error]. (Linux, include/trace/events/block.h)
var completionLine = regexp.MustCompile(`(?m)^block_rq_complete: (\d+,\d+) [A-Z]*W[A-Z]* \(.*\) (\d+) \+ (\d+) \[0\]$`)

// acknowledged reads what traceCompletions has written so far.
func acknowledged(t *testing.T, log string) (list []completion) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	text = text[:bytes.LastIndexByte(text, '\n')+1] // a line may be written in part
	const sector = 512
	for _, m := range completionLine.FindAllSubmatch(text, -1) {
		var c completion
		c.device = string(m[1])
		for i, into := range []*int{&c.offset, &c.length} {
			n, err := strconv.Atoi(string(m[2+i]))
			if err != nil {
				t.Fatalf("%q: %v", m[0], err)
			}
			*into = n * sector
		}
		list = append(list, c)
	}
	return list
}

// copyOnWriteBase makes an image with data, for others to be based on.
func copyOnWriteBase(t *testing.T) string {
	t.Helper()
	path := image(t, "128M")
	qemuIO(t, path, "write -P 0x5a 32M 64M")
	return path
}
