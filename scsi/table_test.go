package scsi

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func TestTableIsCoherent(t *testing.T) {
	names := map[string]bool{}
	for i, r := range blockCommands().rows {
		if i > 0 {
			p := blockCommands().rows[i-1]
			if p.op > r.op || p.op == r.op && p.action >= r.action {
				t.Errorf("%s comes after %s", r.name, p.name)
			}
		}
		if names[r.name] || r.name == "" {
			t.Errorf("name %q is there twice", r.name)
		}
		names[r.name] = true
		if r.usage[0] != byte(r.op) {
			t.Errorf("%s: usage map starts with %#x", r.name, r.usage[0])
		}
		if want := map[Opcode]int{0: 6, 1: 10, 2: 10, 4: 16, 5: 12}[r.op>>5]; len(r.usage) != want {
			t.Errorf("%s: CDB of %d bytes, want %d as its group has", r.name, len(r.usage), want)
		}
		if r.action != noAction && r.usage[1]&actionMask != byte(r.action) {
			t.Errorf("%s: usage map has service action %#x", r.name, r.usage[1])
		}
		if r.usage[len(r.usage)-1] != 0 {
			t.Errorf("%s: the control byte is used", r.name)
		}
		if strings.Contains(r.name, "WRITE") != (r.needs&writable != 0) && r.op != OpUnmap && r.op != OpSanitize {
			t.Errorf("%s: needs a writable unit: %v", r.name, r.needs&writable != 0)
		}
	}
	for _, o := range otherNames {
		if blockCommands().of(o.op) != nil {
			t.Errorf("%s is in the command table as well", o.name)
		}
		if names[o.name] {
			t.Errorf("name %q is there twice", o.name)
		}
		names[o.name] = true
	}
}

// Each bit that the usage map has not is refused, with a pointer to a field that
// has the bit; this includes RDPROTECT, WRPROTECT, NACA and group numbers.
func TestReservedBits(t *testing.T) {
	u, m := newUnit(t, nil)
	for _, r := range blockCommands().rows {
		for i := 1; i < len(r.usage) && r.has(u); i++ {
			for bit := range 8 {
				if r.usage[i]>>bit&1 != 0 || i == 1 && r.action != noAction && bit < 5 {
					continue
				}
				cdb := make([]byte, len(r.usage))
				cdb[0] = byte(r.op)
				if r.action != noAction {
					cdb[1] = byte(r.action)
				}
				cdb[i] |= 1 << bit
				c := run(u, cdb, make([]byte, 512))
				s, _ := ParseSense(c.Sense)
				if s.Code != ASCInvalidFieldInCDB || s.Field.In != InCDB || int(s.Field.Byte) != i ||
					!s.Field.HasBit || int(s.Field.Bit) < bit {
					t.Errorf("byte %d bit %d of %v", i, bit, c)
				}
			}
		}
	}
	if calls := m.called(); len(calls) != 0 {
		t.Errorf("the medium was called: %v", calls)
	}
	for _, c := range []struct {
		cdb  []byte
		want Sense
	}{
		{cdb10(OpRead10, 0x20, 0, 1), inCDB(1, 7)},  // RDPROTECT 1
		{cdb16(OpWrite16, 0xE0, 0, 1), inCDB(1, 7)}, // WRPROTECT 7
		{cdb10(OpRead10, 0x04, 0, 1), inCDB(1, 2)},  // RARC
		{[]byte{byte(OpTestUnitReady), 0, 0, 0, 0, 0x04}, inCDB(5, 7)},
		{[]byte{byte(OpStartStopUnit), 0, 0, 0, 0x31, 0}, inCDB(4, 7)}, // STANDBY
		{[]byte{byte(OpPreventAllow), 0, 0, 0, 0x02, 0}, inCDB(4, 7)},
	} {
		wantSense(t, run(u, c.cdb, make([]byte, 512)), c.want)
	}
}

func TestUnknownCommands(t *testing.T) {
	u, _ := newUnit(t, nil)
	for op := range 256 {
		if rows := blockCommands().of(Opcode(op)); rows != nil && rows[0].has(u) {
			continue
		}
		cdb := make([]byte, 32)
		cdb[0] = byte(op)
		wantSense(t, run(u, cdb, make([]byte, 512)), illegal(ASCInvalidOpcode))
	}
	wantSense(t, run(u, nil), illegal(ASCInvalidOpcode))
	// A CDB that is cut off is no command; one with bytes behind it is.
	for _, r := range blockCommands().rows {
		wantSense(t, run(u, r.usage[:len(r.usage)-1]), illegal(ASCInvalidOpcode))
	}
	wantGood(t, run(u, append(cdb10(OpRead10, 0, 0, 1), 1, 2, 3, 4, 5, 6), make([]byte, 512)), 512)
	// Service actions that are not there.
	wantSense(t, run(u, []byte{0x9E, 0x13, 15: 0}), inCDB(1, 4))
	wantSense(t, run(u, []byte{0xA3, 0x0A, 11: 0}), inCDB(1, 4))
}

