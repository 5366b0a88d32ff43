package pci

import "sync"

// gates are the parts of the configuration that every interrupt has to pass.
type gates uint32

const (
	gateINTx     gates = 1 << iota // the pin reaches its line
	gateMSI                        // MSI is enabled
	gateMSIX                       // MSI-X is enabled
	gateUnmasked                   // the function's MSI-X vectors are not masked as a whole
	gateMaster                     // the function may write to memory
)

func (g gates) has(all gates) bool { return g&all == all }

// readGates derives the gates from the registers.
//
// Preconditions: f.mu is held.
func (f *Function) readGates() gates {
	command := f.cfg.uint16At(regCommand)
	var g gates
	if f.msi != nil && f.cfg.uint16At(f.msi.off+msiControl)&msiEnable != 0 {
		g |= gateMSI
	}
	if f.msix != nil {
		control := f.cfg.uint16At(f.msix.off + msixControl)
		if control&msixEnable != 0 {
			g |= gateMSIX
		}
		if control&msixMask == 0 {
			g |= gateUnmasked
		}
	}
	if f.powerState() != powerD0 {
		return g
	}
	if command&commandMaster != 0 {
		g |= gateMaster
	}
	if command&commandINTxDisable == 0 && g&(gateMSI|gateMSIX) == 0 {
		g |= gateINTx
	}
	return g
}

// settleSignals makes the interrupts follow the registers. When it returns, no
// message is on its way that the registers forbid now.
//
// Preconditions: f.mu is held.
func (f *Function) settleSignals() {
	f.gates.Store(uint32(f.readGates()))
	if f.msi != nil {
		f.msi.latch(f)
	}
	if f.msix != nil {
		f.msix.sendPending(f)
	}
	f.driveLine()
}

func (f *Function) openGates() gates { return gates(f.gates.Load()) }

// Mode implements Interrupt.
func (f *Function) Mode() InterruptMode {
	switch g := f.openGates(); {
	case g.has(gateMSIX):
		return ModeMSIX
	case g.has(gateMSI):
		return ModeMSI
	}
	return ModeINTx
}

// BusMaster reports whether the guest lets the function access memory now: the
// Bus Master bit is set and the function is in D0.
func (f *Function) BusMaster() bool { return f.openGates().has(gateMaster) }

// SetINTx implements Interrupt. A function without an interrupt pin ignores it.
func (f *Function) SetINTx(asserted bool) {
	if f.pin != 0 && f.level.Swap(asserted) != asserted {
		f.driveLine()
	}
}

// Signal implements Interrupt. While the function may not master the bus, a
// message is kept pending. It also reports false for a message that the
// function does not have. With MSI, a message beyond those that the guest
// granted shares one of those (PCI 6.8.1.3: the low bits of its number count).
func (f *Function) Signal(n int) bool {
	switch g := f.openGates(); {
	case g.has(gateMSIX):
		return f.msix.signal(f, n)
	case g.has(gateMSI):
		return f.msi.signal(f, n)
	}
	return false
}

// send writes a message to the machine. One that cannot be delivered is lost, as
// a write to nowhere is on a bus.
func (f *Function) send(addr uint64, data uint32) {
	if pl := f.place.Load(); pl != nil {
		_ = pl.bus.platform.SendMSI(addr, data)
	}
}

// driveLine makes the interrupt line follow the pin.
func (f *Function) driveLine() {
	if pl := f.place.Load(); pl != nil {
		pl.bus.lines.drive(f, pl)
	}
}

// noLine is the gsi of a pin that is not connected.
const noLine = -1

// lines are the interrupt lines of a bus: each is asserted while at least one
// function asserts it.
type lines struct {
	platform Platform
	routing  Routing

	mu        sync.Mutex
	asserting map[int]int // guarded by mu: functions per GSI
}

// drive makes the line of a place follow its function.
func (l *lines) drive(f *Function, pl *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(pl, f.level.Load() && f.openGates().has(gateINTx))
}

// connect wires the pin of a place to the line that the routing says now, unless
// the function has left it.
func (l *lines) connect(f *Function, pl *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pl.left {
		return
	}
	gsi := noLine
	if f.pin != 0 {
		gsi = l.routing(pl.slot, f.pin-1)
	}
	if gsi == pl.gsi {
		return
	}
	l.set(pl, false)
	pl.gsi = gsi
	l.set(pl, f.level.Load() && f.openGates().has(gateINTx))
}

// disconnect releases the line of a place for good.
func (l *lines) disconnect(pl *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(pl, false)
	pl.gsi, pl.left = noLine, true
}

// Preconditions: l.mu is held.
func (l *lines) set(pl *place, assert bool) {
	if pl.gsi < 0 || assert == pl.driven {
		return
	}
	pl.driven = assert
	if assert {
		l.asserting[pl.gsi]++
		if l.asserting[pl.gsi] == 1 {
			l.platform.SetIRQ(pl.gsi, true)
		}
		return
	}
	l.asserting[pl.gsi]--
	if l.asserting[pl.gsi] == 0 {
		l.platform.SetIRQ(pl.gsi, false)
	}
}
