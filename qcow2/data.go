package qcow2

import (
	"errors"
	"fmt"
)

// All guest data that is not compressed moves between memory and host by the
// methods of this file, and by nothing else. They are told both offsets of it:
// where it is on the host, and where the guest has it. The range lies inside one
// run of clusters that are consecutive at both places.
//
// Encrypted data passes here, too. Then what was never written on the host is not
// zeroes to the guest; so allocation.clean is never set, and zeroes are written.

// readData fills bufs, in order, from offset host.
func (im *Image) readData(bufs [][]byte, host, guest int64) error {
	im.at(EventReadAio)
	if e := im.crypt; e != nil {
		return e.data.ReadV(bufs, host, e.position(host, guest))
	}
	if err := im.locked(); err != nil {
		return err
	}
	return im.data.ReadV(bufs, host)
}

// writeData stores bufs, in order, at offset host.
func (im *Image) writeData(bufs [][]byte, host, guest int64) error {
	im.at(EventWriteAio)
	if e := im.crypt; e != nil {
		return e.data.WriteV(bufs, host, e.position(host, guest))
	}
	if err := im.locked(); err != nil {
		return err
	}
	return im.data.WriteV(bufs, host)
}

// zeroData makes n bytes at offset host read as zeroes.
func (im *Image) zeroData(host, guest, n int64) error {
	if im.crypt != nil {
		return im.crypt.zero(host, guest, n)
	}
	if err := im.locked(); err != nil {
		return err
	}
	return im.data.ZeroRange(host, n)
}

// sync makes the guest's data and all that was written of the image durable.
func (im *Image) sync() error {
	im.at(EventFlushToDisk)
	if im.g.dataFile {
		if err := im.data.Sync(); err != nil {
			return err
		}
	}
	return im.f.Sync()
}

// DataFileOpener opens the external data file of an image, for writing unless
// the image is opened read-only. name is exactly what the image holds, "" if it
// names none: it comes from whoever made the image, so an opener must decide what
// may be opened at all.
type DataFileOpener func(name string) (File, error)

// openDataFile opens the file that holds the guest's data, as the image's options
// say: the image itself, or an external data file.
func (im *Image) openDataFile(o *Options) error {
	im.data = im.f
	if !im.g.dataFile {
		return nil
	}
	name := im.hdr.dataFile()
	switch {
	case o.NoDataFile:
		im.data = absentFile{name}
		return nil
	case o.DataFile == nil:
		return fmt.Errorf("%w: the image has its data in %q, and no such file may be opened", ErrDataFile, name)
	}
	f, err := o.DataFile(name)
	if err != nil {
		return fmt.Errorf("data file %q: %w", name, err)
	}
	im.data = f
	return nil
}

// closeDataFile closes an external data file.
func (im *Image) closeDataFile() error {
	if !im.g.dataFile {
		return nil
	}
	return im.data.Close()
}

// rawData reports whether the external data file is to read as the disk does,
// for those who don't know of the image. Then zeroes are written there, and the
// mapping stays as it is: at no moment do the two differ.
func (im *Image) rawData() bool {
	return im.g.dataFile && im.hdr.autoclear&autoclearRawData != 0 && !im.encrypted()
}

// zeroRaw makes n bytes at offset off of a raw external data file zero, which are
// the guest's. With unmap their storage is given back.
func (im *Image) zeroRaw(off, n int64, unmap bool) error {
	if n == 0 {
		return nil
	}
	if unmap {
		if err := im.data.PunchHole(off, n); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return im.zeroData(off, off, n)
}

// giveBackRun gives back the storage that count guest clusters, from first on,
// have in an external data file. Their entries are in p, from index on. Others
// wait for the clusters meanwhile: what they write there later must stay.
//
// Preconditions: mu is held exclusively, though not meanwhile; nothing in flight
// overlaps the clusters.
func (im *Image) giveBackRun(p *page, index, first, count int64) error {
	for i := range count {
		if _, err := im.checkEntry(im.g.entry(p.buf, index+i), first+i); err != nil {
			return err
		}
	}
	a := &allocation{first: first, count: count, page: p, index: index}
	im.fly(a)
	defer im.land(a)
	for i := int64(0); i < count; i++ {
		from := i
		for i < count && im.g.refersTo(im.g.word(p.buf, index+i)) {
			i++
		}
		if i == from {
			continue
		}
		off := (first + from) << im.g.clusterBits
		n := min((i-from)<<im.g.clusterBits, im.Size()-off) // the file ends with the disk
		if n <= 0 {
			break
		}
		im.mu.Unlock()
		err := im.data.PunchHole(off, n)
		im.mu.Lock()
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// absentFile stands for a data file that was left closed on purpose.
type absentFile struct{ name string }

func (f absentFile) fail() error                  { return fmt.Errorf("%w: %q", ErrDataFile, f.name) }
func (f absentFile) ReadV([][]byte, int64) error  { return f.fail() }
func (f absentFile) WriteV([][]byte, int64) error { return f.fail() }
func (f absentFile) Size() (int64, error)         { return 0, f.fail() }
func (f absentFile) Truncate(int64) error         { return f.fail() }
func (f absentFile) PunchHole(int64, int64) error { return f.fail() }
func (f absentFile) ZeroRange(int64, int64) error { return f.fail() }
func (absentFile) Sync() error                    { return nil }
func (absentFile) Close() error                   { return nil }
