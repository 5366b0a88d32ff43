package scsi

import (
	"errors"
	"fmt"
)

// UnitState is a unit at one moment, as it is saved: what initiators have made of
// it, and what it does. It is plain data, to be kept in whatever form.
type UnitState struct {
	// WriteBack is UnitConfig.WriteBack, which a unit that is to be restored has to
	// be made with: it is the default of a mode parameter.
	WriteBack bool

	WriteCache, DescriptorSense, WriteProtect bool // mode parameters

	Stopped      bool
	Standby      bool // it stands by
	Tray         TrayState
	Attentions   []ASC // that are pending, the oldest first
	Reservations ReservationState
	SelfTests    []SelfTestState // the newest first
	SelfTest     *SelfTestWork   // the newest is in the background
	Sanitize     SanitizeState
}

// TrayState is the tray of a CD-ROM drive.
type TrayState struct {
	Open, Locked bool
	Event        uint32 // that was not reported yet
}

// ReservationState is who is registered, and has reserved.
type ReservationState struct {
	Generation uint32
	Key        uint64
	Held       uint8 // type of the persistent reservation
	Reserved   bool  // by RESERVE
	Persist    bool  // through the loss of power

	OtherInitiator, OtherKey uint64 // that the reservation was moved to
}

// SelfTestState is the result of a self-test.
type SelfTestState struct {
	Code, Result uint8
	Hours        uint16
	At           uint64
	Key          SenseKey
	ASC          ASC
}

// SelfTestWork is how far an extended self-test is.
type SelfTestWork struct {
	Offset  int64 // in bytes
	Aborted bool  // it was told to end
}

// SanitizeState is where a unit is with SANITIZE.
type SanitizeState struct {
	Failed, Leavable bool
	Erasure          *Erasure // that is under way
}

// Save returns the unit's state. No command may be under way, and the unit must be
// suspended.
func (u *Unit) Save() UnitState {
	x := UnitState{
		WriteBack:       u.config.WriteBack,
		WriteCache:      u.writeBack.Load(),
		DescriptorSense: u.descriptorSense.Load(),
		WriteProtect:    u.softProtected.Load(),
		Stopped:         u.stopped.Load(),
		Standby:         u.standsBy(),
		Tray:            TrayState{u.tray.open.Load(), u.tray.locked.Load(), u.tray.event.Load()},
		Attentions:      u.attention.save(),
		Reservations:    u.reservations.save(),
		Sanitize:        u.sanitizing.save(),
	}
	u.selfTests.save(&x)
	return x
}

// Restore gives a unit that was just made the state that Save returned. It is
// suspended then: what was under way in the background goes on with Continue. A state
// that no such unit can have been in is an error: the unit is of no use then.
func (u *Unit) Restore(x UnitState) error {
	if err := x.check(u); err != nil {
		return fmt.Errorf("scsi: saved state: %w", err)
	}
	u.background.hold()
	u.writeBack.Store(x.WriteCache)
	u.descriptorSense.Store(x.DescriptorSense)
	u.softProtected.Store(x.WriteProtect)
	u.stopped.Store(x.Stopped)
	if x.Standby {
		u.StandBy()
	}
	u.tray.open.Store(x.Tray.Open)
	u.tray.locked.Store(x.Tray.Locked)
	u.tray.event.Store(x.Tray.Event)
	u.attention.clear()
	for _, code := range x.Attentions {
		u.attention.raise(code)
	}
	u.reservations.restore(x.Reservations)
	u.restoreSelfTests(&x)
	u.restoreSanitize(x.Sanitize)
	return nil
}

// maxAttentions bounds the attentions of a saved state: there are fewer kinds.
const maxAttentions = 64

// check says what keeps x from being the state of the unit.
func (x *UnitState) check(u *Unit) error {
	size := int64(u.Blocks() << u.shift)
	switch {
	case x.WriteBack != u.config.WriteBack:
		return errors.New("of a unit with another write cache")
	case x.Tray.Event > mediaRemoved, !u.config.CDROM && x.Tray != TrayState{}:
		return errors.New("of a tray that the unit has not")
	case len(x.Attentions) > maxAttentions:
		return fmt.Errorf("%d unit attentions: at most %d", len(x.Attentions), maxAttentions)
	case x.Reservations.Persist && u.config.SaveReservation == nil:
		return errors.New("a reservation that is kept where there is no place for it")
	case len(x.SelfTests) > len(u.selfTests.results):
		return fmt.Errorf("%d self-tests: at most %d", len(x.SelfTests), len(u.selfTests.results))
	}
	if err := x.Reservations.check(); err != nil {
		return err
	}
	for i, t := range x.SelfTests {
		running := i == 0 && x.SelfTest != nil
		if t.Code == selfTestNone || t.Code > selfTestForegroundExtended || t.Result > selfTestInProgress ||
			(t.Result == selfTestInProgress) != running || running && t.Code != selfTestBackgroundExtended {
			return fmt.Errorf("self-test %d of code %d with result %d", i, t.Code, t.Result)
		}
	}
	if w := x.SelfTest; w != nil && (len(x.SelfTests) == 0 || w.Offset < 0 || w.Offset&(1<<u.shift-1) != 0) {
		return fmt.Errorf("a self-test at byte %d", w.Offset)
	}
	if e := x.Sanitize.Erasure; e != nil {
		if x.Sanitize.Failed {
			return errors.New("SANITIZE that has failed, and is under way")
		}
		return e.check(u, size)
	}
	return nil
}

