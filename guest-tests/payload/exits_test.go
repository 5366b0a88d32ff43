package payloadtests

import (
	"sync"
	"testing"

	"github.com/govmm/govmm/megasas"
	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/vmm/kvm"
)

// blind is an Observer that looks at nothing.
type blind struct{}

func (blind) FrameFetched(megasas.FrameFetched) {}
func (blind) FrameHeld(megasas.FrameFetched)    {}
func (blind) FrameDone(megasas.FrameDone)       {}
func (blind) FrameLost(uint64, string)          {}
func (blind) StateChanged(uint32)               {}

// meter reads the machine's counters at each frame that is fetched: after the exit
// that posts it has begun, and before the guest, which has one frame outstanding at a
// time, can have made another.
type meter struct {
	blind
	guest *guest

	mu       sync.Mutex
	accesses []uint64 // guarded by mu
}

func (m *meter) FrameFetched(megasas.FrameFetched) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accesses = append(m.accesses, m.guest.machine.Stats().Accesses())
}

// wantPerFrame checks that the guest left n times from each of the last frames to
// the next, and only for device accesses.
func (m *meter) wantPerFrame(t *testing.T, frames int, n uint64) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.accesses) < frames {
		t.Fatalf("%d frames were posted, want %d at least", len(m.accesses), frames)
	}
	last := m.accesses[len(m.accesses)-frames:]
	for i := 1; i < frames; i++ {
		if exits := last[i] - last[i-1]; exits != n {
			t.Errorf("%d exits from frame %d to the next, want %d", exits, i-1, n)
		}
	}
	for kind, count := range m.guest.machine.Stats().Exits {
		switch kind {
		case kvm.ExitIO.String(), kvm.ExitMMIO.String(), kvm.ExitInterrupted.String():
		default:
			t.Errorf("%d exits of the kind %q", count, kind)
		}
	}
}

func newMeteredGuest(t *testing.T) (*guest, *meter) {
	m := &meter{}
	m.guest = newGuestWith(t, hardware{observer: m})
	return m.guest, m
}

func TestPolledReplyCostsNoExit(t *testing.T) {
	const frames = 10
	g, m := newMeteredGuest(t)
	g.drive()
	g.initialize(4)
	for i := range uint64(frames / 2) {
		g.submit(g.reading(8*i, 4096), mfi.StatusOK)
		g.pollReplies()
		g.submit(g.writing(byte(i), 512+8*i, 2048, 2048), mfi.StatusOK)
		g.pollReplies()
	}
	g.run()
	m.wantPerFrame(t, frames, 1)
}

func TestPolledStatusCostsNoExit(t *testing.T) {
	const frames = 10
	g, m := newMeteredGuest(t)
	g.drive()
	for i := range uint64(frames) {
		g.poll(g.reading(8*i, 4096), mfi.StatusOK)
	}
	g.run()
	m.wantPerFrame(t, frames, 1)
}

// settling is how many frames it takes until the machine has the registers read
// without exits: it waits until they have been read a few times.
const settling = 40

// With messages, the handler's two looks at the interrupt status cost nothing, and it
// has nothing to acknowledge. The end of the interrupt stays in the kernel.
func TestMessageCostsNoExit(t *testing.T) {
	const frames = 10
	g, m := newMeteredGuest(t)
	g.drive()
	g.enableMSIX(g.findMSIX())
	g.initialize(4)
	g.handler()
	g.write(regMask, maskNone)
	for i := range uint64(settling + frames) {
		g.submit(g.reading(8*i, 4096), mfi.StatusOK)
		g.haltForReplies()
	}
	g.run()
	m.wantPerFrame(t, frames, 1)
}

// By the pin, the acknowledgement is an exit.
func TestLineInterruptCostsAnExit(t *testing.T) {
	const frames = 10
	g, m := newMeteredGuest(t)
	g.drive()
	g.initialize(4)
	g.handler()
	g.RouteIOAPIC(line, vector, true)
	g.write(regMask, maskNone)
	for i := range uint64(settling + frames) {
		g.submit(g.reading(8*i, 4096), mfi.StatusOK)
		g.haltForReplies()
	}
	g.run()
	m.wantPerFrame(t, frames, 1+1)
}
