package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/govmm/govmm/qcow2/internal/deflate"
)

func codecs(clusterSize int64) map[Compression]codec {
	return map[Compression]codec{
		CompressionZlib: newCodec(CompressionZlib, clusterSize),
		CompressionZstd: newCodec(CompressionZstd, clusterSize),
	}
}

// TestCodecs compresses and decompresses clusters of all sizes, each with the
// bytes of a neighbour behind it.
func TestCodecs(t *testing.T) {
	for size := int64(512); size <= 2*mib; size *= 2 {
		for c, codec := range codecs(size) {
			for fill := range byte(scale(4, 8)) {
				want := squeezable(fill, size)
				data := codec.encode(make([]byte, size), want)
				if (data == nil) != (fill%4 == 0) || len(data) >= len(want) {
					t.Errorf("%v, %d bytes, fill %d: %d bytes compressed", c, size, fill, len(data))
				}
				if data == nil {
					continue
				}
				for _, behind := range [][]byte{nil, data, bytes.Repeat([]byte{0x28}, 512)} {
					for _, spare := range []int{0, codecSpare} {
						room := bytes.Repeat([]byte{0xee}, int(size)+spare+32)
						got := room[:size]
						if err := codec.decode(got, slices.Concat(data, behind), spare > 0); err != nil || !bytes.Equal(got, want) {
							t.Fatalf("%v, %d bytes, %d spare, fill %d, %d bytes behind: %v", c, size, spare, fill, len(behind), err)
						}
						if after := room[int(size)+spare:]; bytes.Count(after, []byte{0xee}) != len(after) {
							t.Fatalf("%v, %d bytes, %d spare, fill %d: what is behind was overwritten", c, size, spare, fill)
						}
					}
				}
				for _, short := range []int{0, 1, len(data) / 2, len(data) - 1} {
					if err := codec.decode(make([]byte, size), data[:short], false); err == nil && c == CompressionZstd {
						t.Errorf("%v: %d of %d bytes are enough", c, short, len(data))
					}
				}
			}
		}
	}
}

// TestDeflateWindow compresses random bytes that repeat: writers must refer
// back 4 KiB at most, so that longer periods do not shrink.
func TestDeflateWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	codec := newCodec(CompressionZlib, 64*kib)
	for _, period := range []int64{1000, 4000, 4097, 4100, 5000, 8192, 20000, 32768} {
		unit := make([]byte, period)
		for i := range unit {
			unit[i] = byte(rng.Uint32())
		}
		src := bytes.Repeat(unit, int(64*kib/period)+1)[:64*kib]
		if got, want := codec.encode(make([]byte, 64*kib), src) != nil, period <= deflate.Window; got != want {
			t.Errorf("period %d: compressed %v, want %v", period, got, want)
		}
	}
}

// zstd frames made by hand (RFC 8878, 3.1.1).
var (
	zstdMagic     = []byte{0x28, 0xb5, 0x2f, 0xfd}
	zstdSkippable = []byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}
)

// rleFrame is a frame of n times a byte, with the window descriptor given.
func rleFrame(window byte, b byte, n uint32) []byte {
	f := append(slices.Clone(zstdMagic), 0, window)
	f = append(f, binary.LittleEndian.AppendUint32(nil, n<<3|zstdBlockRLE<<1|1)[:3]...)
	return append(f, b)
}

