package qcow2

import "fmt"

// Compressed clusters are packed byte by byte: each begins where the last one
// ended, in the same host cluster or running over into the next. Every host
// cluster counts one reference for each compressed cluster that lies in it.
//
// allocator.pack is where the next one goes. It must be forgotten before the
// cluster that it points into may become free (stopPacking).

// pack takes a place for n bytes, less than a cluster, and returns its offset.
// Preconditions (as for all of this file): mu is held exclusively.
func (im *Image) pack(n int64) (int64, error) {
	im.at(EventClusterAllocBytes)
	g := &im.g
	at := im.alloc.pack
	tail := at >> g.clusterBits
	if at != 0 {
		count, err := im.refcount(tail)
		if err != nil {
			return 0, err
		}
		if count == 0 || count >= g.maxRefcount() {
			at = 0
		}
	}
	if room := g.clusterSize - at&(g.clusterSize-1); at != 0 && n <= room {
		if err := im.addRef(tail); err != nil {
			return 0, err
		}
		im.packBehind(at + n)
		return at, nil
	}
	host, err := im.allocate(1)
	if err != nil {
		return 0, err
	}
	if at != 0 && host>>g.clusterBits == tail+1 {
		if err := im.addRef(tail); err != nil {
			im.giveBack(tail+1, 1)
			return 0, err
		}
		host = at
	}
	im.packBehind(host + n)
	return host, nil
}

// packBehind makes the next compressed cluster go to at, if there is room left
// in the cluster before.
func (im *Image) packBehind(at int64) {
	if im.g.aligned(at) {
		at = 0
	}
	im.alloc.pack = at
}

// stopPacking keeps compressed clusters out of cluster c, which is about to be
// free.
func (im *Image) stopPacking(c int64) {
	if im.alloc.pack>>im.g.clusterBits == c {
		im.alloc.pack = 0
	}
}

// unpack gives back the place of n bytes at host that nothing refers to.
func (im *Image) unpack(host, n int64) {
	first, last := host>>im.g.clusterBits, (host+n-1)>>im.g.clusterBits
	im.giveBack(first, last-first+1)
}

// addRef raises the count of cluster c, which is in use, by one.
func (im *Image) addRef(c int64) error {
	p, i, err := im.refPage(c)
	if err != nil {
		return err
	}
	var count uint64
	if p != nil {
		count = loadRefcount(p.buf, i, im.g.refcountOrder)
	}
	if count == 0 || count >= im.g.maxRefcount() {
		return fmt.Errorf("%w: cluster %#x is to be shared, but its refcount is %d", ErrCorrupt, c<<im.g.clusterBits, count)
	}
	storeRefcount(im.refs.change(p), i, im.g.refcountOrder, count+1)
	return nil
}

// compressedEntry is the L2 entry for n bytes of compressed data at offset off;
// not ok if an entry can't name that place.
func (g *geometry) compressedEntry(off, n int64) (entry uint64, ok bool) {
	shift := 62 - (g.clusterBits - 8)
	if uint64(off) >= 1<<shift || off > maxHostOffset-n {
		return 0, false
	}
	sectors := (off+n-1)/sectorSize - off/sectorSize
	return entryCompressed | uint64(sectors)<<shift | uint64(off), true
}
