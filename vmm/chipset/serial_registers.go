package chipset

// depth is how many characters the receiver holds.
func (u *uart) depth() int {
	if u.fcr&fcrEnable == 0 {
		return 1
	}
	return len(u.fifo)
}

// trigger is how many characters raise the received-data interrupt.
func (u *uart) trigger() int {
	if u.fcr&fcrEnable == 0 {
		return 1
	}
	return [4]int{1, 4, 8, 14}[u.fcr>>fcrTrigger]
}

// push adds a character.
//
// Preconditions: there is room.
func (u *uart) push(b byte) {
	u.fifo[(u.first+u.count)%len(u.fifo)] = b
	u.count++
}

// pop reads RBR; an empty receiver gives 0.
func (u *uart) pop() byte {
	if u.count == 0 {
		return 0
	}
	b := u.fifo[u.first]
	u.first = (u.first + 1) % len(u.fifo)
	u.count--
	return b
}

// setFIFO writes FCR. Switching the FIFO on or off empties it, too.
func (u *uart) setFIFO(v byte) {
	if (v^u.fcr)&fcrEnable != 0 || v&(fcrEnable|fcrReset) == fcrEnable|fcrReset {
		u.first, u.count = 0, 0
	}
	if v&fcrEnable == 0 {
		v = 0 // the other bits can be written together with this one only
	}
	u.fcr = v & fcrRemember
}

// pending is the interrupt of the highest priority, as in IIR.
func (u *uart) pending() byte {
	switch {
	case u.ier&ierLine != 0 && u.overrun:
		return iirLine
	case u.ier&ierReceived != 0 && u.count >= u.trigger():
		return iirReceived
	case u.ier&ierReceived != 0 && u.count > 0:
		return iirTimeout
	case u.ier&ierSent != 0 && u.sent:
		return iirSent
	case u.ier&ierModem != 0 && u.deltas != 0:
		return iirModem
	}
	return iirNone
}

// identify reads IIR, which acknowledges a transmitter interrupt that it
// reports. It reads the same whatever LCR holds: a later UART has an enhanced
// register here, and a driver that found it zero would take this one for such.
func (u *uart) identify() byte {
	v := u.pending()
	if v == iirSent {
		u.sent = false
	}
	if u.fcr&fcrEnable != 0 {
		v |= iirFIFO
	}
	return v
}

// modemStatus is the upper half of MSR: the modem lines, which in loopback are
// the UART's own outputs.
func (u *uart) modemStatus() byte {
	if u.mcr&mcrLoop == 0 {
		return msrReady
	}
	var v byte
	for _, wire := range [...]struct{ out, in byte }{
		{mcrDTR, msrDSR}, {mcrRTS, msrCTS}, {mcrOUT1, msrRing}, {mcrOUT2, msrDCD},
	} {
		if u.mcr&wire.out != 0 {
			v |= wire.in
		}
	}
	return v
}

// changeModem notes what changed since the modem lines were as in before. The
// ring indicator counts when it ends.
func (u *uart) changeModem(before byte) {
	changed := before ^ u.modemStatus()
	if changed&msrRing != 0 && before&msrRing == 0 {
		changed &^= msrRing
	}
	u.deltas |= changed >> 4
}
