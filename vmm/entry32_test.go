package vmm

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// kernel32 is a bzImage without a 64-bit entry whose code switches the machine off
// if it runs in 32-bit protected mode and ESI leads to the zero page of the boot
// protocol, and else resets it.
func kernel32() *bytes.Reader {
	const (
		setup    = 5 * 512
		codeSize = 1024
	)
	le := binary.LittleEndian
	image := make([]byte, setup+codeSize)
	image[0x1F1] = 4
	le.PutUint32(image[0x1F4:], codeSize/16)
	le.PutUint16(image[0x1FE:], 0xAA55)
	image[0x200], image[0x201] = 0xEB, 0x6A
	copy(image[0x202:], "HdrS")
	le.PutUint16(image[0x206:], 0x020A)
	image[0x211] = 1                        // LOADED_HIGH
	le.PutUint32(image[0x22C:], 0x7FFFFFFF) // initrd_addr_max
	image[0x234] = 1                        // relocatable
	le.PutUint32(image[0x238:], 255)        // cmdline_size
	le.PutUint64(image[0x258:], 0x200000)   // pref_address
	le.PutUint32(image[0x260:], 0x10000)    // init_size
	copy(image[setup:], []byte{
		0x81, 0xBE, 0x02, 0x02, 0x00, 0x00, 'H', 'd', 'r', 'S', // cmp dword [esi + 0x202], "HdrS"
		0x75, 0x0B, // jne reset
		0x66, 0xBA, 0x04, 0x06, // mov dx, 0x604
		0x66, 0xB8, 0x00, 0x20, // mov ax, 0x2000
		0x66, 0xEF, // out dx, ax
		0xF4,                   // hlt
		0x66, 0xBA, 0xF9, 0x0C, // reset: mov dx, 0xcf9
		0xB0, 0x06, // mov al, 6
		0xEE, // out dx, al
		0xF4, // hlt
	})
	return bytes.NewReader(image)
}

// A kernel that has only a 32-bit entry is entered there.
func TestKernelWith32BitEntry(t *testing.T) {
	m := newMachine(t, nil, Config{Kernel: kernel32(), Cmdline: "quiet"})
	runTo(t, m, PowerOff)
}
