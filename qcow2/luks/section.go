package luks

import "fmt"

// section is a part of a file that holds header and key material.
type section struct {
	f      File
	off, n int64
}

// Section returns the n bytes at off of a file as storage for header and key
// material. What reaches beyond them is refused.
func Section(f File, off, n int64) Storage { return &section{f, off, n} }

func (s *section) check(p []byte, off int64) error {
	if off < 0 || off > s.n-int64(len(p)) {
		return fmt.Errorf("%w: %d bytes at %d lie outside of the %d for header and key material", ErrInvalid, len(p), off, s.n)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (s *section) ReadAt(p []byte, off int64) (int, error) {
	if err := s.check(p, off); err != nil {
		return 0, err
	}
	if err := s.f.ReadV([][]byte{p}, s.off+off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteAt implements io.WriterAt.
func (s *section) WriteAt(p []byte, off int64) (int, error) {
	if err := s.check(p, off); err != nil {
		return 0, err
	}
	if err := s.f.WriteV([][]byte{p}, s.off+off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync implements Storage.
func (s *section) Sync() error { return s.f.Sync() }
