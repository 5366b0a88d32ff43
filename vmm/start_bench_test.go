package vmm

import (
	"context"
	"testing"

	"github.com/govmm/govmm/internal/payload"
)

// BenchmarkStart is from nothing to a guest's first instructions, which switch the
// machine off, and to everything given back.
func BenchmarkStart(b *testing.B) {
	p := payload.New()
	p.PowerOff()
	for b.Loop() {
		m, err := New(Config{Memory: 512 * mib, CPUs: 1, Kernel: p.Kernel()})
		skipWithoutKVM(b, err)
		if err != nil {
			b.Fatal(err)
		}
		if o, err := m.Run(context.Background()); err != nil || o != PowerOff {
			b.Fatal(o, err)
		}
		if err := m.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