// TestZstdFrames reads clusters that other writers may have made, and such that
// nobody should have made.
func TestZstdFrames(t *testing.T) {
	const size = 4096
	codec := newCodec(CompressionZstd, size)
	half := rleFrame(0x10, 5, size/2)
	claim := func(n uint64) []byte { // a frame that claims n bytes of contents, in one segment
		f := append(slices.Clone(zstdMagic), 0xe0)
		f = binary.LittleEndian.AppendUint64(f, n)
		return append(f, size<<3&0xff|3, size>>5&0xff, size>>13, 5)
	}
	tests := []struct {
		name string
		src  []byte
		ok   bool
	}{
		{"two frames", slices.Concat(half, half), true},
		{"skippable frames between", slices.Concat(zstdSkippable, half, zstdSkippable, zstdSkippable, half), true},
		{"a frame of a neighbour behind", slices.Concat(half, half, rleFrame(0x10, 9, 4000)), true},
		{"garbage behind", slices.Concat(half, half, []byte("garbage")), true},
		{"window of 64 MiB", slices.Concat(rleFrame(0x80, 5, size)), true},
		{"window of 256 MiB", rleFrame(0x90, 5, size), false},
		{"window of 3.75 TiB", rleFrame(0xff, 5, size), false},
		{"contents claimed right", claim(size), true},
		{"contents claimed short", claim(size - 1), false},
		{"contents claimed huge", claim(1 << 62), false},
		{"more than a cluster", rleFrame(0x10, 5, size+1), false},
		{"much more than a cluster", rleFrame(0x80, 5, 128<<10), false},
		{"less than a cluster", half, false},
		{"only empty frames", bytes.Repeat(rleFrame(0x10, 5, 0), 400), false},
		{"only a skippable frame", zstdSkippable, false},
		{"skippable frame past the end", []byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff}, false},
		{"no block", half[:6], false},
		{"block cut off", half[:len(half)-1], false},
		{"reserved block type", append(half[:6:6], 0x07, 0, 0, 0), false},
		{"dictionary", append(slices.Clone(zstdMagic), 1, 0x10, 77, 0x03|size<<3&0xff, size>>5&0xff, size>>13, 5), false},
		{"deflate", []byte{0xed, 0xc1, 0x01, 0x01}, false},
		{"nothing", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make([]byte, size+100)
			err := codec.decode(got[:size:size], tt.src, false)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want success %v", err, tt.ok)
			}
			if tt.ok && !bytes.Equal(got[:size], bytes.Repeat([]byte{5}, size)) {
				t.Errorf("not the contents: % x...", got[:16])
			}
			if !bytes.Equal(got[size:], make([]byte, 100)) {
				t.Error("written beyond the cluster")
			}
		})
	}
}

// FuzzDecode decompresses anything: an error, or a cluster; nothing behind it.
func FuzzDecode(f *testing.F) {
	for c, codec := range codecs(4096) {
		for fill := range byte(4) {
			if data := codec.encode(make([]byte, 4096), squeezable(fill, 4096)); data != nil {
				f.Add(data, c == CompressionZstd)
			}
		}
	}
	f.Add(slices.Concat(zstdSkippable, rleFrame(0x10, 5, 2048), rleFrame(0x10, 5, 2048)), true)
	all := codecs(4096)
	f.Fuzz(func(t *testing.T, data []byte, zstd bool) {
		c := CompressionZlib
		if zstd {
			c = CompressionZstd
		}
		dst := make([]byte, 4096+64)
		_ = all[c].decode(dst[:4096:4096], data, false)
		if !bytes.Equal(dst[4096:], make([]byte, 64)) {
			t.Error("written beyond the cluster")
		}
	})
}

// TestCompressionKept repairs a zstd image that was not closed cleanly: the
// feature bit and the compression type stay.
func TestCompressionKept(t *testing.T) {
	d := newCompressed(t, CreateOptions{Size: mib, Compression: CompressionZstd})
	d.writeCompressed(1, 0, 512*kib)
	if err := d.im.Close(); err != nil {
		t.Fatal(err)
	}
	d.f = d.f.reopened()
	d.f.put64(hdrIncompat, d.f.get64(hdrIncompat)|incompatDirty)
	d.open()
	if info := d.im.Info(); info.Dirty || info.Compression != CompressionZstd {
		t.Errorf("after the repair: %+v", info)
	}
	d.mustBeClean()
	d.reopen()
	d.compare()
	for _, o := range []CreateOptions{{Version: 2, Compression: CompressionZstd}, {Compression: 2}} {
		if err := Create(new(memFile), o); err == nil || errors.Is(err, ErrInvalid) {
			t.Errorf("create %+v: %v", o, err)
		}
	}
}
