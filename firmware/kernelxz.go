package firmware

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/ulikunitz/xz/lzma"
)

// The form of .xz that Linux's build makes, and its decompressor reads: one stream of
// one block, whose filters are the converter of x86 branches, or none, and LZMA2, and
// whose check is CRC32 (The .xz File Format 1.1.0).
const (
	xzHeaderSize  = 12
	xzFooterSize  = 12
	xzFooterMagic = "YZ"
	xzCheckCRC32  = 1
	xzCheckSize   = 4
	xzFilterX86   = 0x04
	xzFilterLZMA2 = 0x21
	xzUnit        = 4
	xzDictMin     = 4 << 10
)

var errKernelXZ = errors.New("bad xz data: not of the form that kernels have")

// unpackKernelXZ unpacks the xz data of a bzImage to so many bytes.
func unpackKernelXZ(src *io.SectionReader, size int) ([]byte, error) {
	header := make([]byte, xzHeaderSize+1)
	footer := make([]byte, xzFooterSize)
	if src.Size() < xzHeaderSize+xzFooterSize+1 {
		return nil, errKernelXZ
	}
	if err := errors.Join(readFull(src, header, 0), readFull(src, footer, src.Size()-xzFooterSize)); err != nil {
		return nil, err
	}
	if string(footer[xzFooterSize-2:]) != xzFooterMagic || header[7] != xzCheckCRC32 || header[xzHeaderSize] == 0 {
		return nil, errKernelXZ
	}
	index := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * xzUnit
	check := src.Size() - xzFooterSize - index - xzCheckSize
	block := make([]byte, (int(header[xzHeaderSize])+1)*xzUnit)
	data := int64(xzHeaderSize + len(block))
	if check < data {
		return nil, errKernelXZ
	}
	if err := readFull(src, block, xzHeaderSize); err != nil {
		return nil, err
	}
	x86, dict, err := parseXZFilters(block)
	if err != nil {
		return nil, err
	}
	r, err := lzma.Reader2Config{DictCap: max(min(dict, size), xzDictMin)}.NewReader2(bufio.NewReader(io.NewSectionReader(src, data, check-data)))
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("bad xz data: %w", err)
	}
	if x86 {
		decodeX86Branches(out)
	}
	sum := make([]byte, xzCheckSize)
	if err := readFull(src, sum, check); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(out) != binary.LittleEndian.Uint32(sum) {
		return nil, errors.New("bad xz data: the checksum is wrong")
	}
	return out, nil
}

// parseXZFilters reads a block header (3.1): whether branches are converted, and
// the size of the dictionary.
func parseXZFilters(block []byte) (x86 bool, dict int, err error) {
	const flags, first, sizesPresent = 1, 2, 0xC0
	filters := block[first:]
	switch block[flags] &^ sizesPresent {
	case 0: // one filter
	case 1:
		if len(filters) < 2 || filters[0] != xzFilterX86 || filters[1] != 0 {
			return false, 0, errKernelXZ
		}
		x86, filters = true, filters[2:]
	default:
		return false, 0, errKernelXZ
	}
	if block[flags]&sizesPresent != 0 || len(filters) < 3 || filters[0] != xzFilterLZMA2 || filters[1] != 1 {
		return false, 0, errKernelXZ
	}
	// The size is 2 or 3 times a power of two (5.3.1).
	n := filters[2]
	if n > 40 || (uint64(2)|uint64(n&1))<<(n/2+11) > dictionaryMax {
		return false, 0, fmt.Errorf("xz data that needs a dictionary of more than %s", FormatSize(dictionaryMax))
	}
	return x86, int((uint64(2) | uint64(n&1)) << (n/2 + 11)), nil
}

// decodeX86Branches turns the absolute targets of CALL and JMP instructions back into
// relative ones (5.3.2, "x86"). Only operands whose top byte is that of a small number
// were turned into absolute ones; and an opcode is looked at in the light of which of
// the three bytes before it looked like one that was not, as it may be its operand.
func decodeX86Branches(p []byte) {
	const (
		operand = 4
		window  = 7 // of recent: one bit for each of three bytes, the nearest first
	)
	small := func(b byte) bool { return b == 0 || b == 0xFF }
	var recent uint
	for i := 0; i+operand < len(p); {
		if p[i]&0xFE != 0xE8 {
			recent = recent << 1 & window
			i++
			continue
		}
		within := bits.Len(recent) // of an earlier opcode's operand: the byte where it would be
		if bits.OnesCount(recent) > 1 || recent != 0 && small(p[i+operand-within]) || !small(p[i+operand]) {
			recent = (recent<<1 | 1) & window
			i++
			continue
		}
		next := uint32(i + 1 + operand)
		target := binary.LittleEndian.Uint32(p[i+1:])
		distance := target - next
		for shift := 8 * within; shift > 0 && small(byte(distance>>(24-shift))); {
			target = distance ^ (1<<(32-shift) - 1)
			distance = target - next
		}
		// 25 bits with their sign are kept.
		binary.LittleEndian.PutUint32(p[i+1:], uint32(int32(distance<<7)>>7))
		recent = 0
		i += 1 + operand
	}
}
