package pci

import "fmt"

// FunctionState is what the guest has made of a Function: what is left of it
// when its description is known. It is plain data, to be kept in whatever form.
type FunctionState struct {
	Config     []byte        // the configuration space
	Level      bool          // the interrupt pin as the device drives it
	MSIPending uint32        // messages of MSI that wait for bus mastering
	Vectors    []VectorState // of MSI-X; nil without it
}

// VectorState is an entry of an MSI-X table, with its pending bit.
type VectorState struct {
	Address uint64
	Data    uint32
	Masked  bool
	Pending bool
}

// Save returns the function's state. Nothing may change it meanwhile: neither the
// guest nor the device.
func (f *Function) Save() FunctionState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := FunctionState{Config: append([]byte(nil), f.cfg.now[:]...), Level: f.level.Load()}
	if m := f.msi; m != nil {
		m.mu.Lock()
		s.MSIPending = m.pending
		m.mu.Unlock()
	}
	if f.msix != nil {
		s.Vectors = f.msix.save()
	}
	return s
}

func (m *msix) save() []VectorState {
	list := make([]VectorState, len(m.vectors))
	for n := range m.vectors {
		v := &m.vectors[n]
		v.mu.Lock()
		list[n] = VectorState{v.addr, v.data, v.masked, m.pending[n/64].Load()&(1<<(n%64)) != 0}
		v.mu.Unlock()
	}
	return list
}

// Restore puts a function of the same description into a state that Save
// returned, on a bus or before it is attached to one. Its decoders, its pin and
// the hooks of OnConfigWrite follow; those of OnReset are not called. A state that
// is not one of such a function is an error, and changes nothing.
func (f *Function) Restore(s FunctionState) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(&s); err != nil {
		return fmt.Errorf("pci function %s: %w", f.name, err)
	}
	old := f.cfg.now
	copy(f.cfg.now[:], s.Config)
	f.gates.Store(0) // nothing is sent until all is in place
	f.level.Store(s.Level)
	if m := f.msi; m != nil {
		m.mu.Lock()
		m.pending = s.MSIPending
		m.mu.Unlock()
	}
	if f.msix != nil {
		f.msix.restore(s.Vectors)
	}
	f.settle()
	for off := 0; off < configSize; off += 4 {
		if [4]byte(old[off:]) != [4]byte(f.cfg.now[off:]) {
			f.changed(off)
		}
	}
	return nil
}

// check says what keeps s from being the state of the function.
//
// Preconditions: f.mu is held.
func (f *Function) check(s *FunctionState) error {
	if len(s.Config) != configSize {
		return fmt.Errorf("state with %d bytes of configuration space: must be %d", len(s.Config), configSize)
	}
	for i, b := range s.Config {
		if fixed := ^(f.cfg.write[i] | f.cfg.clear[i]); (b^f.cfg.reset[i])&fixed != 0 {
			return fmt.Errorf("state of another function: byte %#x of configuration space is %#02x, where this one has %#02x",
				i, b, f.cfg.reset[i])
		}
	}
	if f.pm != 0 {
		if p := s.Config[f.pm+pmControl] & pmStateMask; p != powerD0 && p != powerD3hot {
			return fmt.Errorf("state with power state D%d: must be D%d or D%d", p, powerD0, powerD3hot)
		}
	}
	messages, vectors := 0, 0
	if f.msi != nil {
		messages = f.msi.vectors
	}
	if f.msix != nil {
		vectors = len(f.msix.vectors)
	}
	switch {
	case uint64(s.MSIPending)>>messages != 0:
		return fmt.Errorf("state with messages %#x pending: there are %d", s.MSIPending, messages)
	case len(s.Vectors) != vectors:
		return fmt.Errorf("state with %d vectors of MSI-X: must be %d", len(s.Vectors), vectors)
	}
	for n, v := range s.Vectors {
		if v.Address%4 != 0 {
			return fmt.Errorf("state with vector %d at %#x: must be a multiple of 4", n, v.Address)
		}
	}
	return nil
}

// restore sets the table and the pending bits.
//
// Preconditions: there is an entry for each vector.
func (m *msix) restore(list []VectorState) {
	m.reset()
	for n, s := range list {
		v := &m.vectors[n]
		v.mu.Lock()
		v.addr, v.data, v.masked = s.Address, s.Data, s.Masked
		if s.Pending {
			m.pending[n/64].Or(1 << (n % 64))
		}
		v.mu.Unlock()
	}
}
