package qcow2

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Splicer is storage whose bytes can be had without being copied: *Image is one,
// and *OSFile as a File.
//
// What is in the pipe, and in the socket that it goes to from there, are pages of
// the host's cache. Whoever takes the bytes at last sees what was written to their
// place until then. That is what the guest wrote to the same bytes meanwhile, as with
// any read that takes as long. It must not be what else gets to be there: until the
// result is released, the storage is used for nothing else.
type Splicer interface {
	// Splice puts the n bytes at off into a pipe, if the host has them in its cache.
	// It returns how many it put there. If that is less than n, the caller takes
	// those out again, and makes the same transfer by ReadV. It does not wait.
	//
	// The caller releases held, unless that is nil, when the bytes were taken out of
	// where they went from the pipe, or no later than when it can't wait for that any
	// more: an image in which storage is given up replaces its pages before it is
	// used again, which the host may fail to do where others have them.
	Splice(pipe int, off, n int64) (moved int64, held Held)
}

// Held is what was spliced from storage. It is an alias so that others can describe
// a Splicer without this package.
type Held = interface{ Release() }

// Splice implements Splicer, on Linux 6.5 and later and file systems where holes can
// be punched.
func (f *OSFile) Splice(pipe int, off, n int64) (moved int64, held Held) {
	if !f.splices() || !f.cached(off, n) {
		return 0, nil
	}
	for at := off; moved < n; {
		m, err := unix.Splice(f.fd, &at, pipe, nil, int(n-moved), unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		moved += m
	}
	return moved, nil
}

// Whether an OSFile is a Splicer, which is found out once.
const (
	spliceUnknown = iota
	spliceYes
	spliceNo
)

func (f *OSFile) splices() bool {
	state := f.spliceState.Load()
	if state == spliceUnknown {
		if state = spliceNo; f.direct == nil && !f.device && f.punchable() {
			state = spliceYes
		}
		f.spliceState.Store(state)
	}
	return state == spliceYes
}

// punchable reports whether the file is on one of the file systems that are known to
// detach the pages of a hole that is punched from the file.
func (f *OSFile) punchable() bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.fd, &st); err != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

// cached reports whether the host has n bytes at off in its cache.
func (f *OSFile) cached(off, n int64) bool {
	page := int64(unix.Getpagesize())
	r := unix.CachestatRange{Off: uint64(off), Len: uint64(n)}
	var c unix.Cachestat_t
	if err := unix.Cachestat(uint(f.fd), &r, &c, 0); err != nil {
		f.spliceState.Store(spliceNo) // not on this host
		return false
	}
	return int64(c.Cache) == (off+n-1)/page-off/page+1
}

// Splice implements Splicer: for what is mapped by tables in memory to one run of
// clusters that can only be freed by giving up just these guest bytes.
func (im *Image) Splice(pipe int, off, n int64) (moved int64, held Held) {
	file, ok := im.data.(Splicer)
	if !ok || im.encrypted() || im.event != nil || !im.readOnly && !im.exchanges() {
		return 0, nil
	}
	rq := im.tryBegin(nil, off, n, false)
	if rq == nil {
		return 0, nil
	}
	m, _, ok := im.tryLookup(off, n, false)
	switch {
	case !ok || m.length != n:
	case m.kind == kindNormal && im.readOnly:
		moved, held = file.Splice(pipe, m.host, n)
	case m.kind == kindNormal && m.copied:
		if !im.spliced.Load() {
			im.spliced.Store(true) // seen by who frees the clusters: it waits for this request
		}
		if moved, _ = file.Splice(pipe, m.host, n); moved == n {
			rq.started.im = im
			return n, rq
		}
	case m.kind == kindUnallocated && im.backed(off, n) == n:
		if b, ok := im.backing.(Splicer); ok {
			moved, held = b.Splice(pipe, off, n)
		}
	}
	im.end(rq)
	return moved, held
}

// Release implements Held, for what was spliced from an image.
func (rq *request) Release() { rq.started.im.end(rq) }

// exchanges reports whether clusters that are given up get new pages before they are
// used again: their holes are punched, and they share no page.
func (im *Image) exchanges() bool {
	return im.passes(PassRequest) && im.g.clusterSize >= int64(unix.Getpagesize())
}

var (
	_ Splicer = (*OSFile)(nil)
	_ Splicer = (*Image)(nil)
)
