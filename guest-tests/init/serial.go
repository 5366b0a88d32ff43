package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/govmm/govmm/guest-tests/agent"
	"golang.org/x/sys/unix"
)

// agentPort is the serial port that the host's end of the agent is behind.
const agentPort = "/dev/ttyS1"

// openAgent opens the agent's port. In a machine without one what the guest
// says goes nowhere, and its requests end before the first.
func openAgent() (*agent.Server, error) {
	port, err := openRaw(agentPort)
	if err != nil {
		return agent.NewServer(deaf{}, powerOff), nil //nolint:nilerr // see above
	}
	return agent.NewServer(port, powerOff), nil
}

// deaf stands in for a port that is not there.
type deaf struct{}

func (deaf) Read([]byte) (int, error)    { return 0, io.EOF }
func (deaf) Write(p []byte) (int, error) { return len(p), nil }

// openRaw opens a serial port so that every byte passes as it is.
func openRaw(path string) (io.ReadWriter, error) {
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw := unix.Termios{
		Cflag:  unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200,
		Ispeed: unix.B115200,
		Ospeed: unix.B115200,
	}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, &raw); err != nil {
		port.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return port, nil
}

func hello(up time.Duration) agent.Hello {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return agent.Hello{Uptime: up}
	}
	return agent.Hello{
		Kernel: unix.ByteSliceToString(uts.Release[:]),
		CPUs:   runtime.NumCPU(),
		Uptime: up,
	}
}

// uptime is the time since the kernel started its clock.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// powerOff ends the guest, restarting it if so asked.
func powerOff(restart bool) {
	unix.Sync()
	// The last frame must be out of the kernel's buffer.
	if port, err := os.OpenFile(agentPort, os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		_ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1) // wait until sent; fails where there is no port
	}
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if restart {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	if err := unix.Reboot(how); err != nil {
		fmt.Fprintf(os.Stderr, "init: %v\n", err)
	}
	select {}
}
