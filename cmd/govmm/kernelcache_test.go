package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// packedKernel is a bzImage, as small as one can be, and what it unpacks to.
func packedKernel(t *testing.T) (image, unpacked []byte) {
	t.Helper()
	le := binary.LittleEndian
	const address, align, page = 16 << 20, 2 << 20, 4096
	var b bytes.Buffer
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7F, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Entry: address,
		Phoff: 64, Phentsize: 56, Phnum: 1, Shoff: 2 * page, Shentsize: 64, Shnum: 1,
	}
	program := elf.Prog64{Type: uint32(elf.PT_LOAD), Off: page, Paddr: address, Filesz: page, Memsz: page, Align: align}
	for _, v := range []any{header, program} {
		if err := binary.Write(&b, le, v); err != nil {
			t.Fatal(err)
		}
	}
	unpacked = append(b.Bytes(), make([]byte, 2*page+64-b.Len())...)
	copy(unpacked[page:], "\xf4\xeb\xfd") // hlt; jmp to it
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(unpacked); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	const setup, code, before = 1024, 4096, 1024
	image = make([]byte, setup+code)
	copy(image[setup+before:], packed.Bytes())
	image[0x1F1] = 1
	le.PutUint16(image[0x1FE:], 0xAA55)
	image[0x201] = 0x6A
	copy(image[0x202:], "HdrS")
	le.PutUint16(image[0x206:], 0x20F)
	image[0x211] = 1 // loaded high
	image[0x234] = 1 // relocatable
	for offset, value := range map[int]uint32{
		0x1F4: code / 16, 0x22C: 0x7FFFFFFF, 0x230: align, 0x236: 3, 0x238: 2047,
		0x248: before, 0x24C: uint32(packed.Len()), 0x258: address, 0x260: 1 << 20,
	} {
		le.PutUint32(image[offset:], value)
	}
	return image, unpacked
}

// A kernel is put into the cache by its first start, and found there by the next.
func TestKernelCache(t *testing.T) {
	image, want := packedKernel(t)
	dir := filepath.Join(t.TempDir(), "cache")
	spec := parseRun(t, "--kernel", write(t, string(image), t.TempDir(), "k"), "--kernel-cache", dir)
	a := &app{stderr: os.Stderr}
	if err := a.findUnpacked(&spec); err != nil || spec.unpacked != "" {
		t.Fatalf("at first: %q, %v", spec.unpacked, err)
	}
	for deadline := time.Now().Add(time.Minute); spec.unpacked == "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err := spec.lookUp(); err != nil && err != errNotCached {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(spec.unpacked); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v: not the unpacked kernel", len(got), err)
	}
	again := parseRun(t, spec.args()...)
	if again.unpacked != spec.unpacked {
		t.Errorf("the nested machine is given %q, want %q", again.unpacked, spec.unpacked)
	}
}

// A cache that was asked for must be usable; the usual one is used if it can be. None
// is touched for a kernel that is not packed.
func TestKernelCacheThatCannotBeUsed(t *testing.T) {
	image, _ := packedKernel(t)
	packed, plain, file := write(t, string(image), t.TempDir(), "k"), write(t, "", t.TempDir(), "k"), write(t, "", t.TempDir(), "file")
	t.Setenv("XDG_CACHE_HOME", file)
	a := &app{stderr: os.Stderr}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--kernel", packed, "--kernel-cache", file}, "--kernel-cache " + file + ": "},
		{[]string{"--kernel", plain, "--kernel-cache", file}, ""},
		{[]string{"--kernel", packed}, ""},
		{[]string{"--kernel", packed, "--kernel-cache", "none"}, ""},
	} {
		spec := parseRun(t, tt.args...)
		err := a.findUnpacked(&spec)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// A machine without a kernel starts inside the nested machine, and one with a kernel
// looks into no cache there.
func TestNestedArgsWithoutKernel(t *testing.T) {
	bios := write(t, strings.Repeat("\xf4", 64<<10), t.TempDir(), "bios")
	for _, args := range [][]string{{"--firmware", bios}, {"--kernel", write(t, "", t.TempDir(), "k")}} {
		spec := parseRun(t, args...)
		inside := parseRun(t, spec.nestedArgs()...)
		if want := map[bool]string{true: kernelCacheNone}[spec.kernel != ""]; inside.kernelCache != want {
			t.Errorf("%q: --kernel-cache %q inside, want %q", args, inside.kernelCache, want)
		}
		if inside.kernel != spec.kernel || inside.bios != spec.bios {
			t.Errorf("%q: %q inside", args, spec.nestedArgs())
		}
	}
}
