package nest

import "time"

// The nest's time-stamp counter is this processor's: TCG reads it through. The
// kernel of the nest would find out its frequency against an emulated timer,
// which goes wrong by whole factors when the host is busy just then, and leaves
// the nest, and its guest, with clocks that are fast or slow by as much. Here
// it can be measured well, and the kernel be told.

// rdtsc reads the time-stamp counter.
func rdtsc() uint64

// tscSample is the counter at a moment.
type tscSample struct {
	at    time.Time
	ticks uint64
}

// sampleTSC reads counter and clock together. The narrowest of a few attempts
// counts, as the thread may lose its processor between the two.
func sampleTSC() tscSample {
	var best tscSample
	narrowest := time.Duration(1<<63 - 1)
	for range 10 {
		before := time.Now()
		ticks := rdtsc()
		after := time.Now()
		if width := after.Sub(before); width < narrowest {
			narrowest = width
			best = tscSample{before.Add(width / 2), ticks}
		}
	}
	return best
}

// tscInterval is how far apart samples must be for a frequency that is right to
// a few millionths.
const tscInterval = 20 * time.Millisecond

// tscKHz is the frequency since an earlier sample.
func (s tscSample) tscKHz() uint64 {
	time.Sleep(tscInterval - time.Since(s.at))
	now := sampleTSC()
	return uint64(float64(now.ticks-s.ticks) / now.at.Sub(s.at).Seconds() / 1000)
}
