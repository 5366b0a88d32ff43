package luks

import "sync"

// File is what encrypted data is read from and written to. Offsets are in bytes.
type File interface {
	// ReadV fills bufs, in order, from offset off. What lies beyond the end of
	// the file reads as zeroes.
	ReadV(bufs [][]byte, off int64) error
	// WriteV stores bufs, in order, from offset off. It keeps neither bufs nor
	// their elements.
	WriteV(bufs [][]byte, off int64) error
	// Sync makes durable what completed before the call began.
	Sync() error
}

// bounceSize is the memory that encrypted data passes through: of a longer
// request a piece at a time, while it is in the processor's cache.
const bounceSize = 256 << 10

// Sectors reads and writes the decrypted contents of a file. Its methods may be
// called concurrently and do not allocate.
//
// The memory of the caller may be a guest's: it never holds encrypted data, and
// each byte of it is read or written once.
type Sectors struct {
	f       File
	c       *Cipher
	bounces sync.Pool // of *bounce

	// edges is held by writes: exclusively by those that write a part of a
	// sector, and so have to read the rest of it first.
	edges sync.RWMutex
}

// bounce is memory for one request.
type bounce struct {
	buf    []byte
	vec    [1][]byte // to pass a piece of buf in
	cursor cursor
}

// NewSectors returns the data of f as c decrypts it.
func NewSectors(f File, c *Cipher) *Sectors {
	s := &Sectors{f: f, c: c}
	s.bounces.New = func() any { return &bounce{buf: make([]byte, bounceSize)} }
	return s
}

// ReadV fills bufs, in order, from offset off of the file. The byte at off has
// the position pos on the disk, which decides the initialization vectors; off
// and pos lie equally far into a sector.
func (s *Sectors) ReadV(bufs [][]byte, off, pos int64) error {
	n := vecLen(bufs)
	b := s.bounces.Get().(*bounce)
	defer s.put(b)
	b.cursor.bufs = bufs
	for n > 0 {
		skip := off % SectorSize
		step := min(n, bounceSize-skip)
		p := b.buf[:roundUp(skip+step)]
		b.vec[0] = p
		if err := s.f.ReadV(b.vec[:], off-skip); err != nil {
			return err
		}
		if sector := uint64(pos) / SectorSize; int64(len(p)) == step {
			s.decrypt(&b.cursor, p, sector)
		} else {
			s.c.Decrypt(p, p, sector)
			b.cursor.copyIn(p[skip : skip+step])
		}
		off, pos, n = off+step, pos+step, n-step
	}
	return nil
}

// decrypt decrypts whole sectors from p to the next bytes of the list.
func (s *Sectors) decrypt(c *cursor, p []byte, sector uint64) {
	for len(p) > 0 {
		run := min(c.contiguous(), len(p)) / SectorSize * SectorSize
		if run > 0 {
			s.c.Decrypt(c.next(run), p[:run], sector)
		} else { // the sector's place is in pieces
			run = SectorSize
			s.c.Decrypt(p[:run], p[:run], sector)
			c.copyIn(p[:run])
		}
		p, sector = p[run:], sector+uint64(run)/SectorSize
	}
}

// WriteV stores bufs, in order, from offset off of the file, encrypted for
// position pos of the disk. off and pos lie equally far into a sector.
func (s *Sectors) WriteV(bufs [][]byte, off, pos int64) error {
	n := vecLen(bufs)
	b := s.bounces.Get().(*bounce)
	defer s.put(b)
	b.cursor.bufs = bufs
	if (off|n)%SectorSize == 0 {
		s.edges.RLock()
		defer s.edges.RUnlock()
	} else {
		s.edges.Lock()
		defer s.edges.Unlock()
	}
	for n > 0 {
		skip := off % SectorSize
		step := min(n, bounceSize-skip)
		p := b.buf[:roundUp(skip+step)]
		if sector := uint64(pos) / SectorSize; int64(len(p)) == step {
			s.encrypt(&b.cursor, p, sector)
		} else {
			if err := s.loadEdges(b, p, skip, step, off-skip, pos-skip); err != nil {
				return err
			}
			b.cursor.copyOut(p[skip : skip+step])
			s.c.Encrypt(p, p, sector)
		}
		b.vec[0] = p
		if err := s.f.WriteV(b.vec[:], off-skip); err != nil {
			return err
		}
		off, pos, n = off+step, pos+step, n-step
	}
	return nil
}

// encrypt encrypts the next bytes of the list, whole sectors, to p.
func (s *Sectors) encrypt(c *cursor, p []byte, sector uint64) {
	for len(p) > 0 {
		run := min(c.contiguous(), len(p)) / SectorSize * SectorSize
		if run > 0 {
			s.c.Encrypt(p[:run], c.next(run), sector)
		} else { // the sector is in pieces
			run = SectorSize
			c.copyOut(p[:run])
			s.c.Encrypt(p[:run], p[:run], sector)
		}
		p, sector = p[run:], sector+uint64(run)/SectorSize
	}
}

// loadEdges reads the first and the last sector of p as far as a write of n
// bytes, skip bytes into p, covers them only in part.
func (s *Sectors) loadEdges(b *bounce, p []byte, skip, n, off, pos int64) error {
	last := int64(len(p)) - SectorSize
	if skip != 0 {
		if err := s.load(b, p[:SectorSize], off, pos); err != nil {
			return err
		}
		if last == 0 {
			return nil
		}
	}
	if (skip+n)%SectorSize == 0 {
		return nil
	}
	return s.load(b, p[last:], off+last, pos+last)
}

// load reads and decrypts whole sectors.
func (s *Sectors) load(b *bounce, p []byte, off, pos int64) error {
	b.vec[0] = p
	if err := s.f.ReadV(b.vec[:], off); err != nil {
		return err
	}
	s.c.Decrypt(p, p, uint64(pos)/SectorSize)
	return nil
}

func (s *Sectors) put(b *bounce) {
	b.cursor = cursor{}
	s.bounces.Put(b)
}

// cursor goes through a scatter-gather list.
type cursor struct {
	bufs [][]byte
	skip int // bytes of bufs[0] that are behind
}

// contiguous is how many bytes follow one another in memory.
func (c *cursor) contiguous() int {
	for len(c.bufs[0]) == c.skip {
		c.bufs, c.skip = c.bufs[1:], 0
	}
	return len(c.bufs[0]) - c.skip
}

// next returns the next n bytes, which are contiguous.
func (c *cursor) next(n int) []byte {
	p := c.bufs[0][c.skip : c.skip+n]
	c.skip += n
	return p
}

// copyOut copies the next bytes of the list to p.
func (c *cursor) copyOut(p []byte) {
	for len(p) > 0 {
		n := min(len(p), c.contiguous())
		copy(p, c.next(n))
		p = p[n:]
	}
}

// copyIn copies p to the next bytes of the list.
func (c *cursor) copyIn(p []byte) {
	for len(p) > 0 {
		n := min(len(p), c.contiguous())
		copy(c.next(n), p)
		p = p[n:]
	}
}

func roundUp(n int64) int64 { return (n + SectorSize - 1) / SectorSize * SectorSize }

func vecLen(bufs [][]byte) int64 {
	var n int64
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}
