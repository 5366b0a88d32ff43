package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/govmm/govmm/megasas/mfi"
	"golang.org/x/sys/unix"
)

// mfiTool is the tool "init mfi OPCODE:ROOM[:MAILBOX[:DATA]]...": it sends
// management commands to the controller's firmware through the driver, as
// management tools do, and prints what comes back, a line of JSON for each. All
// are hexadecimal but ROOM, the length in bytes of the buffer.
func mfiTool(args []string, stdout, stderr io.Writer) int {
	node, err := openMFI()
	if err != nil {
		fmt.Fprintf(stderr, "mfi: %v\n", err)
		return 1
	}
	defer node.Close()
	out := json.NewEncoder(stdout)
	for _, arg := range args {
		answer, err := sendDCMD(node, arg)
		if err == nil {
			err = out.Encode(answer)
		}
		if err != nil {
			fmt.Fprintf(stderr, "mfi: %s: %v\n", arg, err)
			return 1
		}
	}
	return 0
}

// mfiAnswer is what the firmware has answered.
type mfiAnswer struct {
	Status uint8  `json:"status"`
	Data   []byte `json:"data"` // the whole buffer
}

// openMFI opens the driver's character device, whose number is in /proc/devices.
func openMFI() (*os.File, error) {
	const name, node = "megaraid_sas_ioctl", "/dev/megaraid_sas_ioctl_node"
	list, err := os.ReadFile("/proc/devices")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		number, device, _ := strings.Cut(strings.TrimSpace(line), " ")
		if device != name {
			continue
		}
		major, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, err
		}
		err = unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(major), 0)))
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, err
		}
		return os.OpenFile(node, os.O_RDWR, 0)
	}
	return nil, fmt.Errorf("no %s in /proc/devices", name)
}

// The packet of the driver's firmware ioctl, struct megasas_iocpacket.
const (
	mfiIoctl      = 0xc1944d01
	mfiPacketLen  = 404
	mfiFrameAt    = 20
	mfiVectorAt   = 148
	mfiListOffset = 0x28 // of a DCMD
)

func sendDCMD(node *os.File, text string) (answer mfiAnswer, err error) {
	words := strings.Split(text, ":")
	if len(words) < 2 {
		return answer, errors.New("must be OPCODE:ROOM[:MAILBOX[:DATA]]")
	}
	op, err := strconv.ParseUint(words[0], 16, 32)
	if err != nil {
		return answer, err
	}
	room, err := strconv.ParseUint(words[1], 10, 24)
	if err != nil {
		return answer, err
	}
	x := mfi.Fields{Cmd: mfi.CmdDCMD, Opcode: mfi.Opcode(op), DataLen: uint32(room), Flags: mfi.FlagRead | mfi.FlagWrite}
	buf := make([]byte, room)
	for i, into := range [][]byte{x.Mailbox[:], buf} {
		if len(words) <= 2+i {
			break
		}
		p, err := hex.DecodeString(words[2+i])
		if err != nil {
			return answer, err
		}
		copy(into, p)
	}
	packet := make([]byte, mfiPacketLen)
	le := binary.LittleEndian
	frame := packet[mfiFrameAt:]
	copy(frame, x.Marshal())
	le.PutUint32(packet[4:], mfiListOffset)
	if room > 0 {
		frame[7] = 1 // elements
		le.PutUint32(packet[8:], 1)
		le.PutUint64(packet[mfiVectorAt:], uint64(uintptr(unsafe.Pointer(&buf[0]))))
		le.PutUint64(packet[mfiVectorAt+8:], room)
	}
	// The kernel is given the addresses of packet and buf: both stay where they
	// are until it is done.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, node.Fd(), mfiIoctl, uintptr(unsafe.Pointer(&packet[0])))
	runtime.KeepAlive(buf)
	if errno != 0 {
		return answer, errno
	}
	return mfiAnswer{Status: frame[2], Data: buf}, nil
}
