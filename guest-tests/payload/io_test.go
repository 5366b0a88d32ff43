package payloadtests

import (
	"bytes"
	"sync"
	"testing"

	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/mfi"
)

// TestWritesAndReadsThroughTheRing moves data as drivers do, one frame at a time,
// in a ring that is short enough to wrap. The image is judged when the guest is
// gone.
func TestWritesAndReadsThroughTheRing(t *testing.T) {
	const cluster = 64 << 10 / blockSize
	g := newGuest(t)
	g.drive()
	g.initialize(3)
	for _, x := range []mfi.Fields{
		g.reading(0, blockSize),                                      // what was there
		g.writing(10, 3, 4096),                                       // over it
		g.reading(0, 100, 412, 1024, 4096, 2560),                     // around it; elements that are no blocks
		g.writing(11, 8*cluster-1, 512, 1024, 4096),                  // new, across two clusters
		g.reading(8*cluster-8, 4096, 300, 724, 8192),                 // with nothing around it
		g.writing(12, 20*cluster, 32<<10, 16<<10, 12<<10, 4096, 512), // a cluster and a block
		g.reading(20*cluster, 1<<16, 512, 512),
		g.reading(diskSize/blockSize-8, 4096),    // the end
		g.writing(13, diskSize/blockSize-1, 512), // its last block
		g.reading(diskSize/blockSize-2, 24, 1000),
	} {
		g.submit(x, mfi.StatusOK)
		g.pollReplies()
	}
	g.run()
}

// TestManyFramesOutstanding fills the ring as full as a driver may, and the elements
// of a frame as many as the controller says.
func TestManyFramesOutstanding(t *testing.T) {
	const depth = 6
	many := make([]uint32, 60)
	for i := range many {
		many[i] = 4 * blockSize / 60 &^ 3
	}
	many[0] += 4*blockSize - 60*many[1]

	g := newGuest(t)
	g.drive()
	g.initialize(depth + 1)
	for round := range byte(3) {
		for i := range byte(depth) {
			// Writes to clusters that they share with the other rounds.
			g.submit(g.writing(20+depth*round+i, 512+96*uint64(i)+32*uint64(round), many...), mfi.StatusOK)
		}
		g.pollReplies()
	}
	for i := range depth {
		g.submit(g.reading(512+96*uint64(i), 96*blockSize), mfi.StatusOK)
	}
	g.pollReplies()
	g.run()
}

// cutter keeps what a power cut would have left at each completed write.
type cutter struct {
	blind
	file *volatileFile

	mu   sync.Mutex
	left [][]byte // guarded by mu
}

func (c *cutter) FrameDone(d megasas.FrameDone) {
	if d.Frame.Cmd() != mfi.CmdLDWrite {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, c.file.afterPowerCut())
}

// TestCompletedWritesSurviveAPowerCut looks at the image as it is in storage at the
// moment when a write completes, with all that was not made durable gone.
func TestCompletedWritesSurviveAPowerCut(t *testing.T) {
	file := &volatileFile{}
	cuts := &cutter{file: file}
	g := newGuestWith(t, hardware{file: file, observer: cuts})
	g.drive()
	g.initialize(4)
	var wants [][]byte
	for _, x := range []func() mfi.Fields{
		func() mfi.Fields { return g.writing(40, 1, 512) },          // in place
		func() mfi.Fields { return g.writing(41, 4096, 4096) },      // a new cluster
		func() mfi.Fields { return g.writing(42, 4104, 512, 1536) }, // more of it
		func() mfi.Fields { return g.writing(43, 6000, 128<<10) },   // several
	} {
		g.submit(x(), mfi.StatusOK)
		g.pollReplies()
		wants = append(wants, bytes.Clone(g.disk.want))
	}
	g.run()

	cuts.mu.Lock()
	defer cuts.mu.Unlock()
	if len(cuts.left) != len(wants) {
		t.Fatalf("%d writes completed, want %d", len(cuts.left), len(wants))
	}
	for i, left := range cuts.left {
		judge(t, store(t, left), wants[i], true)
	}
}
