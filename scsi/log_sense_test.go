package scsi

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

func logCDB(page, subpage byte, pointer, allocation uint16) []byte {
	b := []byte{byte(OpLogSense), 0, 0x40 | page, subpage, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[5:], pointer)
	binary.BigEndian.PutUint16(b[7:], allocation)
	return b
}

// logPage returns a log page.
func logPage(t testing.TB, u *Unit, page byte) []byte {
	t.Helper()
	got := make([]byte, 1024)
	c := run(u, logCDB(page, 0, 0, 1024), got)
	if c.Status != StatusGood || c.Transferred != 4+int(binary.BigEndian.Uint16(got[2:])) || got[0] != page {
		t.Fatalf("%v: % x", c, got[:c.Transferred])
	}
	return got[:c.Transferred]
}

// parameter returns the value of a parameter that counts.
func parameter(t testing.TB, page []byte, code uint16) uint64 {
	t.Helper()
	for b := page[4:]; len(b) > 0; b = b[4+int(b[3]):] {
		if binary.BigEndian.Uint16(b) == code {
			value := make([]byte, 8)
			copy(value[8-int(b[3]):], b[4:4+int(b[3])])
			return binary.BigEndian.Uint64(value)
		}
	}
	t.Fatalf("no parameter %d in % x", code, page)
	return 0
}

// bytes and errors are the parameters of error counter pages that move.
const processed, uncorrected = 5, 6

func TestErrorCountersMove(t *testing.T) {
	u, m := newUnit(t, nil)
	data := make([]byte, 8*512)
	wantCounts := func(page byte, wantBytes, wantErrors uint64) {
		t.Helper()
		p := logPage(t, u, page)
		if b, e := parameter(t, p, processed), parameter(t, p, uncorrected); b != wantBytes || e != wantErrors {
			t.Errorf("page %#x: %d bytes and %d errors, want %d and %d", page, b, e, wantBytes, wantErrors)
		}
	}
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 8), data), 8*512)
	wantGood(t, run(u, cdb16(OpWriteSame16, 0x01, 0, 16)), 0)
	wantGood(t, run(u, cdb10(OpRead10, 0, 0, 3), data), 3*512)
	wantGood(t, run(u, cdb10(OpVerify10, 0x02, 0, 1), make([]byte, 512)), 512)
	wantCounts(0x02, 24*512, 0)
	wantCounts(0x03, 3*512, 0)
	wantCounts(0x05, 512, 0)
	for _, method := range []string{"ReadV", "WriteV"} {
		m.fail(method, errBroken)
	}
	for _, cdb := range [][]byte{cdb10(OpRead10, 0, 0, 1), cdb10(OpWrite10, 0, 0, 1), cdb10(OpVerify10, 0, 0, 1)} {
		if c := run(u, cdb, data); c.Status != StatusCheckCondition {
			t.Error(c)
		}
	}
	wantCounts(0x02, 24*512, 1)
	wantCounts(0x03, 3*512, 1)
	wantCounts(0x05, 512, 1)
	// What is not the medium's fault is counted elsewhere; a bad CDB nowhere.
	m.fail("ReadV", Sense{Key: KeyAbortedCommand, Code: ASCInsufficientResources})
	run(u, cdb10(OpRead10, 0, 0, 1), data)
	run(u, cdb10(OpRead10, 0, testBlocks, 1), data)
	wantCounts(0x03, 3*512, 1)
	if n := parameter(t, logPage(t, u, 0x06), 0); n != 1 {
		t.Errorf("%d non-medium errors", n)
	}
}

func TestStartsAreCounted(t *testing.T) {
	u, _ := newUnit(t, nil)
	for _, cdb := range [][]byte{startCDB, stopCDB, startCDB, startCDB, stopCDB, stopCDB, startCDB} {
		wantGood(t, run(u, cdb), 0)
	}
	if n := parameter(t, logPage(t, u, 0x0E), 4); n != 2 {
		t.Errorf("%d cycles", n)
	}
}

// A volume and its drive can count together.
func TestCountersAreShared(t *testing.T) {
	var k Counters
	share := func(c *UnitConfig, _ *memory) { c.Counters = &k }
	a, _ := newUnit(t, share)
	b, _ := newUnit(t, share)
	wantGood(t, run(a, cdb10(OpRead10, 0, 0, 1), make([]byte, 512)), 512)
	if n := parameter(t, logPage(t, b, 0x03), processed); n != 512 {
		t.Errorf("%d bytes", n)
	}
}

