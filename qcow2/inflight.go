package qcow2

// allocation is a run of guest clusters that a write is moving to new host
// clusters. From reserve to settle it stands in Image.inflight: nobody else
// changes the mapping of these guest clusters meanwhile.
type allocation struct {
	first, count int64 // guest clusters, by number
	host         int64 // offset of the run in the file
	kept         bool  // host was theirs before: zero clusters with storage, maybe data between them
	clean        bool  // host was never written: it reads as zeroes

	lo, hi     int64   // guest bytes that are filled before the clusters are linked
	head, tail l2Entry // of the first and the last cluster, before
	page       *page   // holds their L2 entries; pinned
	index      int64   // of the first entry in page

	gone chan struct{} // closed when it ends; made by the first who waits
}

// keepsData reports whether a cluster of the run, with the given entry before, holds data that
// stays where it is. Preconditions: the image has no subclusters.
func (a *allocation) keepsData(e l2Entry) bool {
	return a.kept && e.word&entryCopied != 0 && e.word&entryZero == 0
}

// conflict looks at the allocations in flight that overlap guest clusters
// [first, first+count). It returns how many clusters from first on are free of
// them. If that is none, the caller waits on the channel, without mu, and looks
// everything up again.
//
// Preconditions: mu is held exclusively.
func (im *Image) conflict(first, count int64) (int64, <-chan struct{}) {
	for _, a := range im.inflight {
		switch {
		case a.first+a.count <= first || a.first >= first+count:
		case a.first > first:
			count = a.first - first
		default:
			if a.gone == nil {
				a.gone = make(chan struct{})
			}
			return 0, a.gone
		}
	}
	return count, nil
}

// fly enters an allocation in the list. Preconditions: mu is held exclusively;
// conflict found nothing.
func (im *Image) fly(a *allocation) {
	a.page.pins++
	im.inflight = append(im.inflight, a)
}

// land takes an allocation out of the list. Preconditions: mu is held exclusively.
func (im *Image) land(a *allocation) {
	for i, b := range im.inflight {
		if a == b {
			last := len(im.inflight) - 1
			im.inflight[i] = im.inflight[last]
			im.inflight[last] = nil
			im.inflight = im.inflight[:last]
			break
		}
	}
	a.page.pins--
	if a.gone != nil {
		close(a.gone)
	}
}
