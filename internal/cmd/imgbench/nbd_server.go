package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/govmm/govmm/internal/proctime"
	"golang.org/x/sys/unix"
)

// compareNBD is compare for a row of the table of NBD servers. Each round has the host
// alone, too, where there is something to measure.
func (s *sides) compareNBD(r nbdRow, rounds int) (comparison, error) {
	measure := func(part row, w way) (sample, error) { return s.measureNBD(nbdRow{part, r.command}, w) }
	c, err := begin(&r.row, measure)
	if err != nil {
		return c, err
	}
	host, err := s.probeHost(&r)
	if err != nil {
		return c, fmt.Errorf("the host alone: %w", err)
	}
	for range rounds {
		if err := c.round(r.row, measure); err != nil {
			return c, err
		}
		if host == nil {
			continue
		}
		one, err := host.measure(host.fast, host.lean)
		if err != nil {
			return c, fmt.Errorf("the host alone: %w", err)
		}
		if r.tables {
			n := c.transfers(r.size)
			if n == 0 { // the images are in memory
				host = nil
				continue
			}
			one.rate /= n
			one.cpu *= n
		}
		c.host = append(c.host, one)
	}
	return c, nil
}

// serverCommand is what serves an image on a socket.
func (s *sides) serverCommand(r *row, w way, file, socket string) *exec.Cmd {
	if w.name == ours.name {
		return exec.CommandContext(s.ctx, s.govmm, "nbd", "--socket", socket,
			fmt.Sprintf("path=%s,cache.direct=%s", file, onOff(r.direct)))
	}
	cache := "writeback"
	if r.direct {
		cache = "none"
	}
	return exec.CommandContext(s.ctx, "qemu-nbd", "-k", socket, "-f", "qcow2", "-t", "--discard", "unmap",
		"--cache", cache, "--aio", w.name, file)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// measureNBD runs one server, and one client against it, once. What the server
// spends until it has written out what it kept in memory counts, its start does not.
func (s *sides) measureNBD(r nbdRow, w way) (one sample, err error) {
	file, err := s.file(r.image)
	if err != nil {
		return one, err
	}
	socket := filepath.Join(s.dir, "nbd.sock")
	cmd := s.serverCommand(&r.row, w, file, socket)
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &complaints, &complaints
	if err := cmd.Start(); err != nil {
		return one, err
	}
	before, took, err := s.use(&r, cmd.Process.Pid, socket)
	if err == nil && r.tables {
		one.read, err = proctime.Read(cmd.Process.Pid)
	}
	if err == nil {
		err = cmd.Process.Signal(syscall.SIGTERM)
	} else {
		_ = cmd.Process.Kill()
	}
	err = errors.Join(err, cmd.Wait(), removeIfThere(socket))
	if r.fresh {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil {
		return one, fmt.Errorf("%q: %w: %s", cmd.Args, err, bytes.TrimSpace(complaints.Bytes()))
	}
	err = one.used(cmd.ProcessState)
	one.seconds = took.Seconds()
	one.cpu -= before
	return one, err
}

// use sends the requests of a row to the server behind a socket. The results are
// the CPU time that the server had used before, and the time that it took.
func (s *sides) use(r *nbdRow, pid int, socket string) (before, took time.Duration, err error) {
	c, err := s.connect(socket)
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	if before, err = proctime.CPU(pid); err != nil {
		return 0, 0, err
	}
	took, err = c.run(r)
	return before, took, err
}

// connect waits for a server to come.
func (s *sides) connect(socket string) (*nbdClient, error) {
	const patience, pause = 2 * time.Minute, 2 * time.Millisecond
	for begun := time.Now(); ; time.Sleep(pause) {
		c, err := dialNBD(socket)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ECONNREFUSED) || time.Since(begun) > patience {
			return nil, fmt.Errorf("connect to %s: %w", socket, err)
		}
	}
}

// removeIfThere removes what a server may have left.
func removeIfThere(file string) error {
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
