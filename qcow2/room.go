package qcow2

// stepper is a File that would rather grow by large steps than by each write to its end.
type stepper interface {
	// GrowthStep is the least step in bytes; 0: the file grows as it is written.
	GrowthStep() int64
	// Grow makes the file longer, from that length to another, with storage set aside for
	// what is added if the host has it, else by a hole.
	Grow(from, to int64) error
}

// GrowthStep is that of files with direct I/O. A write beyond the end of one has its inode
// for itself until the disk has the data (ext4 and XFS), and an io_uring leaves it to a
// thread: one at a time, each at four times the CPU time. So it does with a write into a
// hole, several at a time: storage is set aside before.
func (f *OSFile) GrowthStep() int64 {
	if f.direct == nil || f.device {
		return 0
	}
	return 16 << 20
}

// Grow implements stepper.
func (f *OSFile) Grow(from, to int64) error {
	if f.fallocate(0, from, to-from) == nil {
		return nil
	}
	return f.Truncate(to)
}

// mostSteps is how many of its least steps a file grows by at most at a time: by an eighth of
// its length between the two.
const mostSteps = 4

// room is what is known of the length of a file that grows by steps. Guarded by Image.mu.
type room struct {
	step int64 // 0: it does not
	end  int64 // length that the file has at least
	made bool  // there may be more than the image needs
}

// findRoom finds out whether the image's file grows by steps, and how long it is.
func (im *Image) findRoom(size int64) {
	if f, ok := im.f.(stepper); ok && !im.readOnly {
		im.room = room{step: f.GrowthStep(), end: size}
	}
}

// lacksRoom reports whether n more clusters would make the file longer.
// Preconditions: mu is held.
func (im *Image) lacksRoom(n int64) bool {
	return im.room.step > 0 && im.alloc.end+n<<im.g.clusterBits > im.room.end
}

// makeRoom makes the file longer than what was allocated needs, if it grows by steps. Where
// that can't be, the file grows by what is written.
// Preconditions: mu is held exclusively.
func (im *Image) makeRoom() {
	r := &im.room
	if !im.lacksRoom(0) {
		return
	}
	end := im.g.roundUp(im.alloc.end + max(r.step, min(im.alloc.end/8, mostSteps*r.step)))
	size, err := im.f.Size()
	if err == nil && size < end {
		err = im.f.(stepper).Grow(size, end)
		r.made = true
	}
	if err != nil {
		r.step = 0
		return
	}
	r.end = max(size, end)
}

// fillLastCluster makes the file end on the last data cluster's end. Only the
// written part of a fresh cluster is in the file; the format allows that, but
// other tools leave no such ends.
func (im *Image) fillLastCluster() error {
	size, err := im.f.Size()
	if err != nil || size >= im.alloc.dataEnd {
		return err
	}
	return im.f.Truncate(im.alloc.dataEnd)
}

// giveBackRoom cuts off what makeRoom added and nobody needed.
// Preconditions: the image is paused, and has nothing to commit.
func (im *Image) giveBackRoom() error {
	if !im.room.made {
		return nil
	}
	end := max(im.alloc.end, im.alloc.dataEnd)
	size, err := im.f.Size()
	if err != nil || size <= end {
		return err
	}
	return im.f.Truncate(end)
}