// REPORT SUPPORTED OPERATION CODES lists what Execute knows, and nothing else.
func TestReportAllCommands(t *testing.T) {
	for _, discard := range []bool{true, false} {
		u, _ := newUnit(t, func(_ *UnitConfig, m *memory) { m.discard = discard })
		for flags, size := range map[byte]int{0x00: 8, 0x80: 20} {
			got := make([]byte, 4096)
			c := run(u, []byte{0xA3, 0x0C, flags, 0, 0, 0, 0, 0, 0x10, 0, 0, 0}, got)
			if n := int(binary.BigEndian.Uint32(got)); n+4 != c.Transferred || n%size != 0 {
				t.Fatalf("%v: length %d", c, n)
			}
			listed := map[Opcode]bool{}
			for d := got[4:c.Transferred]; len(d) > 0; d = d[size:] {
				op := Opcode(d[0])
				listed[op] = true
				cdb := make([]byte, binary.BigEndian.Uint16(d[6:]))
				cdb[0] = byte(op)
				if d[5]&0x01 != 0 {
					cdb[1] = d[3]
				}
				if s, _ := ParseSense(run(u, cdb, make([]byte, 512)).Sense); s.Code == ASCInvalidOpcode {
					t.Errorf("%v is listed and refused", op)
				}
				if timeouts := d[5]&0x02 != 0; timeouts != (size == 20) {
					t.Errorf("%v: CTDP is %v", op, timeouts)
				} else if timeouts && !bytes.Equal(d[8:10], []byte{0, 10}) {
					t.Errorf("%v: timeouts descriptor % x", op, d[8:20])
				}
			}
			if listed[OpUnmap] != discard {
				t.Errorf("UNMAP is listed: %v, and the medium can discard: %v", listed[OpUnmap], discard)
			}
			if want := 26; len(listed) < want {
				t.Errorf("%d operation codes, want at least %d", len(listed), want)
			}
		}
	}
}

func TestReportOneCommand(t *testing.T) {
	u, _ := newUnit(t, nil)
	ask := func(options, op, action byte) (*Command, []byte) {
		got := make([]byte, 64)
		c := run(u, []byte{0xA3, 0x0C, options, op, 0, action, 0, 0, 0, 64, 0, 0}, got)
		return c, got[:c.Transferred]
	}
	yes := func(options, op, action byte, usage []byte) {
		t.Helper()
		c, got := ask(options, op, action)
		want := slices.Concat([]byte{0, 3, 0, byte(len(usage))}, usage)
		if c.Status != StatusGood || !bytes.Equal(got, want) {
			t.Errorf("option %d of %#x/%#x: %v, % x", options, op, action, c, got)
		}
	}
	no := func(options, op, action byte) {
		t.Helper()
		c, got := ask(options, op, action)
		if c.Status != StatusGood || !bytes.Equal(got, []byte{0, 1, 0, 0}) {
			t.Errorf("option %d of %#x/%#x: %v, % x", options, op, action, c, got)
		}
	}
	for _, r := range blockCommands().rows {
		if !r.has(u) {
			no(3, byte(r.op), 0)
			continue
		}
		if r.action == noAction {
			yes(1, byte(r.op), 0, r.usage)
			yes(3, byte(r.op), 0, r.usage)
			no(3, byte(r.op), 1)
			no(3, byte(r.op), 0xFF)
			c, _ := ask(2, byte(r.op), 0)
			wantSense(t, c, inCDB(2, 2))
			continue
		}
		yes(2, byte(r.op), byte(r.action), r.usage)
		yes(3, byte(r.op), byte(r.action), r.usage)
		no(2, byte(r.op), 0x1E)
		no(3, byte(r.op), 0xFF)
		c, _ := ask(1, byte(r.op), 0)
		wantSense(t, c, inCDB(2, 2))
	}
	for options := byte(1); options <= 3; options++ {
		no(options, 0x85, 0)
	}
	for options := byte(4); options <= 7; options++ {
		c, _ := ask(options, 0x12, 0)
		wantSense(t, c, inCDB(2, 2))
	}
}

func TestNames(t *testing.T) {
	for want, cdb := range map[string][]byte{
		"READ(10)":                         {0x28},
		"READ CAPACITY(16)":                {0x9E, 0x10},
		"REPORT SUPPORTED OPERATION CODES": {0xA3, 0xEC},
		"ATA PASS-THROUGH(16)":             {0x85, 0},
		"opcode 0x9e":                      {0x9E, 0x13},
		"opcode 0xff":                      {0xFF},
		"empty CDB":                        {},
	} {
		if got := CommandName(cdb); got != want {
			t.Errorf("CommandName(% x) = %q, want %q", cdb, got, want)
		}
	}
	u, _ := newUnit(t, nil)
	c := run(u, cdb10(OpRead10, 0x20, 77, 8))
	want := "READ(10) LBA 77, 8 blocks: CHECK CONDITION, 0 bytes, " +
		"ILLEGAL REQUEST, INVALID FIELD IN CDB (byte 1 of the CDB)"
	if got := c.String(); got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}
