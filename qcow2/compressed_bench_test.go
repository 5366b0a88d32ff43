package qcow2

import (
	"fmt"
	"sync"
	"testing"
)

// benchCompressed returns an image of 64 MiB in compressed clusters.
func benchCompressed(b *testing.B, c Compression) *Image {
	b.Helper()
	f := osFile(b, "bench.qcow2")
	if err := Create(f, CreateOptions{Size: 64 * mib, Compression: c}); err != nil {
		b.Fatal(err)
	}
	im, err := Open(f, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := im.Close(); err != nil {
			b.Error(err)
		}
	})
	for off := int64(0); off < 64*mib; off += mib {
		if err := im.WriteCompressed(squeezable(1, mib), off); err != nil {
			b.Fatal(err)
		}
	}
	return im
}

// BenchmarkReadCompressed reads sequentially and at random, in requests of less
// than a cluster, a cluster, and many.
func BenchmarkReadCompressed(b *testing.B) {
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		for _, bb := range []struct {
			name   string
			n      int64
			random bool
		}{{"4k", 4 * kib, false}, {"4k_random", 4 * kib, true}, {"64k", 64 * kib, false}, {"1M", mib, false}} {
			b.Run(fmt.Sprintf("%v/%s", c, bb.name), func(b *testing.B) {
				benchWorkers(b, func(b *testing.B, workers int) {
					im := benchCompressed(b, c)
					b.SetBytes(bb.n)
					bufs := sync.Pool{New: func() any { p := pattern(0, bb.n); return &p }}
					parallel(b, workers, func(i int64) error {
						p := bufs.Get().(*[][]byte)
						defer bufs.Put(p)
						at := i % (64 * mib / bb.n)
						if bb.random {
							at = spread(i, 64*mib/bb.n)
						}
						return im.ReadV(*p, at*bb.n)
					})
				})
			})
		}
	}
}

// BenchmarkWriteCompressed fills an image again and again.
func BenchmarkWriteCompressed(b *testing.B) {
	for _, c := range []Compression{CompressionZlib, CompressionZstd} {
		b.Run(c.String(), func(b *testing.B) {
			benchWorkers(b, func(b *testing.B, workers int) {
				im := benchCompressed(b, c)
				data := squeezable(2, 64*kib)
				b.SetBytes(64 * kib)
				parallel(b, workers, func(i int64) error { return im.WriteCompressed(data, i%1024*64*kib) })
			})
		})
	}
}

// BenchmarkDecode decompresses a cluster without reading it from anywhere.
func BenchmarkDecode(b *testing.B) {
	for c, codec := range codecs(64 * kib) {
		b.Run(c.String(), func(b *testing.B) {
			data := codec.encode(make([]byte, 64*kib), squeezable(1, 64*kib))
			dst := make([]byte, 64*kib)
			b.SetBytes(64 * kib)
			b.ReportAllocs()
			for b.Loop() {
				if err := codec.decode(dst, data, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
