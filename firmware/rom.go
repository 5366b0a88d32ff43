package firmware

import "fmt"

// romEnd is where the ROM of a PC ends.
const romEnd = 1 << 32

// Sizes that a ROM may have, in bytes: whole pages, as the code of UEFI firmware has
// where its variables are in a file of their own, and not so many that it reaches down
// to the hypervisor's pages.
const (
	minROM = 64 << 10
	maxROM = romEnd - (IdentityMapBase + hypervisorPages*pageSize)
)

// ROM is a BIOS, or UEFI firmware.
type ROM struct {
	src  Source
	size uint64
	uefi bool
}

// A UEFI firmware image begins with a firmware volume, which has its signature
// here (UEFI Platform Initialization 1.7, volume 3, 3.2.1).
const (
	volumeSignature   = "_FVH"
	volumeSignatureAt = 40
)

// OpenROM checks the size of a BIOS image.
func OpenROM(src Source) (ROM, error) {
	size := src.Size()
	if size < minROM || size > maxROM || size%pageSize != 0 {
		return ROM{}, fmt.Errorf("BIOS image of %d bytes: must be a multiple of %s, from %s to %s", size, FormatSize(pageSize), FormatSize(minROM), FormatSize(maxROM))
	}
	head := make([]byte, volumeSignatureAt+len(volumeSignature))
	if err := readFull(src, head, 0); err != nil {
		return ROM{}, about("BIOS", src, err)
	}
	return ROM{src, uint64(size), string(head[volumeSignatureAt:]) == volumeSignature}, nil
}

// UEFI reports whether this is UEFI firmware rather than a BIOS. It finds its
// variables in the image, read-only like the rest, and so forgets what it is told to
// store.
func (r ROM) UEFI() bool { return r.uefi }

// Range is where the ROM is: it ends at 4 GiB, 16 bytes after the first
// instruction of a processor.
func (r ROM) Range() Range { return Range{romEnd - r.size, r.size} }

// Load writes the ROM into rom, which is the memory at its Range.
func (r ROM) Load(rom Memory) error {
	g := guest{mem: rom, ram: r.Range()}
	return g.copyIn(r.src, 0, r.Range().Base, r.size)
}
