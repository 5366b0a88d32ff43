package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/govmm/govmm/guest-tests/agent"
	"github.com/govmm/govmm/guest-tests/harness"
)

// bootLimit ends a demonstration that hangs. On a calm machine each boot of a
// nested guest takes a quarter of a minute.
const bootLimit = 5 * time.Minute

// boot is what one of the two boots came to.
type boot struct {
	hello     agent.Hello
	report    agent.Report
	userSpace time.Duration // from the start of govmm until init ran
	total     time.Duration // from the start of govmm to its end
}

func demonstrate(ctx context.Context) error {
	s, err := prepare(ctx, "disk.qcow2")
	if err != nil {
		return err
	}
	if err := s.createDisk(ctx); err != nil {
		return err
	}
	first, err := s.boot(ctx, "demo1")
	if err != nil {
		return fmt.Errorf("first boot: %w", err)
	}
	second, err := s.boot(ctx, "demo2")
	if err != nil {
		return fmt.Errorf("second boot: %w", err)
	}
	// The guest compared the files with the checksums on its disk; these are
	// the checksums that it reported when they were written.
	if !maps.Equal(first.report.Sums, second.report.Sums) {
		return errors.New("the second boot found other checksums than the first one wrote")
	}
	verdict, err := s.check(ctx)
	if err != nil {
		return err
	}
	accel, err := s.vmm.Accelerator(ctx)
	if err != nil {
		return err
	}
	summarize(os.Stdout, s, accel, first, second, verdict)
	return nil
}

// boot runs the guest in the given mode until it has powered off.
func (s stage) boot(ctx context.Context, mode string) (boot, error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	s.guest.Append = "govmm.mode=" + mode
	m, err := harness.Start(s.vmm, s.guest, terminal())
	if err != nil {
		return boot{}, err
	}
	defer m.Stop()

	var b boot
	if b.hello, err = m.Boot(ctx); err != nil {
		return b, err
	}
	b.userSpace = time.Since(m.Started())
	client, err := m.Agent(ctx)
	if err != nil {
		return b, err
	}
	if b.report, err = client.Report(ctx); err != nil {
		return b, fmt.Errorf("the guest ended without its report: %w", err)
	}
	if err := m.Wait(ctx); err != nil {
		return b, fmt.Errorf("power off: %w", err)
	}
	b.total = time.Since(m.Started())
	if !b.report.OK {
		return b, errors.New(b.report.Error)
	}
	return b, nil
}

// check has govmm judge the image and returns the verdict in one line.
func (s stage) check(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, s.vmm.Path, "img", "check", s.disk).CombinedOutput()
	out = bytes.TrimSpace(out)
	if err != nil {
		return "", fmt.Errorf("govmm img check %s: %w\n%s", s.disk, err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

func summarize(w io.Writer, s stage, accel harness.Accelerator, first, second boot, verdict string) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-12s "+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintf(w, "\nThe demonstration held.\n")
	row("guest", "Debian kernel %s, %d CPU, 512 MiB", first.hello.Kernel, first.hello.CPUs)
	row("accelerator", "%s", accel)
	row("first boot", "%s; %d files written", describe(first), len(first.report.Sums))
	row("second boot", "%s; all files verified", describe(second))
	row("disk", "%s: %s", s.disk, verdict)
}

func describe(b boot) string {
	return fmt.Sprintf("user space after %.1f s, %.1f s in all; %s read, %s written",
		b.userSpace.Seconds(), b.total.Seconds(), mebibytes(b.report.Read), mebibytes(b.report.Written))
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
