package qcow2

import (
	"fmt"
	"iter"
)

// Extent is a run of bytes of a disk that are in the same state.
type Extent struct {
	Offset, Length int64 // bytes of the disk
	// Depth says which image of the backing chain decides what the bytes are:
	// 0 for the disk itself, 1 for its backing file, and so on.
	Depth int
	// Present says that the image decides so itself; else nobody in the chain
	// has anything there, and it reads as zeroes.
	Present bool
	// Data and Zero say that there are data, and that they are known to be
	// zeroes. Both are set for data in a hole of the host's file.
	Data, Zero bool
	Compressed bool
	// Host is where the bytes are in the file of that image, -1 if nowhere, or
	// not as such. Zeroes may have a place as well.
	Host int64
}

// Mapper is a disk that knows where its bytes are. *Image is one; a Backing may
// be one, too.
type Mapper interface {
	// Status returns the extent that begins at off, as far as it reaches into
	// the n bytes from there, which lie inside the disk. It may end before the
	// state does.
	Status(off, n int64) (Extent, error)
}

// maxStatusStep bounds how much of a disk one Status looks at for Extents, in
// bytes, so that nobody who waits for requests to end waits for long.
const maxStatusStep = 1 << 37

// Extents returns the extents of the n bytes at off, in order. Neighbours
// differ.
func Extents(d Mapper, off, n int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var e Extent
		for end := off + n; off < end; {
			next, err := d.Status(off, min(end-off, maxStatusStep))
			if err != nil {
				yield(Extent{}, err)
				return
			}
			off += next.Length
			switch {
			case e.Length == 0:
				e = next
			case !e.join(&next):
				if !yield(e, nil) {
					return
				}
				e = next
			}
		}
		if e.Length > 0 {
			yield(e, nil)
		}
	}
}

// join makes e longer by the extent that follows it, if they are alike.
func (e *Extent) join(next *Extent) bool {
	host := e.Host
	if host >= 0 {
		host += e.Length
	}
	if next.Host != host || next.Depth != e.Depth || next.Present != e.Present ||
		next.Data != e.Data || next.Zero != e.Zero || next.Compressed != e.Compressed {
		return false
	}
	e.Length += next.Length
	return true
}

// Status implements Mapper, for the image with its backing files.
func (im *Image) Status(off, n int64) (Extent, error) {
	rq, err := im.begin("map", nil, off, n, false)
	if err != nil {
		return Extent{}, err
	}
	e, err := im.status(off, n)
	im.end(rq)
	return e, im.note(err)
}

// Allocated reports whether the byte at off has storage, in this image or a
// backing file, and how many of the n bytes from there on are alike.
func (im *Image) Allocated(off, n int64) (allocated bool, length int64, err error) {
	e, err := im.Status(off, n)
	return e.Data || e.Host >= 0, e.Length, err
}

// status is Status within a request.
func (im *Image) status(off, n int64) (Extent, error) {
	e, err := im.ownStatus(off, n)
	if err != nil {
		return e, err
	}
	if e.Data && e.Host >= 0 && !im.encrypted() && im.preallocated() {
		im.findHole(&e)
	}
	if e.Present {
		return e, nil
	}
	backed := im.backed(off, e.Length)
	if backed == 0 {
		e.Zero = true
		return e, nil
	}
	below, ok := im.backing.(Mapper)
	if !ok {
		return Extent{Offset: off, Length: backed, Depth: 1, Present: true, Data: true, Host: -1}, nil
	}
	if e, err = below.Status(off, backed); err != nil {
		return e, &backingError{err}
	}
	e.Depth++
	return e, nil
}

// ownStatus is what the image itself says of the bytes at off.
func (im *Image) ownStatus(off, n int64) (Extent, error) {
	var e Extent
	for n > 0 {
		im.mu.RLock()
		m, miss, err := im.lookup(off, n)
		im.mu.RUnlock()
		if err != nil {
			return e, err
		}
		if miss != 0 {
			if err := im.fetch(miss); err != nil {
				return e, fmt.Errorf("read L2 table: %w", err)
			}
			continue
		}
		next := m.extent(off)
		if im.hdr.cryptMethod != cryptNone {
			next.Host = -1 // what is there is something else
		}
		if e.Length == 0 {
			e = next
		} else if !e.join(&next) {
			break
		}
		off, n = off+m.length, n-m.length
	}
	return e, nil
}

// extent is what a mapping of the bytes at off says of them.
func (m *mapping) extent(off int64) Extent {
	e := Extent{Offset: off, Length: m.length, Present: true, Host: -1}
	switch m.kind {
	case kindUnallocated:
		e.Present = false
		if m.entry&entryOffset != 0 { // of subclusters, that have storage all the same
			e.Host = m.host
		}
	case kindZero:
		e.Zero = true
	case kindZeroAlloc:
		e.Zero, e.Host = true, m.host
	case kindNormal:
		e.Data, e.Host = true, m.host
	case kindCompressed:
		e.Data, e.Compressed = true, true
	}
	return e
}

// holeFinder is a File that knows its holes.
type holeFinder interface {
	// Hole reports whether the byte at off lies in a hole, which reads as
	// zeroes, and how many of the n bytes from there on are alike.
	Hole(off, n int64) (hole bool, length int64, err error)
	// Allocated is how many bytes of storage the file takes.
	Allocated() (int64, error)
}

// findHole cuts an extent of data to what the host's file has as one piece, and
// makes it zeroes if that is a hole. Not knowing is no error. What lies behind the end of a
// file that was cut stays data: nobody preallocated it.
func (im *Image) findHole(e *Extent) {
	f, ok := im.data.(holeFinder)
	if !ok {
		return
	}
	if size, err := im.data.Size(); err != nil || e.Host >= size {
		return
	}
	if hole, n, err := f.Hole(e.Host, e.Length); err == nil {
		e.Zero, e.Length = hole, n
	}
}

// preallocated reports whether the file has much less storage than it has
// clusters in use. Then many are preallocated holes, and it pays to ask the
// host for them. The answer is that of the first call.
func (im *Image) preallocated() bool {
	if im.holes.Load() == holesUnknown {
		answer := holesFew
		if many, err := im.countHoles(); err == nil && many {
			answer = holesMany
		}
		im.holes.Store(answer)
	}
	return im.holes.Load() == holesMany
}

// Answers of preallocated.
const (
	holesUnknown int32 = iota
	holesFew
	holesMany
)

// countHoles compares the clusters in use with the storage of the file, as far
// as needed: by a tenth and two clusters they may differ.
func (im *Image) countHoles() (many bool, err error) {
	f, ok := im.f.(holeFinder)
	if !ok {
		return false, nil
	}
	size, err := im.f.Size()
	if err != nil {
		return false, err
	}
	n, err := f.Allocated()
	if err != nil {
		return false, err
	}
	n >>= im.g.clusterBits
	enough := max(n*10/9, n+2)
	used := int64(0)
	perPage := im.countsPerPage()
	end := im.g.clusters(size) // what lies beyond has no storage, and is no hole
	for c := int64(0); c < end && used < enough; c += perPage {
		im.mu.Lock()
		p, _, err := im.refPage(c)
		if err != nil {
			im.mu.Unlock()
			return false, err
		}
		for i := int64(0); p != nil && i < min(perPage, end-c); i++ {
			used += b2i(loadRefcount(p.buf, i, im.g.refcountOrder) != 0)
		}
		im.mu.Unlock()
	}
	return used >= enough, nil
}
