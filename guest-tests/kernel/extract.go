package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
)

// Offsets in a bzImage, little-endian, from "The Linux/x86 Boot Protocol".
const (
	offSetupSects    = 0x1f1 // byte: sectors of 512 bytes after the first; 0 stands for 4
	offMagic         = 0x202 // "HdrS"
	offVersion       = 0x206 // protocol version; the payload fields came with 2.08
	offPayloadOffset = 0x248 // from the start of the protected-mode code
	offPayloadLength = 0x24c
	headerEnd        = 0x250
)

// compressions are the formats that a kernel's payload may have, by the bytes
// that it starts with, and the command that unpacks each. The kernel's build
// appends the length of the result to all but gzip, which has it as its own
// last field; trailing 4 says to cut it off.
var compressions = []struct {
	magic    string
	command  []string
	trailing int
}{
	{magic: "\x1f\x8b"},
	{magic: "\xfd7zXZ\x00", command: []string{"xz", "-dc", "--single-stream"}, trailing: 4},
	{magic: "\x28\xb5\x2f\xfd", command: []string{"zstd", "-dcq"}, trailing: 4},
	{magic: "\x02\x21\x4c\x18", command: []string{"lz4", "-dcq"}, trailing: 4},
}

// ExtractELF returns the ELF vmlinux that a bzImage carries.
func ExtractELF(image []byte) ([]byte, error) {
	payload, err := payload(image)
	if err != nil {
		return nil, err
	}
	elf, err := decompress(payload)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(elf, []byte("\x7fELF")) {
		return nil, errors.New("the payload is not an ELF image")
	}
	return elf, nil
}

// payload finds the compressed kernel by the fields of the setup header.
func payload(image []byte) ([]byte, error) {
	if len(image) < headerEnd || string(image[offMagic:offMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage: no setup header")
	}
	if v := binary.LittleEndian.Uint16(image[offVersion:]); v < 0x208 {
		return nil, fmt.Errorf("boot protocol %d.%02d does not tell where the payload is, 2.08 is needed", v>>8, v&0xff)
	}
	sectors := uint64(image[offSetupSects])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + uint64(binary.LittleEndian.Uint32(image[offPayloadOffset:]))
	length := uint64(binary.LittleEndian.Uint32(image[offPayloadLength:]))
	if start+length > uint64(len(image)) {
		return nil, fmt.Errorf("payload of %d bytes at %#x is outside the image of %d bytes", length, start, len(image))
	}
	return image[start : start+length], nil
}

func decompress(p []byte) ([]byte, error) {
	for _, c := range compressions {
		if !bytes.HasPrefix(p, []byte(c.magic)) {
			continue
		}
		p = p[:len(p)-c.trailing]
		if c.command == nil {
			zr, err := gzip.NewReader(bytes.NewReader(p))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(zr)
		}
		return pipe(p, c.command...)
	}
	return nil, fmt.Errorf("unknown compression: the payload starts with % x", p[:min(6, len(p))])
}

// pipe runs a command with the given input and returns its output.
func pipe(input []byte, command ...string) ([]byte, error) {
	cmd := exec.Command(command[0], command[1:]...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w %s", command[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
