package megasas

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
)

// transcript carries out the script in testdata/transcript.txt, which explains
// itself, and compares the answers.
type transcript struct {
	g        *guest
	opcodes  map[string]mfi.Opcode
	register uint32 // the last that was read
	data     []byte // of the last frame
	status   mfi.Status
	sense    []byte
	checked  bool
}

func TestTranscript(t *testing.T) {
	text, err := os.ReadFile("testdata/transcript.txt")
	if err != nil {
		t.Fatal(err)
	}
	x := transcript{g: newGuest(t, threeDrives()), opcodes: map[string]mfi.Opcode{}, checked: true}
	for _, c := range commands {
		x.opcodes[c.op.String()] = c.op
	}
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		step := x.act
		if strings.HasPrefix(line, " ") {
			step = x.compare
		}
		if err := step(strings.TrimSpace(line)); err != nil {
			t.Fatalf("testdata/transcript.txt:%d: %q: %v", i+1, line, err)
		}
	}
	if !x.checked {
		t.Error("nothing is expected of the last line")
	}
}

// act does what the guest does in a line.
func (x *transcript) act(line string) error {
	if !x.checked {
		return fmt.Errorf("nothing was expected of the line before")
	}
	x.checked, x.data, x.sense = false, nil, nil
	head, tail, _ := strings.Cut(line, ":")
	words := strings.Fields(head)
	bytesAfter, err := unhex(tail)
	if err != nil {
		return err
	}
	switch {
	case words[0] == "init" && len(words) == 2:
		n, err := strconv.ParseUint(words[1], 10, 32)
		x.g.initialize(uint32(n))
		x.status = mfi.StatusOK
		return err
	case words[0] == "register" && len(words) == 2:
		off, err := strconv.ParseUint(words[1], 16, 16)
		x.register = x.g.read(off)
		return err
	case words[0] == "dcmd" && len(words) == 4 && words[2] == "in":
		op, n, err := x.opcode(words[1], words[3])
		if err != nil {
			return err
		}
		x.data, x.status = x.g.dcmd(op, n, bytesAfter...)
		return nil
	case words[0] == "dcmd" && len(words) == 4 && words[2] == "out":
		op, n, err := x.opcode(words[1], words[3])
		if err != nil || int(n) > len(bytesAfter) {
			return fmt.Errorf("mailbox and data: %v", err)
		}
		box := len(bytesAfter) - int(n)
		x.status = x.g.send(op, bytesAfter[box:], bytesAfter[:box]...)
		return nil
	case (words[0] == "ld" || words[0] == "pd") && len(words) == 4 && words[2] == "in":
		target, err1 := strconv.ParseUint(words[1], 10, 8)
		n, err2 := strconv.ParseUint(words[3], 10, 16)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("target %v, length %v", err1, err2)
		}
		cmd := map[string]mfi.Cmd{"ld": mfi.CmdLDSCSIIO, "pd": mfi.CmdPDSCSIIO}[words[0]]
		x.data, x.status, _, x.sense = x.g.scsi(cmd, uint8(target), uint32(n), bytesAfter...)
		return nil
	}
	return fmt.Errorf("not understood")
}

func (x *transcript) opcode(name, length string) (mfi.Opcode, uint32, error) {
	n, err := strconv.ParseUint(length, 10, 16)
	op, ok := x.opcodes[name]
	if !ok {
		v, hexErr := strconv.ParseUint(name, 16, 32)
		if hexErr != nil {
			return 0, 0, fmt.Errorf("no command is called %s", name)
		}
		op = mfi.Opcode(v)
	}
	return op, uint32(n), err
}

// compare compares an answer with what a line expects.
func (x *transcript) compare(line string) error {
	x.checked = true
	head, tail, _ := strings.Cut(line, ":")
	words := strings.Fields(head)
	switch {
	case len(words) == 1 && strings.HasPrefix(words[0], "@"):
		off, err := strconv.ParseUint(words[0][1:], 16, 16)
		want, hexErr := unhex(tail)
		if err != nil || hexErr != nil || len(want) == 0 {
			return fmt.Errorf("offset %v, bytes %v", err, hexErr)
		}
		if int(off)+len(want) > len(x.data) || !bytes.Equal(x.data[off:][:len(want)], want) {
			return fmt.Errorf("the data is % x", x.data[min(int(off), len(x.data)):min(int(off)+len(want), len(x.data))])
		}
	case len(words) == 2 && words[0] == "value":
		if got := fmt.Sprintf("%08x", x.register); got != words[1] {
			return fmt.Errorf("the register is %s", got)
		}
	case len(words) == 2 && words[0] == "sense":
		if len(x.sense) < 14 {
			return fmt.Errorf("there are %d bytes of sense data", len(x.sense))
		}
		if got := fmt.Sprintf("%x/%02x/%02x", x.sense[2], x.sense[12], x.sense[13]); got != words[1] {
			return fmt.Errorf("the sense data is %s", got)
		}
	case len(words) == 1:
		if got := x.status.String(); got != words[0] {
			return fmt.Errorf("the status is %s", got)
		}
	default:
		return fmt.Errorf("not understood")
	}
	return nil
}

func unhex(s string) ([]byte, error) { return hex.DecodeString(strings.Join(strings.Fields(s), "")) }
