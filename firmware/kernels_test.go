package firmware

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kernelsVariable names a directory of real kernels, in which files that begin
// with "vmlinuz" or are "vmlinux" are tried, at any depth.
const kernelsVariable = "GOVMM_TEST_KERNELS"

// eachKernel runs a test for every real kernel.
func eachKernel(t *testing.T, f func(t *testing.T, path string)) {
	dir := os.Getenv(kernelsVariable)
	if dir == "" {
		t.Skipf("%s does not name a directory of kernels", kernelsVariable)
	}
	found := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), "vmlinuz") && d.Name() != "vmlinux" {
			return err
		}
		found = true
		name, _ := filepath.Rel(dir, path)
		t.Run(name, func(t *testing.T) { f(t, path) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Fatalf("no kernel in %s", dir)
	}
}

// kernelFile is a kernel on disk as a Source.
type kernelFile struct {
	*os.File
	size int64
}

func (k kernelFile) Size() int64 { return k.size }

func openKernel(t testing.TB, path string) kernelFile {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return kernelFile{f, info.Size()}
}

// TestRealKernels holds that stock kernels are placed as their headers ask.
func TestRealKernels(t *testing.T) {
	eachKernel(t, func(t *testing.T, path string) {
		k := openKernel(t, path)
		m := &windowed{ram: ram{}}
		e, err := Load(m, LoadConfig{Layout: mustLayout(t, 512*mib), Kernel: k, Cmdline: "quiet"})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s %s at %v, entry %#x", e.Format, e.Version, e.Kernel, e.RIP)
		if m.calls == 0 {
			t.Error("the windows of the memory were not used")
		}
		if e.Format == BzImage {
			checkRealBzImage(t, path, m.ram, e)
			return
		}
		checkRealELF(t, path, m.ram, e)
	})
}

func checkRealBzImage(t *testing.T, path string, m ram, e Entry) {
	// Distributions name the file after the release.
	if want := strings.TrimPrefix(filepath.Base(path), "vmlinuz-"); e.Version != want {
		t.Errorf("version %q, want %q", e.Version, want)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// What follows the code in the file is its signature.
	code := file[(int(file[hdrSetupSects])+1)*sectorSize:]
	code = code[:binary.LittleEndian.Uint32(file[hdrSysSize:])*sysUnit]
	if got := m.read(e.RIP-entry64Offset, uint64(len(code))); !bytes.Equal(got, code) {
		t.Error("what lies before the entry is not the protected-mode code")
	}
}

// checkRealELF compares with the standard library's reader.
func checkRealELF(t *testing.T, path string, m ram, e Entry) {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if !e.Kernel.Contains(Range{p.Paddr, p.Memsz}) {
			t.Errorf("segment at %#x is not inside %v", p.Paddr, e.Kernel)
		}
		want := make([]byte, p.Filesz)
		if _, err := p.ReadAt(want, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.read(p.Paddr, p.Filesz), want) {
			t.Errorf("segment at %#x differs from the file", p.Paddr)
		}
	}
}
