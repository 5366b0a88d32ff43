package megasas

import (
	"sync"

	"github.com/govmm/govmm/pci"
)

// interrupts is the interrupt logic: what happened (OSTS), what the guest wants
// to hear of (OMSK), and the pin or message that results.
//
// With INTx and MSI, events are latched until the guest acknowledges them; the
// pin follows the level, and a message is sent when an event becomes visible.
// With MSI-X, replies are not latched at all: the guest's handler looks at the
// reply ring whatever OSTS says, so a message for each batch of replies is all
// that it needs, and it is spared the acknowledgement. What is posted while the
// mask is closed is made up for when it opens.
type interrupts struct {
	pin   pci.Interrupt
	face  *face
	reply uint32 // the bit of OSTS that says that replies were posted

	mu      sync.Mutex
	latched uint32 // guarded by mu
	mask    uint32 // guarded by mu: a set bit is not wanted
	owed    bool   // guarded by mu: MSI-X replies posted while masked
	sent    uint64 // guarded by mu: interrupts raised, messages and edges
}

// maskAll is the mask after a reset.
const maskAll = 0xffffffff

// replied tells of replies that are in the ring.
func (i *interrupts) replied() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.pin.Mode() == pci.ModeMSIX {
		if i.mask&i.reply != 0 {
			i.owed = true
			return
		}
		if i.pin.Signal(0) {
			i.sent++
			return
		}
	}
	i.update(i.latched|i.reply, i.mask)
}

// stateChanged tells of a fault.
func (i *interrupts) stateChanged() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.update(i.latched|statusState, i.mask)
}

// setMask opens or closes the mask. It loses nothing: what was latched or owed
// meanwhile interrupts when the mask opens.
func (i *interrupts) setMask(mask uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.update(i.latched, mask)
	if i.owed && mask&i.reply == 0 {
		i.owed = false
		if i.pin.Signal(0) {
			i.sent++
			return
		}
		i.update(i.latched|i.reply, mask)
	}
}

// clear acknowledges events.
func (i *interrupts) clear(bits uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.update(i.latched&^bits, i.mask)
}

// reset forgets what happened, and the mask too where mask says so.
func (i *interrupts) reset(mask bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.owed = false
	m := i.mask
	if mask {
		m = maskAll
	}
	i.update(0, m)
}

// update sets latched and mask, and drives what follows from them. Any event
// that becomes visible sends a message, also beside one that is visible already:
// the guest may have read the status before.
//
// Preconditions: i.mu is held.
func (i *interrupts) update(latched, mask uint32) {
	before, now := i.latched&^i.mask, latched&^mask
	i.latched, i.mask = latched, mask
	i.show()
	i.pin.SetINTx(now != 0)
	if now&^before != 0 {
		i.pin.Signal(0)
		i.sent++
	}
}

// show has status and mask read as they should.
//
// Preconditions: i.mu is held.
func (i *interrupts) show() {
	i.face.store(regOSTS, i.latched&^i.mask, i.mask)
}

func (i *interrupts) count() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sent
}
