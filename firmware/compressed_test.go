package firmware

import (
	"bytes"
	"compress/gzip"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// compress has a program that was not written here compress data.
func compress(t testing.TB, data []byte, tool ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(tool[0]); err != nil {
		t.Skipf("%v (package %s)", err, tool[0])
	}
	cmd := exec.Command(tool[0], tool[1:]...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", tool[0], err)
	}
	return out
}

// TestCompressedKernels holds that a kernel which is compressed as a whole is
// loaded like the kernel itself, and that one that is cut off, damaged, or inside
// of something else again is refused in one line.
func TestCompressedKernels(t *testing.T) {
	l := mustLayout(t, 64*mib)
	for name, kernel := range map[string][]byte{"bzImage": makeBzImage(newFakeBzImage()), "ELF": makeELF(newFakeELF())} {
		plain := ram{}
		want, err := Load(plain, LoadConfig{Layout: l, Kernel: bytes.NewReader(kernel)})
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range [][]string{{"gzip", "-c"}, {"xz", "-c"}, {"zstd", "-c"}, {"lz4", "-c"}, {"lz4", "-l", "-c"}} {
			t.Run(name+" "+strings.Join(tool, " "), func(t *testing.T) {
				packed := compress(t, kernel, tool...)
				m := ram{}
				got, err := Load(m, LoadConfig{Layout: l, Kernel: bytes.NewReader(packed)})
				if err != nil {
					t.Fatal(err)
				}
				if got != want || !bytes.Equal(m.read(got.RIP, 64), plain.read(want.RIP, 64)) {
					t.Errorf("loaded as %+v, want %+v", got, want)
				}
				for what, bad := range map[string][]byte{
					"cut off": packed[:len(packed)/2],
					"header":  packed[:6],
					"damaged": damage(packed),
					"twice":   compress(t, packed, tool...),
				} {
					_, err := Load(ram{}, LoadConfig{Layout: l, Kernel: bytes.NewReader(bad)})
					if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), tool[0]) && what != "damaged" {
						t.Errorf("%s: %v", what, err)
					}
				}
			})
		}
	}
}

// damage changes bytes in the middle of a file.
func damage(p []byte) []byte {
	p = bytes.Clone(p)
	for i := len(p) / 3; i < len(p)/3+64 && i < len(p); i++ {
		p[i] ^= 0x5A
	}
	return p
}

// Data that unpacks to more than any kernel has is not unpacked to its end.
func TestCompressedBomb(t *testing.T) {
	var bomb bytes.Buffer
	w, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	if _, err := io.CopyN(w, zeroes{}, unpackedMax+1); err != nil {
		t.Fatal(err)
	}
	w.Close()
	_, err := Load(ram{}, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(bomb.Bytes())})
	if want := "kernel: gzip data of more than 256 MiB: too large for a kernel"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A dictionary that a kernel never needs is not allocated.
func TestXZDictionary(t *testing.T) {
	small := compress(t, []byte("x"), "xz", "-c", "--lzma2=dict=64MiB")
	if err := checkDictionary(bytes.NewReader(small)); err != nil {
		t.Error(err)
	}
	large := compress(t, []byte("x"), "xz", "-c", "--lzma2=dict=512MiB")
	if err := checkDictionary(bytes.NewReader(large)); err == nil {
		t.Error("a dictionary of 512 MiB is accepted")
	}
}

// A kernel without a 64-bit entry is entered in 32-bit protected mode, at the start
// of its code, with the zero page in ESI.
func Test32BitEntry(t *testing.T) {
	for name, change := range map[string]func(*fakeBzImage){
		"by its flags":    func(f *fakeBzImage) { f.xloadFlags = 0 },
		"by its protocol": func(f *fakeBzImage) { f.protocol = 0x20A },
	} {
		e, err := Load(ram{}, LoadConfig{Layout: mustLayout(t, 64*mib), Kernel: bytes.NewReader(bzImageWith(change))})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e.Mode != Protected32 || e.RIP != 0x1000000 || e.RSI != zeroPageAddr || e.RBX != 0 || e.CR0&cr0PG != 0 {
			t.Errorf("%s: %v at %#x, esi %#x, cr0 %#x", name, e.Mode, e.RIP, e.RSI, e.CR0)
		}
	}
}

// An initrd that does not fit below the PCI hole lies above 4 GiB, where the kernel
// says that it can take it from there.
func TestHighInitrd(t *testing.T) {
	const size = 3*gib - 4096
	big := pages{size}
	l := mustLayout(t, 8*gib)
	m := &ranges{}
	e, err := Load(m, LoadConfig{Layout: l, Kernel: bytes.NewReader(makeBzImage(newFakeBzImage())), Initrd: big})
	if err != nil {
		t.Fatal(err)
	}
	if !l.HighRAM().Contains(e.Initrd) || e.Initrd.Size != size || e.Initrd.Base%pageSize != 0 {
		t.Errorf("initrd at %v", e.Initrd)
	}
	if !m.wrote(e.Initrd) {
		t.Error("not all of the initrd was written")
	}
	below := bzImageWith(func(f *fakeBzImage) { f.xloadFlags = xlf64Bit })
	if _, err := Load(m, LoadConfig{Layout: l, Kernel: bytes.NewReader(below), Initrd: big}); err == nil {
		t.Error("the initrd is above 4 GiB, where the kernel can't take it from")
	}
}

// pages is a file of zeroes.
type pages struct{ n int64 }

func (p pages) Size() int64 { return p.n }
func (p pages) ReadAt(b []byte, off int64) (int, error) {
	n := min(int64(len(b)), p.n-off)
	clear(b[:n])
	return int(n), nil
}

// ranges is guest memory that knows where it was written only.
type ranges struct{ list []Range }

func (m *ranges) WriteAt(p []byte, addr uint64) error {
	if n := len(m.list); n > 0 && m.list[n-1].End() == addr {
		m.list[n-1].Size += uint64(len(p))
		return nil
	}
	m.list = append(m.list, Range{addr, uint64(len(p))})
	return nil
}

func (m *ranges) wrote(r Range) bool {
	for _, o := range m.list {
		if o.Contains(r) {
			return true
		}
	}
	return false
}
