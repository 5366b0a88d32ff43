package guesttests

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/govmm/govmm/guest-tests/agent"
	"github.com/govmm/govmm/guest-tests/harness"
	"github.com/govmm/govmm/guest-tests/kernel"
	"github.com/govmm/govmm/internal/sockettest"
)

// testLimit ends a test that hangs. A nested boot takes from ten seconds, on a
// calm machine, to half a minute. What only `make test-long` does may take longer.
const (
	testLimit     = 15 * time.Minute
	longTestLimit = 30 * time.Minute
)

// long reports whether tests may take their time.
func long() bool { return os.Getenv("GOVMM_TEST_LONG") != "" }

// consoleLines is how much of the console a failure shows.
const consoleLines = 60

// build makes what all tests share, once.
var build = sync.OnceValues(func() (harness.VMM, error) {
	if os.Getenv("GOVMM_GUEST_VMM") == "qemu" {
		return harness.QEMU{Path: "qemu-system-x86_64"}, nil
	}
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		return nil, err
	}
	govmm, err := artefacts.Govmm(context.Background())
	if err != nil {
		return nil, err
	}
	_, err = govmm.Accelerator(context.Background())
	return govmm, err
})

// vmm returns what runs the guests. Where nothing can, it skips the test.
func vmm(t *testing.T) harness.VMM {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a guest, which takes too long for -short")
	}
	v, err := build()
	unavailable(t, err)
	return v
}

// unavailable skips the test if err says that the machine cannot run guests,
// and fails it for any other error, or where guests are required.
func unavailable(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("GOVMM_GUESTS") != "required" && (errors.Is(err, harness.ErrNotSetUp) || errors.Is(err, harness.ErrNoGuests)):
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// debian returns one of the kernels of the set-up, and the initramfs for it.
func debian(t *testing.T, name string) (tree kernel.Tree, initrd string) {
	t.Helper()
	artefacts, err := harness.FindArtefacts()
	if err != nil {
		t.Fatal(err)
	}
	tree, err = artefacts.Kernel(name)
	unavailable(t, err)
	initrd, err = artefacts.Initrd(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	return tree, initrd
}

// debian12 is a guest with Debian 12's kernel and the given qcow2 images.
func debian12(t *testing.T, images ...string) harness.Guest {
	t.Helper()
	tree, initrd := debian(t, harness.Debian12)
	g := harness.Guest{Kernel: tree.VMLinux(), Initrd: initrd}
	for _, image := range images {
		g.Disks = append(g.Disks, harness.Disk{Path: image})
	}
	return g
}

// guest is a running guest whose methods end the test on an error.
type guest struct {
	*testing.T
	machine *harness.Machine
	hello   agent.Hello
	ctx     context.Context
	control func(args ...string) *exec.Cmd // govmm ctl, with startControlled
}

// start boots a guest and ends it with the test. If the test failed, the end of
// the console is shown.
func start(t *testing.T, v harness.VMM, g harness.Guest) *guest {
	t.Helper()
	limit := testLimit
	if long() {
		limit = longTestLimit
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	m, err := harness.Start(v, g, harness.Terminal{})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		m.Stop()
		if t.Failed() {
			t.Logf("command: %s", m.CommandLine())
			t.Logf("the last %d lines of the console:\n%s", consoleLines, lastLines(m.Console(), consoleLines))
		}
	})
	hello, err := m.Boot(ctx)
	if err != nil {
		t.Fatalf("boot: %v", err)
	}
	t.Logf("kernel %s: user space after %.1f s", hello.Kernel, time.Since(m.Started()).Seconds())
	return &guest{T: t, machine: m, hello: hello, ctx: ctx}
}

// startControlled starts a guest on govmm with a socket for "govmm ctl".
func startControlled(t *testing.T, v harness.Govmm, g harness.Guest) *guest {
	t.Helper()
	socket := sockettest.Path(t)
	v.Args = append(slices.Clip(v.Args), "--qmp", "unix:"+socket)
	running := start(t, v, g)
	running.control = func(args ...string) *exec.Cmd {
		return exec.CommandContext(running.ctx, v.Path, append([]string{"ctl", socket}, args...)...)
	}
	return running
}

// ctl runs "govmm ctl" on the guest's machine, which must succeed, and returns its
// output.
func (g *guest) ctl(args ...string) string {
	g.Helper()
	out, err := g.control(args...).CombinedOutput()
	if err != nil {
		g.Fatalf("govmm ctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// onGovmm returns govmm, and skips the test on another VMM for the reason given.
func onGovmm(t *testing.T, reason string) harness.Govmm {
	t.Helper()
	v, ok := vmm(t).(harness.Govmm)
	if !ok {
		t.Skip(reason)
	}
	return v
}

// with returns the same guest for use in a subtest.
func (g *guest) with(t *testing.T) *guest {
	sub := *g
	sub.T = t
	return &sub
}

// run runs a command in the guest that must succeed, and returns its output.
func (g *guest) run(argv ...string) string {
	g.Helper()
	out, err := g.machine.Output(g.ctx, argv...)
	if err != nil {
		g.Fatal(err)
	}
	return out
}

// sh runs a shell command in the guest that must succeed.
func (g *guest) sh(script string) string {
	g.Helper()
	return g.run("sh", "-e", "-c", script)
}

// until runs a shell command in the guest again and again until it succeeds, for as
// long as the test has.
func (g *guest) until(command string) {
	g.Helper()
	g.patiently("until " + command + "; do sleep 0.2; done")
}

// patiently is sh of what may take as long as the test has.
func (g *guest) patiently(script string) string {
	g.Helper()
	client, err := g.machine.Agent(g.ctx)
	if err != nil {
		g.Fatal(err)
	}
	limit := longTestLimit
	if deadline, ok := g.ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	res, err := client.Run(g.ctx, agent.Command{Argv: []string{"sh", "-e", "-c", script}, Timeout: limit})
	if err != nil || res.Exit != 0 {
		g.Fatalf("%s: exit status %d, %v: %s", script, res.Exit, err, res.Stderr)
	}
	return string(res.Stdout)
}

// progress is the number in the last line "WHAT N." on the console, -1 if there is
// none.
func (g *guest) progress(what string) int {
	found := regexp.MustCompile(what+` (\d+)\.`).FindAllStringSubmatch(g.machine.Console(), -1)
	if len(found) == 0 {
		return -1
	}
	n, err := strconv.Atoi(found[len(found)-1][1])
	if err != nil {
		g.Fatal(err)
	}
	return n
}

// powerOff powers the guest off, which must end the VMM with exit status 0.
func (g *guest) powerOff() {
	g.Helper()
	if err := g.machine.PowerOff(g.ctx); err != nil {
		g.Fatalf("power off: %v", err)
	}
}

// image makes a qcow2 image of the given size with the options given, both as qemu-img
// takes them.
func image(t *testing.T, size string, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	qemuImg(t, slices.Concat([]string{"create", "-q", "-f", "qcow2"}, options, []string{path, size})...)
	return path
}

// qemuImg runs qemu-img, which must succeed, and returns its output.
func qemuImg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := harness.QemuImg(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkImage has qemu-img look for any error or leak in an image.
func checkImage(t *testing.T, path string) {
	t.Helper()
	if out := qemuImg(t, "check", path); !strings.Contains(out, "No errors were found on the image.") {
		t.Errorf("qemu-img check: %s", out)
	}
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
