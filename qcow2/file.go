package qcow2

// File is the storage that holds an image: a growing array of bytes, all of
// them zero until written. Its methods may be called concurrently, except that
// Close is the last call. Offsets and lengths are in bytes.
type File interface {
	// ReadV fills bufs, in order, from offset off. What lies beyond the end of
	// the file reads as zeroes.
	ReadV(bufs [][]byte, off int64) error
	// WriteV stores bufs, in order, from offset off, growing the file as needed.
	// It keeps neither bufs nor their elements.
	WriteV(bufs [][]byte, off int64) error
	// Sync makes durable what completed before the call began.
	Sync() error
	// Size is the length in bytes. On storage of a fixed size, such as a block
	// device, it is the whole capacity, whatever is in it.
	Size() (int64, error)
	// Truncate sets the length; bytes that are added read as zeroes. Storage of
	// a fixed size ignores a length that fits.
	Truncate(size int64) error
	// PunchHole gives the storage of a range back; it then reads as zeroes. The
	// length stays. Where holes are not possible the error is
	// errors.ErrUnsupported and the range is unchanged.
	PunchHole(off, n int64) error
	// ZeroRange makes a range read as zeroes, by the cheapest way there is.
	ZeroRange(off, n int64) error
	// Close releases the file. It does not imply Sync.
	Close() error
}

// readFull reads len(p) bytes at off. It is for metadata; guest data moves with
// the vectors of the request.
func readFull(f File, p []byte, off int64) error { return f.ReadV([][]byte{p}, off) }

// writeFull writes p at off.
func writeFull(f File, p []byte, off int64) error { return f.WriteV([][]byte{p}, off) }

// fileReader reads a File in order, without end.
type fileReader struct {
	f   File
	off int64
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := readFull(r.f, p, r.off); err != nil {
		return 0, err
	}
	r.off += int64(len(p))
	return len(p), nil
}