func TestLogPagesOfHealth(t *testing.T) {
	u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.Health = Health{} })
	got := make([]byte, 64)
	n := run(u, logCDB(0, 0, 0, 64), got).Transferred
	if want := unhex(t, "00 00 00 09 00 02 03 05 06 0e 10 11 2f"); !bytes.Equal(got[:n], want) {
		t.Errorf("supported pages % x", got[:n])
	}
	for _, page := range []byte{0x0D, 0x15, 0x18} {
		wantSense(t, run(u, logCDB(page, 0, 0, 64), got), inCDB(2, 5))
	}
	if p := logPage(t, u, 0x2F); p[10] != 0xFF {
		t.Errorf("informational exceptions % x: the temperature is not known", p)
	}
	for temperature, want := range map[int]byte{-5: 0, 0: 0, 41: 41, 255: 254, 1000: 254} {
		h := Health{Temperature: func() int { return temperature }, PowerOn: func() time.Duration { return -time.Hour }}
		u, _ := newUnit(t, func(c *UnitConfig, _ *memory) { c.Health = h })
		if p := logPage(t, u, 0x0D); p[9] != want || p[15] != 0xFF {
			t.Errorf("temperature %d: % x", temperature, p)
		}
		if n := binary.BigEndian.Uint32(logPage(t, u, 0x15)[8:]); n != 0 {
			t.Errorf("%d minutes", n)
		}
	}
}

func TestLogSenseRefuses(t *testing.T) {
	u, _ := newUnit(t, nil)
	for page := range byte(0x40) {
		switch page {
		case 0x00, 0x02, 0x03, 0x05, 0x06, 0x0D, 0x0E, 0x10, 0x11, 0x15, 0x18, 0x2F:
			_ = logPage(t, u, page)
			wantSense(t, run(u, logCDB(page, 0x01, 0, 64)), inCDB(3, 7))
			wantSense(t, run(u, logCDB(page, 0, 0xFFFF, 64)), inCDB(5, 7))
		default:
			wantSense(t, run(u, logCDB(page, 0, 0, 64)), inCDB(2, 5))
		}
	}
	for control := range byte(4) {
		cdb := logCDB(0x02, 0, 0, 64)
		cdb[2] = control<<6 | 0x02
		if c := run(u, cdb); control != 1 {
			wantSense(t, c, inCDB(2, 7))
		}
	}
	cdb := logCDB(0x02, 0, 0, 64)
	cdb[1] = 0x01 // SP
	wantSense(t, run(u, cdb), inCDB(1, 0))
	cdb[1] = 0x02 // PPC
	wantSense(t, run(u, cdb), inCDB(1, 7))
}

// The parameter pointer leaves out what is before it.
func TestLogParameterPointer(t *testing.T) {
	u, _ := newUnit(t, nil)
	whole := logPage(t, u, 0x10)
	for pointer := range uint16(21) {
		got := make([]byte, 1024)
		n := run(u, logCDB(0x10, 0, pointer, 1024), got).Transferred
		rest := whole[4+20*(int(max(pointer, 1))-1):]
		if n != 4+len(rest) || !bytes.Equal(got[4:n], rest) || int(got[2])<<8|int(got[3]) != len(rest) {
			t.Errorf("from parameter %d: % x", pointer, got[:n])
		}
	}
	wantSense(t, run(u, logCDB(0x10, 0, 21, 1024)), inCDB(5, 7))
}

func TestLogPagesAgainstReferee(t *testing.T) {
	u, m := newUnit(t, nil)
	wantGood(t, run(u, cdb10(OpWrite10, 0, 0, 8), make([]byte, 4096)), 4096)
	wantGood(t, run(u, selfTestCDB(selfTestBackground)), 0)
	m.fail("ReadV", errBroken)
	wantGood(t, run(u, selfTestCDB(selfTestBackground)), 0)
	for page, words := range map[byte][]string{
		0x00: {"Supported log pages", "Self test results", "Informational exceptions"},
		0x02: {"Write error counter page", "Total bytes processed = 4096", "Total uncorrected errors = 0"},
		0x03: {"Read error counter page", "Total uncorrected errors = 0"},
		0x05: {"Verify error counter page", "Total uncorrected errors = 1"},
		0x06: {"Non-medium error count = 0"},
		0x0D: {"Current temperature = 37 C", "Reference temperature = 60 C"},
		0x0E: {"Accumulated start-stop cycles = 0"},
		0x10: {"Parameter code = 1, accumulated power-on hours = 100", "self-test code: background short [1]",
			"sense key = 0x3", "asc = 0x11, ascq = 0x0", "self-test result: completed without error [0]"},
		0x15: {"Accumulated power on minutes: 6005 [h:m 100:5]", "no background scans active"},
		0x18: {"Protocol Specific port page for SAS SSP", "relative target port id = 1", "negotiated logical link rate: 6 Gbps",
			"SAS address = 0x5000c50000000002", "attached SAS address = 0x500605b000000001", "attached phy identifier = 3", "Invalid DWORD count = 0"},
		0x2F: {"IE asc = 0x0, ascq = 0x0", "Current temperature = 37 C"},
	} {
		wantWords(t, decode(t, logPage(t, u, page), "sg_logs", "--in=FILE", "--raw", "--pdt=0"), words...)
	}
}
