package firmware

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A stock kernel's payload unpacks to what other tools make of it: the vmlinux that
// may lie above the directory of the image.
func TestUnpackRealKernels(t *testing.T) {
	eachKernel(t, func(t *testing.T, path string) {
		if filepath.Base(path) == "vmlinux" {
			t.Skip("a vmlinux carries no payload")
		}
		p, err := OpenPayload(openKernel(t, path))
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Unpack()
		if err != nil {
			t.Fatal(err)
		}
		u, err := openUnpackedELF(bytes.NewReader(got))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %d bytes, relocations: %d of 64 bits, %d negative, %d of 32 bits", p.form.name, len(got),
			len(u.relocations.add64), len(u.relocations.subtract32), len(u.relocations.add32))
		if u.relocations.empty() {
			t.Error("no relocations")
		}
		want, err := os.ReadFile(strings.TrimSuffix(filepath.Dir(path), "boot") + "vmlinux")
		if err == nil && !bytes.Equal(got, want) {
			t.Error("it differs from the vmlinux that another tool unpacked")
		}
	})
}

// BenchmarkUnpacked is what a real kernel that is unpacked costs before it starts: to
// find it in a cache, and to put it into memory that is new.
func BenchmarkUnpacked(b *testing.B) {
	dir := os.Getenv(kernelsVariable)
	images, _ := filepath.Glob(filepath.Join(dir, "*", "boot", "vmlinuz-*"))
	if dir == "" || len(images) == 0 {
		b.Skipf("%s does not name a directory with kernels", kernelsVariable)
	}
	for _, path := range images {
		kernel := openKernel(b, path)
		p, err := OpenPayload(kernel)
		if err != nil {
			b.Fatal(err)
		}
		data, err := p.Unpack()
		if err != nil {
			b.Fatal(err)
		}
		file := filepath.Join(b.TempDir(), "unpacked")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			b.Fatal(err)
		}
		data = nil
		unpacked := openKernel(b, file)
		layout := mustLayout(b, 512*mib)
		b.Run("ID/"+filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				if _, err := p.ID(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("Load/"+filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				m, err := unix.Mmap(-1, 0, 512*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if e, err := Load(flat(m), LoadConfig{Layout: layout, Kernel: kernel, Unpacked: unpacked}); err != nil || e.Declined != nil {
					b.Fatal(err, e.Declined)
				}
				b.StopTimer()
				if err := unix.Munmap(m); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
