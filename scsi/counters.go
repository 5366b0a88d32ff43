package scsi

import "sync/atomic"

// Counters are what the log pages of a unit count, since they were made. The
// zero value is ready for use. Units that move the same data, such as a drive
// and the volume on it, can count together.
type Counters struct {
	read, write, verify workCounter
	// other are failures that were not of the medium: page 06h.
	other atomic.Uint64
	// starts are the times that the unit was started after it was stopped.
	starts atomic.Uint32
}

// workCounter counts one kind of work with the medium: a page of error counters.
type workCounter struct {
	bytes       atomic.Uint64 // processed without an error
	uncorrected atomic.Uint64 // errors
}

// note counts the outcome of work on n bytes.
func (k *Counters) note(w *workCounter, n int64, s Sense) {
	switch s.Key {
	case KeyNoSense:
		w.bytes.Add(uint64(n))
	case KeyMediumError, KeyHardwareError:
		w.uncorrected.Add(1)
	default:
		k.other.Add(1)
	}
}
