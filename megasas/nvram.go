package megasas

import (
	"fmt"
	"sync"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// sequenceReserve is how far ahead of the newest event the sequence number is
// that is saved while the controller runs. After a crash the log goes on from
// there: no number is given out twice, unless more events than this came in the
// few milliseconds that a Save takes.
const sequenceReserve = 128

// savePause is the least time between two saves that nobody waits for.
const savePause = 50 * time.Millisecond

// nvram saves what the card must not forget: at once where the guest waits for
// it, soon after each event, and when the controller closes. Without a store it
// does nothing.
type nvram struct {
	store NVRAM

	// mu is held while something is saved, so that it is in order. It is taken
	// before the locks of what is saved.
	mu sync.Mutex

	records driveRecords
	modes   targetRecords[modeRecord]

	reservations targetRecords[reservationRecord]
}

// loadNVRAM takes over what the NVRAM has. Contents that cannot be read are set
// aside: the card starts with the factory's settings then.
func (c *Controller) loadNVRAM() error {
	n := &c.nvram
	if n.store == nil {
		return nil
	}
	p, err := n.store.Load()
	if err != nil {
		return fmt.Errorf("%s: NVRAM: %w", c.name, err)
	}
	if p == nil {
		return nil
	}
	x, err := parseNVRAM(p)
	if err != nil {
		where, aside := n.store.SetAside()
		if aside != nil {
			return fmt.Errorf("%s: NVRAM cannot be read (%w), nor set aside: %w", c.name, err, aside)
		}
		c.log.Warn("NVRAM cannot be read: the card starts with factory settings and an empty event log",
			"controller", c.name, "err", err, "kept", where)
		return nil
	}
	c.takeContents(x)
	return nil
}

// takeContents takes over what the NVRAM had.
func (c *Controller) takeContents(x *nvramContents) {
	c.settings.restore(x)
	c.events.restore(x)
	c.clock.ahead.Store(x.clock)
	c.nvram.records.restore(x.drives)
	c.nvram.modes.restore(x.modes)
	c.nvram.reservations.restore(x.reservations)
	if x.battery != nil && checkBatteryProperties(&x.battery.props) == nil {
		c.learning.kept.Store(x.battery)
	}
}

// contents is what the NVRAM has to have now. last says that no event will follow.
func (c *Controller) contents(last bool) *nvramContents {
	x := new(nvramContents)
	c.settings.keep(x)
	c.events.keep(x)
	x.clock = c.clock.ahead.Load()
	if x.exact = last; !last {
		x.log.Newest += sequenceReserve
	}
	for i := range c.physicals {
		if pd := c.physicals[i].Load(); pd != nil {
			c.nvram.records.put(pd.vitals.record())
		}
	}
	x.drives = c.nvram.records.list()
	x.modes = c.nvram.modes.list()
	x.reservations = c.nvram.reservations.list()
	x.battery = c.learning.kept.Load()
	return x
}

// saveNVRAM saves everything. last says that no event will follow.
func (c *Controller) saveNVRAM(last bool) error {
	n := &c.nvram
	if n.store == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.store.Save(c.contents(last).marshal())
}

// saver saves whenever there was a new event.
func (c *Controller) saver() {
	for {
		select {
		case <-c.unsaved:
		case <-c.done:
			return
		}
		if err := c.saveNVRAM(false); err != nil && c.failures.Allow(c.now()) {
			c.log.Error("NVRAM cannot be saved", "controller", c.name, "err", err)
		}
		c.pause(savePause)
	}
}

// eventAdded wakes who waits for events. It runs wherever events happen.
func (c *Controller) eventAdded() {
	c.wakeCourier()
	select {
	case c.unsaved <- struct{}{}:
	default: // it will save anyway
	}
}

// remember saves what the guest has set, before it is told that it is set.
func (c *Controller) remember() mfi.Status {
	if err := c.saveNVRAM(false); err != nil {
		c.log.Error("NVRAM cannot be saved", "controller", c.name, "err", err)
		return mfi.StatusFlashError
	}
	return mfi.StatusOK
}

// keep puts the log into the NVRAM's contents.
func (l *eventLog) keep(x *nvramContents) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x.log = l.info
	for n := l.info.Oldest; n != l.info.Newest+1; n++ {
		if e := &l.events[n%eventLogSize]; e.Sequence == n {
			x.events = append(x.events, *e)
		}
	}
}

// restore goes on with the log of the NVRAM. If the controller did not close, it
// goes on some way after it.
func (l *eventLog) restore(x *nvramContents) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.info = x.log
	if l.info.Newest-l.info.Oldest >= eventLogSize {
		l.info.Oldest = l.info.Newest - eventLogSize + 1
	}
	for _, e := range x.events {
		if e.Sequence-l.info.Oldest < eventLogSize {
			l.events[e.Sequence%eventLogSize] = e
		}
	}
}
