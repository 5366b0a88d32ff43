package scsi

// Medium is the storage under a logical unit: a flat array of bytes.
//
// All offsets and lengths are in bytes; a Unit only ever passes multiples of
// its logical block size that lie inside [0, Size()). Calls may be concurrent,
// from any number of goroutines. A WriteV, WriteZeroes or Discard that returned
// nil is visible to every ReadV that starts later; it is durable (it survives a
// crash of the host) once a Flush that started after it returned nil.
//
// The vectors are scatter-gather lists of caller memory, usually pages of a
// guest: an implementation moves data straight to or from them, never keeps
// them after it returns, and must tolerate that the guest changes them while
// the call runs. Empty elements are allowed.
type Medium interface {
	// Size is the capacity in bytes. It may change between calls (resize).
	Size() int64
	// ReadV fills bufs, in order, from the medium starting at off.
	ReadV(bufs [][]byte, off int64) error
	// WriteV stores the bytes of bufs, in order, starting at off.
	WriteV(bufs [][]byte, off int64) error
	// WriteZeroes makes n bytes at off read as zeroes. With unmap the storage
	// behind them may be given back.
	WriteZeroes(off, n int64, unmap bool) error
	// Discard gives back the storage of n bytes at off where the medium can;
	// whatever part of the range it gives back reads as zeroes afterwards if
	// DiscardZeroes reports true, and is undefined otherwise.
	Discard(off, n int64) error
	// Flush makes every write that returned before Flush was called durable.
	// Concurrent flushes are expected to be joined into one.
	Flush() error
	// ReadOnly reports whether writes are refused.
	ReadOnly() bool
	// CanDiscard reports whether Discard gives storage back at all.
	CanDiscard() bool
	// DiscardZeroes reports whether discarded ranges read back as zeroes.
	DiscardZeroes() bool
}

// Trier is what a Medium has besides if it can tell beforehand that a transfer
// would have to wait, for storage or for a lock.
type Trier interface {
	// TryReadV is ReadV if that takes microseconds and waits for nothing. It
	// reports whether it was done; if not, bufs may hold anything, and ReadV says
	// what there is to say.
	TryReadV(bufs [][]byte, off int64) bool
	// TryWriteV is such a WriteV; if it was not done, part of it may have been.
	TryWriteV(bufs [][]byte, off int64) bool
}
