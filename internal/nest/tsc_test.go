package nest

import (
	"math"
	"testing"
)

func TestTSCFrequencyIsSteady(t *testing.T) {
	a, b := sampleTSC().tscKHz(), sampleTSC().tscKHz()
	if a < 500_000 || a > 10_000_000 {
		t.Errorf("%d kHz", a)
	}
	// The kernel throws away what is off by more than a hundredth.
	if off := math.Abs(float64(a)/float64(b) - 1); off > 0.005 {
		t.Errorf("%d and %d kHz", a, b)
	}
}
