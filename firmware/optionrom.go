package firmware

import (
	"errors"
	"fmt"
)

// The header of an option ROM (PCI Firmware Specification 3.0, 5.1.1): a signature
// and the size in units of 512 bytes.
const (
	optionROMUnit      = 512
	optionROMSizeField = 2
	// OptionROMMax is the largest option ROM that its header can tell of, in bytes.
	OptionROMMax = 255 * optionROMUnit
)

// ReadOptionROM reads an option ROM, such as the BIOS of a VGA adapter, and checks
// that it is one.
func ReadOptionROM(src Source) ([]byte, error) {
	size := src.Size()
	if size < optionROMUnit || size > OptionROMMax {
		return nil, about("BIOS", src, fmt.Errorf("%d bytes: an option ROM has %d to %d", size, optionROMUnit, OptionROMMax))
	}
	data := make([]byte, size)
	if err := readFull(src, data, 0); err != nil {
		return nil, about("BIOS", src, err)
	}
	if data[0] != 0x55 || data[1] != 0xAA {
		return nil, about("BIOS", src, errors.New("not an option ROM: it does not begin with 55 AA"))
	}
	if need := int64(data[optionROMSizeField]) * optionROMUnit; need > size || need == 0 {
		return nil, about("BIOS", src, fmt.Errorf("its header says %d bytes, the file has %d", need, size))
	}
	return data, nil
}
