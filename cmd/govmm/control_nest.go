package main

import (
	"fmt"
	"io"
	"net"

	"github.com/govmm/govmm/internal/mux"
	"github.com/govmm/govmm/internal/nest"
)

// relayQMP listens at the machine's socket in place of the program in the nested
// machine, where the socket could not be reached from here, and carries all
// connections there over one stream. The function returned ends that.
func relayQMP(spec *machineSpec, command *nest.Command) (done func(), err error) {
	if spec.qmp.path == "" {
		return func() {}, nil
	}
	l, err := listenUnix(spec.qmp.path)
	if err != nil {
		return nil, fmt.Errorf("--qmp %s: %w", spec.qmp, err)
	}
	ours, theirs := net.Pipe()
	session := mux.New(ours, mux.Opens)
	spec.qmp = socketSpec{fd: 3 + len(command.Streams)}
	command.Streams = append(command.Streams, nest.Stream{R: theirs, W: theirs})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			machine, err := session.Open()
			if err != nil {
				client.Close()
				continue
			}
			go join(client, machine)
		}
	}()
	return func() {
		l.Close()
		session.Close()
		theirs.Close()
	}, nil
}

// join carries a connection in both directions until the machine closes it, or the
// client is gone. A client that only ends its sending gets its answers still.
func join(client net.Conn, machine mux.Conn) {
	go func() {
		_, _ = io.Copy(machine, client)
		_ = machine.CloseWrite()
	}()
	_, _ = io.Copy(client, machine)
	client.Close()
	machine.Close()
}
