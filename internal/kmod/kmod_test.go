package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// object is the smallest relocatable ELF file with the given .modinfo section.
func object(t *testing.T, modinfo string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	var header elf.Header64
	size := uint64(binary.Size(header))
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	header.Type, header.Machine, header.Version = uint16(elf.ET_REL), uint16(elf.EM_X86_64), 1
	header.Ehsize, header.Shnum, header.Shstrndx = uint16(size), 3, 2
	header.Shentsize = uint16(binary.Size(elf.Section64{}))
	header.Shoff = size + uint64(len(modinfo)+len(names))
	var b bytes.Buffer
	for _, part := range []any{
		header, []byte(modinfo), []byte(names), elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: size, Size: uint64(len(modinfo))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: size + uint64(len(modinfo)), Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// tree writes module files, given as path and list of dependencies.
func tree(t *testing.T, depends map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, list := range depends {
		write(t, filepath.Join(dir, path), object(t, "license=GPL\x00depends="+list+"\x00name=x\x00"))
	}
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestClosure(t *testing.T) {
	dir := tree(t, map[string]string{
		"kernel/arch/kvm-amd.ko":   "kvm,ccp",
		"kernel/arch/kvm.ko":       "irqbypass",
		"kernel/virt/irqbypass.ko": "",
		"kernel/crypto/ccp.ko":     "rng-core",
		"unrelated.ko":             "absent",
	})
	write(t, filepath.Join(dir, "modules.builtin"), []byte("kernel/drivers/char/rng-core.ko\n"))
	link := filepath.Join(t.TempDir(), "modules")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, link} {
		tr, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		files, err := tr.Closure("kvm_amd", "irqbypass", "rng_core")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			names = append(names, Name(f))
		}
		if want := []string{"irqbypass", "kvm", "ccp", "kvm_amd"}; !slices.Equal(names, want) {
			t.Errorf("load order %v, want %v", names, want)
		}
		for name, want := range map[string]bool{"kvm-amd": true, "rng_core": true, "kvm_intel": false} {
			if tr.Has(name) != want {
				t.Errorf("Has(%q) = %v", name, !want)
			}
		}
	}
}

func TestClosureErrors(t *testing.T) {
	dir := tree(t, map[string]string{"a.ko": "b", "b.ko": "gone", "loop1.ko": "loop2", "loop2.ko": "loop1"})
	write(t, filepath.Join(dir, "packed.ko.xz"), []byte("\xfd7zXZ"))
	write(t, filepath.Join(dir, "rubbish.ko"), []byte("rubbish"))
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Closure("a"); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "gone") || !strings.Contains(err.Error(), "needed by b") {
		t.Errorf("missing dependency: %v", err)
	}
	if _, err := tr.Closure("packed"); err == nil || !strings.Contains(err.Error(), "compressed") {
		t.Errorf("compressed module: %v", err)
	}
	if _, err := tr.Closure("rubbish"); err == nil || !strings.Contains(err.Error(), "rubbish.ko") {
		t.Errorf("file that is no module: %v", err)
	}
	if files, err := tr.Closure("loop1"); err != nil || len(files) != 2 {
		t.Errorf("modules that need each other: %v, %v", files, err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}
