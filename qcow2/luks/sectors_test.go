package luks

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

// memFile is a file in memory that can fail.
type memFile struct {
	mu  sync.Mutex
	b   []byte
	err error
}

func (f *memFile) ReadV(bufs [][]byte, off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range bufs {
		clear(p)
		if off < int64(len(f.b)) {
			copy(p, f.b[off:])
		}
		off += int64(len(p))
	}
	return f.err
}

func (f *memFile) WriteV(bufs [][]byte, off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range bufs {
		off += int64(copy(f.b[off:], p))
	}
	return f.err
}

func (f *memFile) Sync() error { return f.err }

// scatter cuts b into a list of random pieces, some of them empty.
func scatter(rng *rand.Rand, b []byte) [][]byte {
	var list [][]byte
	for len(b) > 0 {
		n := rng.IntN(len(b) + 1)
		if rng.IntN(2) == 0 {
			n = min(n, rng.IntN(700))
		}
		list, b = append(list, b[:n:n]), b[n:]
	}
	return append(list, nil)
}

// TestSectors does random requests, whole sectors and parts, on encrypted files
// and a model.
func TestSectors(t *testing.T) {
	const size, base = 2 << 20, 4096
	for _, p := range []Params{{}, {Mode: "cbc", IVGen: "essiv"}} {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 0))
		_, v := mustCreate(t, p, "x")
		f := &memFile{b: make([]byte, base+size)}
		s := NewSectors(f, v.Cipher())
		model := make([]byte, size)
		if err := s.WriteV([][]byte{model}, base, 0); err != nil {
			t.Fatal(err)
		}
		for step := range 60 {
			off := rng.Int64N(size)
			n := rng.Int64N(min(size-off, 300<<10)) + 1
			if rng.IntN(3) > 0 {
				off, n = off/SectorSize*SectorSize, roundUp(n)
			}
			if rng.IntN(2) == 0 {
				n = min(n, int64(1+rng.IntN(2000)), size-off)
			}
			data := make([]byte, n)
			if rng.IntN(2) == 0 {
				for i := range data {
					data[i] = byte(rng.Uint32())
				}
				before := bytes.Clone(data)
				if err := s.WriteV(scatter(rng, data), base+off, off); err != nil {
					t.Fatal(err)
				}
				copy(model[off:], data)
				if !bytes.Equal(before, data) {
					t.Fatalf("seed %d, step %d: the caller's memory changed", seed, step)
				}
			} else {
				if err := s.ReadV(scatter(rng, data), base+off, off); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(data, model[off:off+n]) {
					t.Fatalf("seed %d, step %d: read of %d bytes at %d: something else", seed, step, n, off)
				}
			}
		}
		all := bytes.Clone(f.b[base:])
		for i := range int64(size / SectorSize) {
			p := all[i*SectorSize : (i+1)*SectorSize]
			v.Cipher().Decrypt(p, p, uint64(i))
		}
		if !bytes.Equal(all, model) {
			t.Errorf("seed %d: the file decrypts to something else", seed)
		}
	}
}

// TestPartsOfOneSector has many goroutines write bytes of the same sectors.
func TestPartsOfOneSector(t *testing.T) {
	_, v := mustCreate(t, Params{}, "x")
	f := &memFile{b: make([]byte, 2*SectorSize)}
	s := NewSectors(f, v.Cipher())
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if err := s.WriteV([][]byte{bytes.Repeat([]byte{byte(i)}, 16)}, int64(i*16), int64(i*16)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := make([]byte, 2*SectorSize)
	if err := s.ReadV([][]byte{got}, 0, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if b != byte(i/16) {
			t.Fatalf("byte %d is %d: a write was lost", i, b)
		}
	}
}

// TestSectorsFail passes errors of the file on.
func TestSectorsFail(t *testing.T) {
	_, v := mustCreate(t, Params{}, "x")
	s := NewSectors(&memFile{b: make([]byte, 4096), err: errBroken}, v.Cipher())
	for _, n := range []int{512, 100} {
		if err := s.ReadV([][]byte{make([]byte, n)}, 0, 0); !errors.Is(err, errBroken) {
			t.Error(err)
		}
		if err := s.WriteV([][]byte{make([]byte, n)}, 0, 0); !errors.Is(err, errBroken) {
			t.Error(err)
		}
	}
	if err := s.WriteV([][]byte{make([]byte, 600)}, 500, 500); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

// TestSectorsDoNotAllocate is about the steady state, whole sectors and parts.
func TestSectorsDoNotAllocate(t *testing.T) {
	_, v := mustCreate(t, Params{}, "x")
	s := NewSectors(&memFile{b: make([]byte, 1<<20)}, v.Cipher())
	bufs := [][]byte{make([]byte, 4096), make([]byte, 100), make([]byte, 412)}
	for name, do := range map[string]func() error{
		"read":           func() error { return s.ReadV(bufs, 0, 512) },
		"write":          func() error { return s.WriteV(bufs, 0, 512) },
		"read of parts":  func() error { return s.ReadV(bufs, 77, 77) },
		"write of parts": func() error { return s.WriteV(bufs, 77, 77) },
	} {
		n := testing.AllocsPerRun(50, func() {
			if err := do(); err != nil {
				t.Error(err)
			}
		})
		if n >= 1 && !raceDetector {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestSection keeps key material inside its bounds.
func TestSection(t *testing.T) {
	f := &memFile{b: make([]byte, 10000)}
	s := Section(f, 1000, 2000)
	if _, err := s.WriteAt([]byte("abc"), 1997); err != nil {
		t.Fatal(err)
	}
	var b [3]byte
	if _, err := s.ReadAt(b[:], 1997); err != nil || string(b[:]) != "abc" || string(f.b[2997:3000]) != "abc" {
		t.Errorf("%q, %v", b, err)
	}
	for _, off := range []int64{1998, -1, 1 << 62} {
		if _, err := s.WriteAt(b[:], off); !errors.Is(err, ErrInvalid) {
			t.Errorf("write at %d: %v", off, err)
		}
		if _, err := s.ReadAt(b[:], off); !errors.Is(err, ErrInvalid) {
			t.Errorf("read at %d: %v", off, err)
		}
	}
}
