package firmware

import (
	"bytes"
	"errors"
	"fmt"
)

// foreign are files that people take for a kernel, by their magic numbers.
var foreign = [...]struct {
	offset int
	magic  string
	name   string
}{
	{0x38, "ARM\x64", "a kernel for arm64, not x86-64"},
	{0x38, "RSC\x05", "a kernel for RISC-V, not x86-64"},
	{0, "BZh", "bzip2 data: unpack it first"},
	{0, "070701", "a cpio archive: is it the initrd?"},
	{0, "QFI\xfb", "a qcow2 image: is it the disk?"},
	{0, "MZ", "an EFI program without Linux's boot header"},
}

// notAKernel says what a file is that is no kernel.
func notAKernel(head []byte) error {
	if len(head) == 0 {
		return errors.New("the file is empty")
	}
	for _, f := range foreign {
		if f.offset <= len(head) && bytes.HasPrefix(head[f.offset:], []byte(f.magic)) {
			return fmt.Errorf("not a kernel but %s", f.name)
		}
	}
	return errors.New("not a kernel: neither a bzImage nor an ELF file")
}
