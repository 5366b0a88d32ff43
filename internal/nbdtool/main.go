package nbdtool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/govmm/govmm/internal/blockopt"
	"github.com/govmm/govmm/internal/nbd"
)

// Tool is the program as it was called.
type Tool struct {
	Program string // argv[0]
	Version string
	Args    []string // those behind it
	Stdout  io.Writer
	Stderr  io.Writer
}

var (
	errInfo     = errors.New("something was asked for that is only printed")
	errOperands = errors.New("Invalid number of arguments")
)

// unlimited stands for any number of clients.
const unlimited = 1 << 20

// Run is the program. It returns the exit status: 0 after a server that ended in good
// order. It changes the environment and the standard files of a process that --fork
// has started.
func (t *Tool) Run() int {
	d := takeDaemon()
	s := settings{shared: 1, objects: blockopt.NewObjects(), seen: make(map[string]bool)}
	s.warn = func(text string) { t.complain(errors.New(text)) }
	s.objects.Warn = func(text string) { s.warn("warning: " + text) }
	operands, err := parse(t.Program, t.Args, s.set)
	if err == nil {
		err = s.check(len(operands))
	}
	switch {
	case err != nil:
	case s.list:
		err = t.list(&s)
	default:
		err = t.serve(&s, operands[0], d)
	}
	return t.status(&s, err)
}

// status prints what there is to say in the end, and returns the exit status.
func (t *Tool) status(s *settings, err error) int {
	var usage *usageError
	var snapshot *blockopt.SnapshotError
	var exit exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.Is(err, errInfo) && s.info == "help":
		fmt.Fprint(t.Stdout, help(t.Program))
		return 0
	case errors.Is(err, errInfo) && s.info == "events":
		return 0
	case errors.Is(err, errInfo):
		fmt.Fprintf(t.Stdout, "qemu-nbd %s\n", t.Version)
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(t.Stderr, usage)
		t.complain(fmt.Errorf("Try `%s --help' for more information.", t.Program))
	case errors.Is(err, errOperands):
		t.complain(err)
		fmt.Fprintf(t.Stderr, "Try `%s --help' for more information.\n", t.Program)
	case errors.As(err, &snapshot):
		t.complain(snapshot.Cause())
		t.complain(fmt.Errorf("Failed in parsing snapshot param `%s'", snapshot.Whole())) // quoted as nowhere else
	default:
		t.complain(err)
	}
	return 1
}

func (t *Tool) complain(err error) {
	fmt.Fprintf(t.Stderr, "%s: %v\n", filepath.Base(t.Program), err)
}

// serve serves the disk until the last client has left or a signal ends it.
func (t *Tool) serve(s *settings, name string, d *daemon) (err error) {
	server := &nbd.Server{Exact: true, MaxConnections: s.shared, Once: !s.persistent, Processors: nbd.GoProcessors()}
	if s.shared == 0 {
		server.MaxConnections = unlimited
	}
	if s.verbose {
		server.Logger = slog.New(slog.NewTextHandler(t.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	if server.TLS, err = s.tls(); err != nil {
		return err
	}
	passed, err := activated()
	if err == nil && (passed || d.activated()) {
		err = s.checkActivated()
	}
	if err != nil {
		return err
	}
	if s.fork && d == nil {
		return t.daemonize(passed)
	}
	var l net.Listener
	switch {
	case passed:
		l, err = inherited(activationFD)
	case d.activated():
		l, err = inherited(daemonSocket)
	default:
		l, err = s.listen()
	}
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	export, device, err := s.export(name, t.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	server.Exports = []nbd.Export{export}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	if err := s.writePID(); err != nil {
		return err
	}
	if err := d.ready(s.verbose); err != nil {
		return err
	}
	return server.Serve(ctx, l)
}

// writePID writes the process ID to the file that was asked for.
func (s *settings) writePID() error {
	if s.pidFile == "" {
		return nil
	}
	err := os.WriteFile(s.pidFile, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600)
	var no syscall.Errno
	if errors.As(err, &no) {
		return fmt.Errorf("Could not create '%s': %s", s.pidFile, capital(no.Error()))
	}
	return err
}
