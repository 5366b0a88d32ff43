package scsi

import "sync/atomic"

// Counters are what the log pages of a unit count, since they were made. The
// zero value is ready for use. Units that move the same data, such as a drive
// and the volume on it, can count together.
type Counters struct {
	read, write, verify workCounter
	// other are failures that were not of the medium: page 06h.
	other, otherCleared atomic.Uint64
	// starts are the times that the unit was started after it was stopped.
	starts atomic.Uint32
	// users gives out the lanes of Commands.
	users atomic.Uint32
}

// Totals are the counts at one moment, for who shows them outside SCSI.
type Totals struct {
	BytesRead, BytesWritten uint64 // without an error
	Reads, Writes           uint64 // pieces of work with the medium that moved these
	MediumErrors            uint64 // reads, writes and verifications that failed
	OtherErrors             uint64 // failures that were not of the medium
}

// Totals returns the counts.
func (k *Counters) Totals() Totals {
	return Totals{
		BytesRead:    k.read.done.bytes() + k.verify.done.bytes(),
		BytesWritten: k.write.done.bytes(),
		Reads:        k.read.done.times() + k.verify.done.times(),
		Writes:       k.write.done.times(),
		MediumErrors: k.read.uncorrected.Load() + k.write.uncorrected.Load() + k.verify.uncorrected.Load(),
		OtherErrors:  k.other.Load(),
	}
}

// work is how often something was done with the medium.
func (k *Counters) work() uint64 {
	return k.read.done.times() + k.write.done.times() + k.verify.done.times()
}

// workCounter counts one kind of work with the medium: a page of error counters.
type workCounter struct {
	done        lanes         // processed without an error
	uncorrected atomic.Uint64 // errors
	// What the log page leaves out, since LOG SELECT has cleared it.
	bytesCleared, uncorrectedCleared atomic.Uint64
}

// clear has the log pages count from now on. Totals are as before.
func (k *Counters) clear() {
	for _, w := range []*workCounter{&k.read, &k.write, &k.verify} {
		w.clear()
	}
	k.clearOther()
}

func (k *Counters) clearOther() { k.otherCleared.Store(k.other.Load()) }

func (w *workCounter) clear() {
	w.bytesCleared.Store(w.done.bytes())
	w.uncorrectedCleared.Store(w.uncorrected.Load())
}

// laneCount is a power of two, about as many as there are processors to count at
// the same time.
const laneCount = 16

// lanes are sums whose parts have cache lines of their own: one word that all
// processors add to would cost more than the rest of a READ.
type lanes [laneCount]struct {
	n, times atomic.Uint64
	_        [48]byte // up to the next line
}

func (l *lanes) add(lane uint32, n uint64) {
	l[lane].n.Add(n)
	l[lane].times.Add(1)
}

// bytes is the sum of what was added.
func (l *lanes) bytes() uint64 {
	sum := uint64(0)
	for i := range l {
		sum += l[i].n.Load()
	}
	return sum
}

// times is how often something was added.
func (l *lanes) times() uint64 {
	sum := uint64(0)
	for i := range l {
		sum += l[i].times.Load()
	}
	return sum
}

// note counts the outcome of work on n bytes for c.
func (k *Counters) note(c *Command, w *workCounter, n int64, s Sense) {
	switch s.Key {
	case KeyNoSense:
		if n == 0 {
			return
		}
		if c.lane == 0 {
			c.lane = k.users.Add(1)%laneCount + 1
		}
		w.done.add(c.lane-1, uint64(n))
	case KeyMediumError, KeyHardwareError:
		c.failedIn(&w.uncorrected)
	default:
		c.failedIn(&k.other)
	}
}

// CountersState is the counts at one moment, as they are saved.
type CountersState struct {
	Read, Write, Verify WorkState
	Other, OtherCleared uint64
	Starts              uint32
}

// WorkState is the counts of one kind of work.
type WorkState struct {
	Bytes, Times, Uncorrected        uint64
	BytesCleared, UncorrectedCleared uint64
}

// Save returns the counts. Nothing may be counting.
func (k *Counters) Save() CountersState {
	return CountersState{
		Read: k.read.save(), Write: k.write.save(), Verify: k.verify.save(),
		Other: k.other.Load(), OtherCleared: k.otherCleared.Load(), Starts: k.starts.Load(),
	}
}

// Restore has counters that have not counted anything go on from x.
func (k *Counters) Restore(x CountersState) {
	k.read.restore(x.Read)
	k.write.restore(x.Write)
	k.verify.restore(x.Verify)
	k.other.Store(x.Other)
	k.otherCleared.Store(x.OtherCleared)
	k.starts.Store(x.Starts)
}

func (w *workCounter) save() WorkState {
	return WorkState{
		Bytes: w.done.bytes(), Times: w.done.times(), Uncorrected: w.uncorrected.Load(),
		BytesCleared: w.bytesCleared.Load(), UncorrectedCleared: w.uncorrectedCleared.Load(),
	}
}

func (w *workCounter) restore(x WorkState) {
	w.done[0].n.Store(x.Bytes)
	w.done[0].times.Store(x.Times)
	w.uncorrected.Store(x.Uncorrected)
	w.bytesCleared.Store(x.BytesCleared)
	w.uncorrectedCleared.Store(x.UncorrectedCleared)
}
