package luks

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// SectorSize is the unit of encryption, and of offsets in the header, in bytes.
const SectorSize = 512

// Slots is the number of key slots.
const Slots = 8

const (
	magic        = "LUKS\xba\xbe"
	version      = 1
	headerSize   = 592
	firstSlot    = 208 // offset of the key slots in the header
	slotSize     = 48
	digestSize   = 20
	saltSize     = 32
	stripes      = 4000 // of every key slot that anybody writes
	slotActive   = 0x00ac71f3
	slotInactive = 0x0000dead

	// materialAlign is what QEMU and cryptsetup align key material to; the
	// first begins there.
	materialAlign = 4096
)

// Header is the header of a volume. Integers are big-endian on disk.
type Header struct {
	CipherName  string // aes
	CipherMode  string // as xts-plain64
	Hash        string // of key derivation and key splitting
	Payload     uint32 // sector that the encrypted disk begins at
	KeyBytes    uint32 // of the master key
	Digest      [digestSize]byte
	DigestSalt  [saltSize]byte
	DigestIters uint32
	UUID        string
	Slots       [Slots]Slot
}

// Slot is a key slot: how the master key is kept under one passphrase.
type Slot struct {
	Active     bool
	Iterations uint32 // of PBKDF2
	Salt       [saltSize]byte
	Material   uint32 // sector of the key material
	Stripes    uint32
}

// ReadHeader reads and validates the header of a volume.
func ReadHeader(r io.ReaderAt) (*Header, error) {
	b := make([]byte, headerSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read LUKS header: %w", err)
	}
	h, err := parse(b)
	if err != nil {
		return nil, err
	}
	return h, h.validate()
}

// parse decodes the bytes of a header.
func parse(b []byte) (*Header, error) {
	be := binary.BigEndian
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return nil, ErrFormat
	}
	if v := be.Uint16(b[6:]); v != version {
		return nil, fmt.Errorf("%w LUKS version %d (only %d is supported)", ErrUnsupported, v, version)
	}
	h := &Header{
		Payload:     be.Uint32(b[104:]),
		KeyBytes:    be.Uint32(b[108:]),
		DigestIters: be.Uint32(b[164:]),
	}
	copy(h.Digest[:], b[112:])
	copy(h.DigestSalt[:], b[132:])
	for _, f := range []struct {
		name string
		raw  []byte
		to   *string
	}{
		{"cipher name", b[8:40], &h.CipherName},
		{"cipher mode", b[40:72], &h.CipherMode},
		{"hash", b[72:104], &h.Hash},
		{"UUID", b[168:208], &h.UUID},
	} {
		n := bytes.IndexByte(f.raw, 0)
		if n < 0 {
			return nil, fmt.Errorf("%w: the %s has no end", ErrInvalid, f.name)
		}
		*f.to = string(f.raw[:n])
	}
	for i := range h.Slots {
		raw, s := b[firstSlot+i*slotSize:], &h.Slots[i]
		state := be.Uint32(raw)
		if state != slotActive && state != slotInactive {
			return nil, fmt.Errorf("%w: key slot %d has the state %#x", ErrInvalid, i, state)
		}
		s.Active = state == slotActive
		s.Iterations = be.Uint32(raw[4:])
		copy(s.Salt[:], raw[8:])
		s.Material = be.Uint32(raw[40:])
		s.Stripes = be.Uint32(raw[44:])
	}
	return h, nil
}

// marshal encodes the header.
func (h *Header) marshal() []byte {
	be := binary.BigEndian
	b := make([]byte, headerSize)
	copy(b, magic)
	be.PutUint16(b[6:], version)
	copy(b[8:40], h.CipherName)
	copy(b[40:72], h.CipherMode)
	copy(b[72:104], h.Hash)
	be.PutUint32(b[104:], h.Payload)
	be.PutUint32(b[108:], h.KeyBytes)
	copy(b[112:], h.Digest[:])
	copy(b[132:], h.DigestSalt[:])
	be.PutUint32(b[164:], h.DigestIters)
	copy(b[168:208], h.UUID)
	for i := range h.Slots {
		raw, s := b[firstSlot+i*slotSize:], &h.Slots[i]
		be.PutUint32(raw, slotInactive)
		if s.Active {
			be.PutUint32(raw, slotActive)
		}
		be.PutUint32(raw[4:], s.Iterations)
		copy(raw[8:40], s.Salt[:])
		be.PutUint32(raw[40:], s.Material)
		be.PutUint32(raw[44:], s.Stripes)
	}
	return b
}

// validate refuses headers that no one could have written in good faith, and
// what is not built. Everything else in this package relies on it.
func (h *Header) validate() error {
	if _, err := h.spec(); err != nil {
		return err
	}
	if h.DigestIters == 0 {
		return fmt.Errorf("%w: the master key's iteration count is zero", ErrInvalid)
	}
	if h.Payload < materialAlign/SectorSize {
		return fmt.Errorf("%w: the payload, at sector %d, overlaps the header", ErrInvalid, h.Payload)
	}
	size := uint64(materialSectors(h.KeyBytes))
	for i, s := range h.Slots {
		start := uint64(s.Material)
		switch {
		case s.Stripes != stripes:
			return fmt.Errorf("%w: key slot %d has %d stripes (must be %d)", ErrInvalid, i, s.Stripes, stripes)
		case s.Active && s.Iterations == 0:
			return fmt.Errorf("%w: key slot %d has an iteration count of zero", ErrInvalid, i)
		case start < materialAlign/SectorSize:
			return fmt.Errorf("%w: key slot %d, at sector %d, overlaps the header", ErrInvalid, i, start)
		case start+size > uint64(h.Payload):
			return fmt.Errorf("%w: key slot %d, at sector %d, overlaps the payload", ErrInvalid, i, start)
		}
		for j, t := range h.Slots[:i] {
			if other := uint64(t.Material); start < other+size && other < start+size {
				return fmt.Errorf("%w: key slots %d and %d overlap", ErrInvalid, j, i)
			}
		}
	}
	return nil
}

// PayloadOffset is where the encrypted disk begins on a plain LUKS disk, in
// bytes.
func (h *Header) PayloadOffset() int64 { return int64(h.Payload) * SectorSize }

// ActiveSlots counts the key slots in use.
func (h *Header) ActiveSlots() int {
	n := 0
	for i := range h.Slots {
		if h.Slots[i].Active {
			n++
		}
	}
	return n
}

// materialSectors is the room that the key material of a slot takes.
func materialSectors(keyBytes uint32) uint32 {
	const align = materialAlign / SectorSize
	n := (keyBytes*stripes + SectorSize - 1) / SectorSize
	return (n + align - 1) / align * align
}