// check says what keeps e from being an erasure of a medium of size bytes.
func (e *Erasure) check(u *Unit, size int64) error {
	const maxPasses = overwriteCount
	overwrite := e.Pattern != nil
	switch {
	case overwrite && (len(e.Pattern) == 0 || len(e.Pattern) > int(u.config.BlockSize) || e.Passes < 1 || e.Passes > maxPasses),
		!overwrite && (e.Passes != 0 || e.Invert),
		e.Size <= 0 || e.Size > size || e.Size&(1<<u.shift-1) != 0,
		e.Offset < 0 || e.Offset >= e.Size || e.Offset&(1<<u.shift-1) != 0,
		e.Pass < 0 || e.Pass > max(e.Passes, 1):
		return fmt.Errorf("SANITIZE of %d bytes, at byte %d of pass %d", e.Size, e.Offset, e.Pass)
	}
	return nil
}

func (a *attentions) save() []ASC {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]ASC(nil), a.queue...)
}

func (r *reservations) save() ReservationState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state()
}

func (r *reservations) restore(x ReservationState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(x)
}

// Preconditions: r.mu is held.
func (r *reservations) state() ReservationState {
	return ReservationState{
		Generation: r.generation, Key: r.key, Held: uint8(r.held), Reserved: r.reserved, Persist: r.persist,
		OtherInitiator: r.other.initiator, OtherKey: r.other.key,
	}
}

// Preconditions: r.mu is held.
func (r *reservations) set(x ReservationState) {
	r.generation, r.key, r.held, r.reserved = x.Generation, x.Key, reservationType(x.Held), x.Reserved
	r.persist = x.Persist
	r.setOther(registrant{initiator: x.OtherInitiator, key: x.OtherKey})
}

// check says what keeps x from being what a unit has.
func (x *ReservationState) check() error {
	switch {
	case x.Held != 0 && !reservationType(x.Held).valid():
		return fmt.Errorf("a reservation of type %#x", x.Held)
	case x.OtherKey != 0 && x.Held == 0, x.Held != 0 && x.Key == 0 && x.OtherKey == 0:
		return errors.New("a reservation without a holder")
	}
	return nil
}

func (l *selfTestLog) save(x *UnitState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.results[:l.count()] {
		x.SelfTests = append(x.SelfTests, SelfTestState{
			Code: r.code, Result: r.result, Hours: r.hours, At: r.at, Key: r.sense.Key, ASC: r.sense.Code,
		})
	}
	if l.running {
		x.SelfTest = &SelfTestWork{Offset: l.offset, Aborted: l.aborted}
	}
}

func (u *Unit) restoreSelfTests(x *UnitState) {
	l := &u.selfTests
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, t := range x.SelfTests {
		l.results[i] = selfTestResult{
			code: t.Code, result: t.Result, hours: t.Hours, at: t.At, sense: Sense{Key: t.Key, Code: t.ASC},
		}
	}
	if x.SelfTest == nil {
		return
	}
	l.offset, l.aborted = x.SelfTest.Offset, x.SelfTest.Aborted
	l.progress.Store(progressOf(l.offset, int64(u.Blocks()<<u.shift)))
	l.running = u.extendInBackground(l.results[0].code, l.results[0].hours)
}

func (z *sanitizeState) save() SanitizeState {
	switch z.value.Load() {
	case sanitizeFailed:
		return SanitizeState{Failed: true}
	case sanitizeFailedLeavable:
		return SanitizeState{Failed: true, Leavable: true}
	case sanitizeRunning:
		if e := z.erasure.Load(); e != nil {
			now := *e
			return SanitizeState{Erasure: &now}
		}
	}
	return SanitizeState{}
}

func (u *Unit) restoreSanitize(x SanitizeState) {
	z := &u.sanitizing
	switch {
	case x.Erasure != nil:
		e := *x.Erasure
		z.value.Store(sanitizeRunning)
		e.report(z)
		u.eraseInBackground(&e)
	case x.Failed && x.Leavable:
		z.value.Store(sanitizeFailedLeavable)
	case x.Failed:
		z.value.Store(sanitizeFailed)
	}
}
