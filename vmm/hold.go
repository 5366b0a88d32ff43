package vmm

// hold is a set of reasons for which the processors stay out of the guest.
type hold = uint32

const (
	holdReset    hold = 1 << iota // the machine is being reset
	holdPause                     // somebody paused it
	holdReaction                  // it is going to be paused
	holdMemory                    // what is at some addresses changes
)

// hold keeps the processors out of the guest. It does not wait until they are.
//
// Preconditions: m.mu is held.
func (m *Machine) hold(h hold) {
	m.holds.Store(m.holds.Load() | h)
	m.kickAll()
}

// release takes back hold.
func (m *Machine) release(h hold) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(h)
}

// drop is release.
//
// Preconditions: m.mu is held.
func (m *Machine) drop(h hold) {
	m.holds.Store(m.holds.Load() &^ h)
	m.turn.Broadcast()
}

// kickAll has every processor leave the guest and look at the machine's state.
func (m *Machine) kickAll() {
	for _, c := range m.cpus {
		c.vcpu.Kick()
	}
}

// park keeps a processor here for as long as there is a hold. It reports false if
// the machine has ended.
//
// Preconditions: the processor's last access was completed, which Run has done
// when it returns kvm.ErrInterrupted.
func (m *Machine) park() bool {
	if m.holds.Load() == 0 {
		return !m.ending.Load()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holds.Load() == 0 || m.ending.Load() {
		return !m.ending.Load()
	}
	m.parked++
	m.turn.Broadcast()
	for m.holds.Load() != 0 && !m.ending.Load() {
		m.turn.Wait()
	}
	m.parked--
	return !m.ending.Load()
}

// awaitParked waits until all processors are parked. It reports false if the
// machine has ended.
//
// Preconditions: there is a hold that stays.
func (m *Machine) awaitParked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.parked < len(m.cpus) && !m.ending.Load() {
		m.turn.Wait()
	}
	return !m.ending.Load()
}
