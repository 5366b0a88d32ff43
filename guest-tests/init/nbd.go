package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// nbdTool is the tool "init nbd SOCKET DEVICE": it connects a block device of the
// kernel's NBD driver to the server at a unix socket, and ends when the device is
// disconnected, which "init nbd DEVICE" does.
func nbdTool(args []string, stderr io.Writer) int {
	var err error
	switch len(args) {
	case 1:
		err = nbdDisconnect(args[0])
	case 2:
		err = nbdServe(args[0], args[1])
	default:
		err = errors.New("usage: init nbd [SOCKET] DEVICE")
	}
	if err != nil {
		fmt.Fprintf(stderr, "nbd: %v\n", err)
		return 1
	}
	return 0
}

// The driver's ioctls (Linux, include/uapi/linux/nbd.h).
const (
	nbdSetSock       = 0xab00
	nbdSetBlockSize  = 0xab01
	nbdDoIt          = 0xab03
	nbdClearSock     = 0xab04
	nbdSetSizeBlocks = 0xab07
	nbdDisconnectNow = 0xab08
	nbdSetFlags      = 0xab0a
)

func nbdIoctl(f *os.File, request, arg uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, arg); errno != 0 {
		return fmt.Errorf("%s: ioctl %#x: %w", f.Name(), request, errno)
	}
	return nil
}

func nbdDisconnect(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return nbdIoctl(f, nbdDisconnectNow, 0)
}

// nbdServe negotiates, and leaves the connection to the kernel.
func nbdServe(socket, device string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	size, flags, err := nbdGo(conn)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	wire, err := conn.(*net.UnixConn).File() // blocking, as the kernel wants it
	if err != nil {
		return err
	}
	defer wire.Close()
	const block = 4096
	for _, step := range []struct{ request, arg uintptr }{
		{nbdSetBlockSize, block}, {nbdSetSizeBlocks, uintptr(size / block)}, {nbdSetFlags, uintptr(flags)},
		{nbdSetSock, wire.Fd()}, {nbdDoIt, 0}, {nbdClearSock, 0},
	} {
		if err := nbdIoctl(f, step.request, step.arg); err != nil {
			return err
		}
	}
	return nil
}

// nbdGo is the handshake of a client that wants the export without a name: newstyle,
// with the option GO (the NBD protocol, doc/proto.md).
func nbdGo(rw io.ReadWriter) (size uint64, flags uint16, err error) {
	const (
		serverMagic, optionMagic, replyMagic = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
		fixedNewstyle, noZeroes              = 1, 2
		optionGo                             = 7
		replyAck, replyInfo                  = 1, 3
		infoExport                           = 0
		longest                              = 64 << 10
	)
	var hello struct {
		Magic, Option uint64
		Flags         uint16
	}
	be := binary.BigEndian
	if err := binary.Read(rw, be, &hello); err != nil {
		return 0, 0, err
	}
	if hello.Magic != serverMagic || hello.Option != optionMagic || hello.Flags&fixedNewstyle == 0 {
		return 0, 0, fmt.Errorf("no newstyle server: %x", hello)
	}
	request := be.AppendUint32(nil, uint32(hello.Flags&(fixedNewstyle|noZeroes)))
	request = be.AppendUint64(request, optionMagic)
	request = be.AppendUint32(request, optionGo)
	request = append(be.AppendUint32(request, 6), make([]byte, 6)...) // no name, no further information
	if _, err := rw.Write(request); err != nil {
		return 0, 0, err
	}
	for {
		var reply struct {
			Magic                uint64
			Option, Kind, Length uint32
		}
		if err := binary.Read(rw, be, &reply); err != nil {
			return 0, 0, err
		}
		if reply.Magic != replyMagic || reply.Option != optionGo || reply.Length > longest {
			return 0, 0, fmt.Errorf("no reply to GO: %x", reply)
		}
		data := make([]byte, reply.Length)
		if _, err := io.ReadFull(rw, data); err != nil {
			return 0, 0, err
		}
		switch {
		case reply.Kind == replyAck && size > 0:
			return size, flags, nil
		case reply.Kind == replyInfo && len(data) == 12 && be.Uint16(data) == infoExport:
			size, flags = be.Uint64(data[2:]), be.Uint16(data[10:])
		case reply.Kind != replyInfo:
			return 0, 0, fmt.Errorf("the server answers %#x: %q", reply.Kind, data)
		}
	}
}
