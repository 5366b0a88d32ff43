package qcow2

import "testing"

// extendedImage makes an empty image on the host with subclusters of 2 KiB.
func extendedImage(b *testing.B, size int64) *Image {
	b.Helper()
	f := osFile(b, "extended.qcow2")
	if err := Create(f, CreateOptions{Size: size, ExtendedL2: true}); err != nil {
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
	return im
}

// BenchmarkSubclusters reads and overwrites 4 KiB of clusters with subclusters,
// and writes 4 KiB to fresh ones.
func BenchmarkSubclusters(b *testing.B) {
	data := pattern(7, 4*kib)
	const written = 64 * mib
	hits := map[string]func(im *Image, off int64) error{
		"read":  func(im *Image, off int64) error { return im.ReadV(pattern(0, 4*kib), off) },
		"write": func(im *Image, off int64) error { return im.WriteV(data, off) },
	}
	for name, do := range hits {
		b.Run(name, func(b *testing.B) {
			benchWorkers(b, func(b *testing.B, workers int) {
				im := extendedImage(b, gib)
				if err := im.WriteV(pattern(1, written), 0); err != nil {
					b.Fatal(err)
				}
				parallel(b, workers, func(i int64) error { return do(im, spread(i, written/(4*kib))*4*kib) })
			})
		})
	}
	b.Run("fresh", func(b *testing.B) {
		benchWorkers(b, func(b *testing.B, workers int) {
			im := extendedImage(b, 16*tib)
			parallel(b, workers, func(i int64) error { return im.WriteV(data, i*64*kib+8*kib) })
		})
	})
}
