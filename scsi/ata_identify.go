package scsi

import (
	"encoding/binary"
	"math/bits"
)

// ataWhat is IDENTIFY DEVICE.
func ataWhat(u *Unit, c *Command, _ *taskFile) Sense {
	b := u.identify()
	return u.ataReply(c, b[:])
}

// identify is the data of IDENTIFY DEVICE (ACS-2): 256 words, little endian. The
// comments give the words.
func (u *Unit) identify() (b [512]byte) {
	a := u.config.ATA
	word := func(n int, v uint16) { binary.LittleEndian.PutUint16(b[2*n:], v) }
	word(0, 0x0040) // a fixed drive
	ataText(b[20:40], a.Serial)
	ataText(b[46:54], a.Firmware)
	ataText(b[54:94], a.Model)
	word(47, 0x8000)
	word(48, 0x4000)
	word(49, 0x2F00) // standby timer by the standard, IORDY, LBA, DMA
	word(50, 0x4000)
	word(53, 0x0006) // words 64 to 70 and 88 are valid
	blocks := u.Blocks()
	binary.LittleEndian.PutUint32(b[120:], uint32(min(blocks, 1<<28-1)))
	word(63, 0x0007) // multiword DMA modes 0 to 2
	word(64, 0x0003) // PIO modes 3 and 4
	for n := 65; n <= 68; n++ {
		word(n, 120) // ns
	}
	word(69, u.ataTrimBits())
	word(76, 0x000E) // 1.5, 3 and 6 Gb/s
	word(77, 0x0006) // now at 6 Gb/s
	word(80, 0x03F0) // ATA/ATAPI-4 to ACS-2
	word(81, 0x0110) // ACS-2 revision 3
	// Supported, and enabled: SMART, power management, write cache; FLUSH CACHE
	// EXT, FLUSH CACHE, 48 bits; name, logging, self-test and its log.
	word(82, 0x0029)
	word(83, 0x7400)
	word(84, 0x4163)
	enabled := uint16(0x0029)
	if !u.WriteCache() {
		enabled &^= 0x0020
	}
	word(85, enabled)
	word(86, 0x3400)
	word(87, 0x4163)
	word(88, 0x407F) // UDMA modes 0 to 6, of which 6 is selected
	binary.LittleEndian.PutUint64(b[200:], min(blocks, 1<<48-1))
	if canUnmap(u) {
		word(105, 8)   // blocks of a list of DATA SET MANAGEMENT
		word(169, 0x1) // TRIM
	}
	u.ataSectors(word)
	if name := u.config.Identity.NAA; len(name) == 8 {
		for i := range 4 {
			word(108+i, binary.BigEndian.Uint16(name[2*i:]))
		}
	}
	word(119, 0x4000)
	word(120, 0x4000)
	word(217, u.config.RotationRate)
	word(222, 0x107F) // serial, up to SATA 3.1
	b[510] = 0xA5
	b[511] = checksum(b[:511])
	return b
}

// ataTrimBits is what is read after TRIM, of word 69.
func (u *Unit) ataTrimBits() uint16 {
	const deterministic, zeroes = 1 << 14, 1 << 5
	if canUnmap(u) && u.medium.DiscardZeroes() {
		return deterministic | zeroes
	}
	return 0
}

// ataSectors sets the words about sectors: 106, 117 and 118.
func (u *Unit) ataSectors(word func(int, uint16)) {
	const valid, several, long = 1 << 14, 1 << 13, 1 << 12
	w := uint16(valid)
	if per := u.config.PhysicalBlockSize / u.config.BlockSize; per > 1 {
		w |= several | uint16(bits.TrailingZeros32(per))
	}
	if n := u.config.BlockSize; n > 512 {
		w |= long
		word(117, uint16(n/2))
	}
	word(106, w)
}

// ataText puts text into dst as ATA has it: padded with spaces, the bytes of each
// word swapped.
func ataText(dst []byte, s string) {
	pad(dst, s)
	for i := 0; i+1 < len(dst); i += 2 {
		dst[i], dst[i+1] = dst[i+1], dst[i]
	}
}

// checksum makes the sum of p and itself 0.
func checksum(p []byte) byte {
	sum := byte(0)
	for _, v := range p {
		sum += v
	}
	return -sum
}

// appendATAInformation is the ATA Information VPD page (SAT-3): the translation
// layer, the drive's signature and its IDENTIFY data.
func appendATAInformation(u *Unit, b []byte) []byte {
	var p [52]byte // from byte 4 of the page on
	pad(p[4:12], "LSI")
	pad(p[12:28], "LSI SATL")
	pad(p[28:32], "0008")
	p[32] = 0x34               // a register FIS from the drive,
	p[34], p[36] = ataReady, 1 // its status, LBA
	p[44] = 1                  // and count
	b = append(b, p[:]...)
	b = append(b, 0xEC, 0, 0, 0)
	identify := u.identify()
	return append(b, identify[:]...)
}
