package firmware

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Further fields of the setup header (boot protocol 2.08), and what the payload ends
// in: whatever its format, the size of what it unpacks to.
const (
	hdrPayloadOffset = 0x248 // u32: from the start of the protected-mode code
	hdrPayloadLength = 0x24C // u32
	payloadSizeLen   = 4
	payloadMin       = 16 // bytes, less than any compressed file has
)

// Payload is the kernel that a bzImage carries compressed. What it unpacks to is an
// ELF file with the table of its relocations after it: a Source of that, as
// LoadConfig.Unpacked, spares the guest to unpack it.
type Payload struct {
	data *io.SectionReader
	size uint32 // unpacked
	form *compression
}

// errPayload is the reason why a Payload cannot be used.
var errPayload = errors.New("the kernel's payload cannot be unpacked here")

// OpenPayload finds the payload of a kernel. An error says why there is none that
// Load could use, which is no fault of the kernel.
func OpenPayload(kernel Source) (*Payload, error) {
	img, err := openImage(kernel, true) // what is compressed as a whole is unpacked at each start anyway
	if err != nil {
		return nil, err
	}
	b, ok := img.(*bzImage)
	if !ok {
		return nil, fmt.Errorf("%w: not a bzImage", errPayload)
	}
	return b.payload()
}

// payload finds what the bzImage carries.
func (b *bzImage) payload() (*Payload, error) {
	le := binary.LittleEndian
	if !b.entry64 || !b.relocatable {
		return nil, fmt.Errorf("%w: it is not of 64 bits and relocatable", errPayload)
	}
	at, n := uint64(le.Uint32(b.header[hdrPayloadOffset-hdrSetupSects:])), uint64(le.Uint32(b.header[hdrPayloadLength-hdrSetupSects:]))
	if !(Range{0, b.codeSize}).Contains(Range{at, n}) || n < payloadMin {
		return nil, fmt.Errorf("%w: %d bytes at %#x are not inside the %d bytes of code", errPayload, n, at, b.codeSize)
	}
	data := io.NewSectionReader(b.src, b.codeOffset+int64(at), int64(n))
	head, tail := make([]byte, payloadMin), make([]byte, payloadSizeLen)
	if err := errors.Join(readFull(data, head, 0), readFull(data, tail, int64(n-payloadSizeLen))); err != nil {
		return nil, err
	}
	p := &Payload{data: data, size: le.Uint32(tail), form: compressionOf(head)}
	switch {
	case p.form == nil:
		return nil, fmt.Errorf("%w: unknown compression", errPayload)
	case p.size > unpackedMax:
		return nil, fmt.Errorf("%w: unpacked it has %d bytes, at most %d make sense", errPayload, p.size, unpackedMax)
	case p.form.name != gzipName:
		// gzip's own last field is that size; others have it after their end.
		p.data = io.NewSectionReader(data, 0, int64(n-payloadSizeLen))
	}
	return p, nil
}

// Size is how many bytes the payload unpacks to, as it says.
func (p *Payload) Size() int64 { return int64(p.size) }

// ID is a name for what the payload unpacks to: the hash of its content in letters
// and digits.
func (p *Payload) ID() (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(p.data, 0, p.data.Size())); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Unpack unpacks the payload into memory, and checks what came out.
func (p *Payload) Unpack() ([]byte, error) {
	var out []byte
	var err error
	if p.form.name == xzName {
		out, err = unpackKernelXZ(p.data, int(p.size))
	} else {
		out, err = p.form.unpack(p.data)
	}
	if err != nil {
		return nil, err
	}
	if len(out) != int(p.size) {
		return nil, fmt.Errorf("bad payload: %d bytes of %s data, it says %d", len(out), p.form.name, p.size)
	}
	if _, err := openUnpackedELF(bytes.NewReader(out)); err != nil {
		return nil, err
	}
	return out, nil
}
