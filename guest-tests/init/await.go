package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// awaitLimit is far beyond what a probe takes on the slowest machine.
	awaitLimit = 4 * time.Minute
	// awaitPoll is how often to look although the kernel reported no event.
	awaitPoll = 500 * time.Millisecond
)

// awaitDisks waits until n disks are there and have their device nodes.
func awaitDisks(n int) error {
	return await(fmt.Sprintf("%d disks", n), func() bool { return len(nodes()) >= n })
}

// await returns once there reports true, looking whenever the kernel reports
// that a device came or went.
func await(what string, there func() bool) error {
	events, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return err
	}
	defer unix.Close(events)
	if err := unix.Bind(events, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return err
	}
	deadline := time.Now().Add(awaitLimit)
	for !there() {
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s after %v", what, awaitLimit)
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}}, int(awaitPoll.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		drain(events)
	}
	return nil
}

// drain throws away what the socket has: that something happened is enough.
func drain(socket int) {
	var event [8192]byte
	for {
		if _, err := unix.Read(socket, event[:]); err != nil {
			return
		}
	}
}
