package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/qmp"
	"golang.org/x/sys/unix"
)

// runLimit ends a machine that is stuck.
const runLimit = 5 * time.Minute

// sample is one run of one side.
type sample struct {
	start time.Duration // to the guest's first word
	peak  int64         // largest resident size in bytes, the guest's memory included
	cases []caseSample
}

// caseSample is one case of one run.
type caseSample struct {
	took       time.Duration
	cpu        time.Duration // of the whole process, in user mode, kernel and guest
	polled     time.Duration // of it, what the host's kernel looked out for the end of a halt
	exits      uint64        // for accesses to the controller's registers
	interrupts uint64        // that the guest took
}

// session is a machine that runs.
type session struct {
	side    int
	pid     int
	in      io.Writer
	out     *bufio.Reader
	control *qmp.Client // nil until the guest spoke
}

// measure runs a machine once.
func (b *bench) measure(side int, d *disk) (s sample, err error) {
	ctx, cancel := context.WithTimeout(b.ctx, runLimit)
	defer cancel()
	socket := filepath.Join(b.dir, sideNames[side]+".sock")
	cmd := exec.CommandContext(ctx, b.programs[side], b.arguments(side, d.args[side], socket)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return s, err
	}
	s.cases = make([]caseSample, caseRows+len(d.rows))
	m := session{side: side, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
	err = m.talk(ctx, begin, socket, &s)
	if err != nil {
		cancel()
	}
	if wait := cmd.Wait(); err == nil {
		err = wait
	}
	if err != nil {
		return s, fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return s, errors.New("the host does not tell what a process used")
	}
	s.peak = usage.Maxrss << 10
	return s, nil
}

// talk has the conversation with the guest.
func (m *session) talk(ctx context.Context, begin time.Time, socket string, s *sample) (err error) {
	for i := range s.cases {
		if err := m.expect(fmt.Sprintf("ready %d", i)); err != nil {
			return err
		}
		if i == 0 {
			s.start = time.Since(begin)
			if m.control, err = qmp.Dial(ctx, socket); err != nil {
				return err
			}
			defer m.control.Close()
		}
		if s.cases[i], err = m.one(ctx, i); err != nil {
			return err
		}
	}
	if err := m.expect(fmt.Sprintf("ready %d", len(s.cases))); err != nil {
		return err
	}
	m.control.Close()
	if _, err := m.in.Write([]byte{'g'}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, m.out) // until the machine is gone
	return err
}

// one measures a case.
func (m *session) one(ctx context.Context, number int) (c caseSample, err error) {
	before, err := m.counters(ctx)
	if err != nil {
		return c, err
	}
	cpu, err := m.cpu()
	if err != nil {
		return c, err
	}
	start := time.Now()
	if _, err := m.in.Write([]byte{'g'}); err != nil {
		return c, err
	}
	line, err := m.line()
	if err != nil {
		return c, err
	}
	c.took = time.Since(start)
	after, err := m.cpu()
	if err != nil {
		return c, err
	}
	c.cpu = after - cpu
	total, err := m.counters(ctx)
	c.exits = total.exits - before.exits
	c.polled = total.polled - before.polled
	count, ok := strings.CutPrefix(line, fmt.Sprintf("done %d ", number))
	if !ok {
		return c, fmt.Errorf("the guest said %q", line)
	}
	c.interrupts, _ = strconv.ParseUint(count, 16, 32)
	return c, err
}

func (m *session) line() (string, error) {
	line, err := m.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the guest said %q, and nothing more: %w", line, err)
	}
	return strings.TrimSpace(line), nil
}

func (m *session) expect(want string) error {
	line, err := m.line()
	if err == nil && line != want {
		err = fmt.Errorf("the guest said %q, want %q", line, want)
	}
	return err
}

// cpu is what the process has used so far, by its CPU-time clock
// (clock_getcpuclockid(3): the clock's number is made from the process's).
func (m *session) cpu() (time.Duration, error) {
	const allThreads, precise = 0, 2
	var t unix.Timespec
	err := unix.ClockGettime(int32(^m.pid)<<3|allThreads|precise, &t)
	return time.Duration(t.Nano()), err
}

// counters are KVM's, of the one processor.
type counters struct {
	exits  uint64        // left the guest to access a device's registers in memory
	polled time.Duration // halted, and the host did not let go of its processor yet
}

// counters asks for them. They have the same names on both sides: KVM's own.
func (m *session) counters(ctx context.Context) (c counters, err error) {
	var s []struct {
		Stats []struct {
			Name  string `json:"name"`
			Value any    `json:"value"`
		} `json:"stats"`
	}
	if err := m.control.Do(ctx, "query-stats", map[string]string{"target": "vcpu"}, &s); err != nil {
		return c, err
	}
	found := 0
	for _, processor := range s {
		for _, one := range processor.Stats {
			n, ok := one.Value.(float64)
			if !ok {
				continue
			}
			switch one.Name {
			case "mmio_exits":
				c.exits = uint64(n)
			case "halt_poll_success_ns", "halt_poll_fail_ns":
				c.polled += time.Duration(n)
			default:
				continue
			}
			found++
		}
	}
	if found != 3 {
		return c, fmt.Errorf("%s does not tell KVM's counters of one processor", sideNames[m.side])
	}
	return c, nil
}
