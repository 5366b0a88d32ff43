package scsi

import (
	"bytes"
	"testing"
)

// prompt is a memory that never has to wait, or always.
type prompt struct {
	*memory
	waits bool
}

func (p *prompt) TryReadV(bufs [][]byte, off int64) bool {
	return !p.waits && p.ReadV(bufs, off) == nil
}

func (p *prompt) TryWriteV(bufs [][]byte, off int64) bool {
	return !p.waits && p.WriteV(bufs, off) == nil
}

// promptUnit is a unit of 64 blocks that has a write cache.
func promptUnit(t *testing.T, change func(*UnitConfig)) (*Unit, *prompt) {
	t.Helper()
	m := &prompt{memory: &memory{t: t, block: 512, data: make([]byte, 64*512)}}
	cfg := UnitConfig{Medium: m, WriteBack: true}
	if change != nil {
		change(&cfg)
	}
	u, err := NewUnit(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return u, m
}

func TestTryMovesWhatReadAndWriteMove(t *testing.T) {
	u, m := promptUnit(t, nil)
	p := bytes.Repeat([]byte{7}, 1024)
	c := &Command{Data: [][]byte{p[:512], p[512:], make([]byte, 512)}} // longer than the transfer
	if !u.TryWrite(c, 3, 2) || c.Status != StatusGood || c.Transferred != 1024 {
		t.Errorf("the write: %v", c)
	}
	if !bytes.Equal(m.data[3*512:5*512], p) || m.data[5*512] != 0 {
		t.Error("the medium does not have what was written")
	}
	got := make([]byte, 1024)
	c = &Command{Data: [][]byte{got}}
	if !u.TryRead(c, 3, 2) || c.Status != StatusGood || c.Transferred != 1024 || !bytes.Equal(got, p) {
		t.Errorf("the read: %v", c)
	}
	if n := u.counters.Totals(); n.BytesRead != 1024 || n.BytesWritten != 1024 {
		t.Errorf("counted %+v", n)
	}
}

// What Read or Write would refuse, wait for or do more for is left to them, and so
// is telling why.
func TestTryLeavesTheRest(t *testing.T) {
	type attempt = func(*Unit, *Command) bool
	read := func(lba uint64, n uint32) attempt {
		return func(u *Unit, c *Command) bool { return u.TryRead(c, lba, n) }
	}
	write := func(lba uint64, n uint32) attempt {
		return func(u *Unit, c *Command) bool { return u.TryWrite(c, lba, n) }
	}
	both := []attempt{read(0, 1), write(0, 1)}
	for name, c := range map[string]struct {
		config  func(*UnitConfig)
		before  func(*Unit, *prompt)
		attempt []attempt
	}{
		"beyond the end":       {nil, nil, []attempt{read(64, 1), read(63, 2), write(64, 1), read(1<<63, 1)}},
		"nothing":              {nil, nil, []attempt{read(0, 0), write(0, 0)}},
		"more than the buffer": {nil, nil, []attempt{read(0, 3), write(0, 3)}},
		"more than the limit":  {func(c *UnitConfig) { c.Limits.MaxTransfer = 1 }, nil, []attempt{read(0, 2), write(0, 2)}},
		"the medium waits":     {nil, func(_ *Unit, m *prompt) { m.waits = true }, both},
		"no write cache":       {func(c *UnitConfig) { c.WriteBack = false }, nil, both[1:]},
		"read-only":            {func(c *UnitConfig) { c.ReadOnly = true }, nil, both[1:]},
		"stopped":              {nil, func(u *Unit, _ *prompt) { u.stopped.Store(true) }, both},
		"an attention":         {nil, func(u *Unit, _ *prompt) { u.RaiseAttention(ASCCapacityDataHasChanged) }, both},
		"being sanitized":      {nil, func(u *Unit, _ *prompt) { u.sanitizing.begin() }, both},
		"a read-modify-write":  {nil, func(u *Unit, _ *prompt) { u.changes.Lock() }, both[1:]},
		"the tray is open":     {func(c *UnitConfig) { c.CDROM = true }, func(u *Unit, _ *prompt) { u.tray.open.Store(true) }, both[:1]},
		"another's reservation": {nil, func(u *Unit, _ *prompt) {
			u.reservations.held = exclusiveAccess
			u.reservations.setOther(registrant{initiator: otherInitiator, key: keyB})
		}, both},
		"a medium that can not": {func(c *UnitConfig) { c.Medium = c.Medium.(*prompt).memory }, nil, both},
	} {
		u, m := promptUnit(t, c.config)
		if c.before != nil {
			c.before(u, m)
		}
		for i, try := range c.attempt {
			cmd := &Command{Data: [][]byte{make([]byte, 1024)}}
			if try(u, cmd) || cmd.Status != StatusGood {
				t.Errorf("%s, attempt %d: done, or answered: %v", name, i, cmd)
			}
		}
		if len(m.calls) > 0 {
			t.Errorf("%s: the medium was used: %v", name, m.calls)
		}
		if name == "an attention" {
			cmd := &Command{Data: [][]byte{make([]byte, 512)}}
			if u.Read(cmd, 0, 1, false); cmd.Status != StatusCheckCondition {
				t.Error("the attention was lost")
			}
		}
	}
}

// A cache that is turned off while a write is under way must find it durable.
func TestTryLooksAtTheCacheAfterTheWrite(t *testing.T) {
	u, m := promptUnit(t, nil)
	m.during = func() { u.writeBack.Store(false) }
	if u.TryWrite(&Command{Data: [][]byte{make([]byte, 512)}}, 0, 1) {
		t.Error("a write was completed without the cache and without a flush")
	}
}

func TestTriesDoNotAllocate(t *testing.T) {
	u, m := promptUnit(t, nil)
	var c Command
	list, p := make([][]byte, 1), make([]byte, 512)
	for name, try := range map[string]func() bool{
		"read":  func() bool { return u.TryRead(&c, 1, 1) },
		"write": func() bool { return u.TryWrite(&c, 1, 1) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			m.calls = m.calls[:0]
			list[0] = p
			c.Data = list
			if !try() {
				t.Fatal("not done")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
