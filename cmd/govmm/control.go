package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/govmm/govmm/internal/mux"
	"github.com/govmm/govmm/internal/nbdclient"
	"github.com/govmm/govmm/internal/qmp"
	"github.com/govmm/govmm/vmm"
	"github.com/govmm/govmm/vmm/memory"
	"golang.org/x/sys/unix"
)

// control is what steers a machine while it runs: the commands of QMP, and the
// socket that they come from. It implements megasas.Listener.
type control struct {
	m       *machine
	name    string
	uuid    vmm.UUID
	serials []serialSpec
	ram     memory.Options
	log     *slog.Logger
	server  *qmp.Server

	listener net.Listener // nil: there is none
	session  *mux.Session // of the nested machine's host; nil: there is none
	serving  sync.WaitGroup
}

func newControl(m *machine, spec machineSpec, log *slog.Logger) *control {
	c := &control{m: m, name: spec.name, uuid: spec.uuid, serials: spec.serials, ram: spec.ram, log: log}
	c.server = qmp.NewServer(qmp.Config{
		Version:   qmpVersion(),
		Commands:  slices.Concat(c.machineCommands(), c.queryCommands(), c.diskCommands()),
		Events:    eventTypes(),
		Throttled: []string{"GUEST_CRASHLOADED", "GUEST_PANICKED", "WATCHDOG", "BLOCK_IO_ERROR"},
		Logger:    log,
	})
	m.disks.removed = c.driveRemoved
	return c
}

// qmpVersion is the version of QEMU whose protocol this is, and that of govmm.
func qmpVersion() qmp.Version {
	var v qmp.Version
	v.QEMU.Major, v.QEMU.Minor = 7, 2
	info, ok := debug.ReadBuildInfo()
	v.Package = "govmm " + buildVersion(info, ok).Version
	return v
}

// listen opens what commands come from. Nobody is accepted before serve.
func (c *control) listen(s socketSpec) (err error) {
	switch {
	case s.path != "":
		c.listener, err = listenUnix(s.path)
	case s.fd != 0:
		if err := unix.SetNonblock(s.fd, true); err != nil {
			return fmt.Errorf("--qmp %s: %w", s, err)
		}
		c.session = mux.New(os.NewFile(uintptr(s.fd), s.String()), mux.Accepts)
	}
	if err != nil {
		return fmt.Errorf("--qmp %s: %w", s, err)
	}
	return nil
}

// listenUnix listens at a Unix socket that only this user can connect to. A socket
// that nobody listens at any more is replaced.
func listenUnix(path string) (net.Listener, error) {
	l, err := tryListen(path)
	if !errors.Is(err, unix.EADDRINUSE) {
		return l, err
	}
	info, statErr := os.Lstat(path)
	if statErr != nil || info.Mode().Type() != fs.ModeSocket {
		return nil, err
	}
	if conn, dialErr := net.Dial("unix", path); dialErr == nil {
		conn.Close()
		return nil, fmt.Errorf("another program listens there: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return tryListen(path)
}

func tryListen(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serve accepts clients from now on.
func (c *control) serve() {
	if c.listener != nil {
		c.serving.Go(func() {
			if err := c.server.Serve(c.listener); err != nil {
				c.log.Error("no more QMP clients", "err", err)
			}
		})
	}
	if c.session != nil {
		c.serving.Go(func() {
			for {
				conn, err := c.session.Accept()
				if err != nil {
					return
				}
				c.server.ServeConn(conn)
			}
		})
	}
}

// close ends all clients' connections, when they have taken what was sent.
func (c *control) close() {
	c.server.Close()
	if c.listener != nil {
		c.listener.Close()
	}
	if c.session != nil {
		c.session.Close()
	}
	c.serving.Wait()
}

// socketSpec is a value of --qmp.
type socketSpec struct {
	path string // of a Unix socket, or
	fd   int    // an inherited connection of package mux; else nothing
}

func (s *socketSpec) Type() string { return "unix:PATH" }

func (s socketSpec) String() string {
	switch {
	case s.path != "":
		return "unix:" + s.path
	case s.fd != 0:
		return fmt.Sprintf("fd:%d", s.fd)
	}
	return ""
}

// checkSocketPath refuses a path that is too long for a Unix socket.
func checkSocketPath(path string) error {
	if most := nbdclient.MaxSocketPath; len(path) > most {
		return fmt.Errorf("the path of a Unix socket has at most %d bytes, this one has %d", most, len(path))
	}
	return nil
}

// Set reads a value, of which QEMU's usual ",server=on,wait=off" may be part.
func (s *socketSpec) Set(text string) error {
	text = strings.TrimSuffix(strings.TrimSuffix(text, ",wait=off"), ",server=on")
	end, err := parseSerial(text)
	switch {
	case err == nil && end.kind == serialUnix:
		if err := checkSocketPath(end.path); err != nil {
			return err
		}
		*s = socketSpec{path: end.path}
	case err == nil && end.kind == serialFD:
		*s = socketSpec{fd: end.fd}
	default:
		return fmt.Errorf("%q: must be unix:PATH", text)
	}
	return nil
}
