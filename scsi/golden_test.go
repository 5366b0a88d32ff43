package scsi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

func readCapacity16CDB(allocation uint32) []byte {
	b := make([]byte, 16)
	b[0], b[1] = byte(OpServiceActionIn16), saReadCapacity16
	binary.BigEndian.PutUint32(b[10:], allocation)
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden are responses of the unit of newUnit, byte by byte.
var golden = []struct {
	name, cdb, want string
}{
	{"INQUIRY", "12 00 00 01 00 00", `
		00 00 05 02 5b 00 00 02
		47 4f 56 4d 4d 20 20 20
		56 69 72 74 75 61 6c 20 44 72 69 76 65 20 20 20
		31 2e 30 30
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
		00 60 03 00 04 c0 00 00 00 00 00 00 00 00 00 00
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`},
	{"VPD supported pages", "12 01 00 01 00 00", "00 00 00 07 00 80 83 86 b0 b1 b2"},
	{"VPD unit serial number", "12 01 80 01 00 00", "00 80 00 0a 30 31 32 33 34 35 36 37 38 39"},
	{"VPD device identification", "12 01 83 01 00 00", `
		00 83 00 3a
		01 03 00 10 60 06 05 b0 01 02 03 04 05 06 07 08 09 0a 0b 0c
		02 01 00 22 47 4f 56 4d 4d 20 20 20
		56 69 72 74 75 61 6c 20 44 72 69 76 65 20 20 20
		30 31 32 33 34 35 36 37 38 39`},
	{"VPD extended INQUIRY data", "12 01 86 01 00 00",
		"00 86 00 3c 00 01 01 00 00 00 00 01 00 22" + strings.Repeat("00", 50)},
	{"VPD block limits", "12 01 b0 01 00 00", `
		00 b0 00 3c 01 ff 00 00 00 01 00 00 00 00 00 00
		00 00 00 00 00 80 00 00 00 00 01 00 00 00 00 00
		00 00 00 00 00 00 00 00 00 08 00 00 00 00 00 00
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`},
	{"VPD block device characteristics", "12 01 b1 01 00 00",
		"00 b1 00 3c 00 01 00 40" + strings.Repeat("00", 56)},
	{"VPD logical block provisioning", "12 01 b2 01 00 00", "00 b2 00 04 00 e4 02 00"},
	{"REPORT LUNS", "a0 00 00 00 00 00 00 00 10 00 00 00", "00 00 00 08 00 00 00 00 00 00 00 00 00 00 00 00"},
	{"REPORT LUNS, well known", "a0 00 01 00 00 00 00 00 10 00 00 00", "00 00 00 00 00 00 00 00"},
	{"READ CAPACITY(10)", "25 00 00 00 00 00 00 00 00 00", "00 00 03 ff 00 00 02 00"},
	{"READ CAPACITY(16)", "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00", `
		00 00 00 00 00 00 03 ff 00 00 02 00 00 00 c0 00
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`},
	{"REQUEST SENSE", "03 00 00 00 ff 00", "70 00 00 00 00 00 00 0a 00 00 00 00 00 00 00 00 00 00"},
	{"REQUEST SENSE, descriptor", "03 01 00 00 ff 00", "72 00 00 00 00 00 00 00"},
	{"MODE SENSE(6), all", "1a 00 3f 00 ff 00", `
		53 00 10 08 00 00 04 00 00 00 02 00
		01 0a 00 00 00 00 00 00 00 00 00 00
		08 12 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
		0a 0a 00 10 00 00 00 00 00 00 00 00
		18 06 06 00 00 00 00 00
		19 06 06 00 00 00 00 00
		1c 0a 00 06 00 00 00 00 00 00 00 00`},
	{"MODE SENSE(6), caching", "1a 00 08 00 04 00", "1f 00 10 08"},
	{"MODE SENSE(6), caching, no block descriptor", "1a 08 08 00 ff 00", `
		17 00 10 00
		08 12 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`},
	{"MODE SENSE(6), control, changeable", "1a 08 4a 00 ff 00", "0f 00 10 00 0a 0a 04 00 08 00 00 00 00 00 00 00"},
	{"MODE SENSE(6), control, default, all subpages", "1a 08 8a ff ff 00", "0f 00 10 00 0a 0a 00 10 00 00 00 00 00 00 00 00"},
	{"MODE SENSE(10), control", "5a 00 0a 00 00 00 00 00 ff 00", `
		00 1a 00 10 00 00 00 08 00 00 04 00 00 00 02 00
		0a 0a 00 10 00 00 00 00 00 00 00 00`},
	{"MODE SENSE(10), control, long addresses", "5a 10 0a 00 00 00 00 00 ff 00", `
		00 22 00 10 01 00 00 10
		00 00 00 00 00 00 04 00 00 00 00 00 00 00 02 00
		0a 0a 00 10 00 00 00 00 00 00 00 00`},
	{"REPORT SUPPORTED OPERATION CODES, INQUIRY", "a3 0c 01 12 00 00 00 00 02 00 00 00", "00 03 00 06 12 01 ff ff ff 00"},
	{"REPORT SUPPORTED OPERATION CODES, WRITE SAME(16)", "a3 0c 01 93 00 00 00 00 02 00 00 00",
		"00 03 00 10 93 09 ff ff ff ff ff ff ff ff ff ff ff ff 00 00"},
	{"PERSISTENT RESERVE IN, READ KEYS", "5e 00 00 00 00 00 00 00 40 00", "00 00 00 00 00 00 00 00"},
	{"PERSISTENT RESERVE IN, READ RESERVATION", "5e 01 00 00 00 00 00 00 40 00", "00 00 00 00 00 00 00 00"},
	{"PERSISTENT RESERVE IN, REPORT CAPABILITIES", "5e 02 00 00 00 00 00 00 40 00", "00 08 10 80 ea 01 00 00"},
	{"LOG SENSE, supported pages", "4d 00 40 00 00 00 00 01 00 00", "00 00 00 0c 00 02 03 05 06 0d 0e 10 11 15 18 2f"},
	{"LOG SENSE, solid state media", "4d 00 51 00 00 00 00 01 00 00", "11 00 00 08 00 01 23 04 00 00 00 00"},
	{"LOG SENSE, supported pages and subpages", "4d 00 40 ff 00 00 00 01 00 00", `
		40 ff 00 1a 00 00 00 ff 02 00 03 00 05 00 06 00 0d 00 0e 00 10 00 11 00 15 00 18 00 2f 00`},
	{"LOG SENSE, write errors", "4d 00 42 00 00 00 00 01 00 00", `
		02 00 00 54
		00 00 22 08 00 00 00 00 00 00 00 00 
		00 01 22 08 00 00 00 00 00 00 00 00 
		00 02 22 08 00 00 00 00 00 00 00 00 
		00 03 22 08 00 00 00 00 00 00 00 00 
		00 04 22 08 00 00 00 00 00 00 00 00 
		00 05 22 08 00 00 00 00 00 00 00 00 
		00 06 22 08 00 00 00 00 00 00 00 00`},
	{"LOG SENSE, read errors from parameter 6", "4d 00 43 00 00 00 06 01 00 00", "03 00 00 0c 00 06 22 08 00 00 00 00 00 00 00 00"},
	{"LOG SENSE, non-medium errors", "4d 00 46 00 00 00 00 01 00 00", "06 00 00 0c 00 00 22 08 00 00 00 00 00 00 00 00"},
	{"LOG SENSE, temperature", "4d 00 4d 00 00 00 00 01 00 00", "0d 00 00 0c 00 00 23 02 00 25 00 01 23 02 00 3c"},
	{"LOG SENSE, start-stop cycles", "4d 00 4e 00 00 00 00 01 00 00", "0e 00 00 08 00 04 23 04 00 00 00 00"},
	{"LOG SENSE, background scan", "4d 00 55 00 00 00 00 01 00 00", `
		15 00 00 10 00 00 23 0c 00 00 17 75 00 00 00 00 00 00 00 00`},
	{"LOG SENSE, SAS port", "4d 00 58 00 00 00 00 01 00 00", `
		18 00 00 3c 00 01 23 38 06 00 00 01
		00 00 00 30 10 0a 08 00 50 00 c5 00 00 00 00 02 50 06 05 b0 00 00 00 01 03 00 00 00 00 00 00 00
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`},
	{"LOG SENSE, informational exceptions", "4d 00 6f 00 00 00 00 01 00 00", "2f 00 00 08 00 00 23 04 00 00 25 00"},
	{"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "a3 0d 00 00 00 00 00 00 00 10 00 00", "08 00 00 00"},
	{"REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS with timeouts", "a3 0d 80 00 00 00 00 00 00 10 00 00",
		"08 00 00 0c 00 00 00 00 00 00 00 00 00 00 00 00"},
	{"RECEIVE DIAGNOSTIC RESULTS", "1c 01 00 00 40 00", "00 00 00 01 00"},
	{"RECEIVE DIAGNOSTIC RESULTS without PCV", "1c 00 00 00 40 00", "00 00 00 01 00"},
	{"READ DEFECT DATA(10)", "37 00 1d 00 00 00 00 00 40 00", "00 1d 00 00"},
	{"READ DEFECT DATA(12)", "b7 0b 00 00 00 00 00 00 00 40 00 00", "00 0b 00 00 00 00 00 00"},
	{"REPORT SUPPORTED OPERATION CODES, READ CAPACITY(16) with timeouts", "a3 0c 82 9e 00 10 00 00 02 00 00 00", `
		00 83 00 10 9e 10 00 00 00 00 00 00 00 00 ff ff ff ff 00 00
		00 0a 00 00 00 00 00 00 00 00 00 00`},
	{"REPORT SUPPORTED OPERATION CODES, SECURITY PROTOCOL IN", "a3 0c 01 a2 00 00 00 00 02 00 00 00", "00 01 00 00"},
}

func TestGolden(t *testing.T) {
	u, _ := newUnit(t, nil)
	for _, g := range golden {
		cdb, want := unhex(t, g.cdb), unhex(t, g.want)
		got := bytes.Repeat([]byte{0xEE}, 1024)
		c := run(u, cdb, got[:5], got[5:])
		wantGood(t, c, len(want))
		if !bytes.Equal(got[:c.Transferred], want) {
			t.Errorf("%s:\n got % x\nwant % x", g.name, got[:c.Transferred], want)
		}
		if !bytes.Equal(got[c.Transferred:], bytes.Repeat([]byte{0xEE}, 1024-c.Transferred)) {
			t.Errorf("%s: wrote more than it says", g.name)
		}
	}
}

// A response is cut to the buffer, whatever the allocation length says.
func TestResponseIsCutToBuffer(t *testing.T) {
	u, _ := newUnit(t, nil)
	for _, g := range golden {
		cdb, want := unhex(t, g.cdb), unhex(t, g.want)
		for n := range len(want) + 1 {
			got := make([]byte, n)
			wantGood(t, run(u, cdb, got), n)
			if !bytes.Equal(got, want[:n]) {
				t.Errorf("%s with a buffer of %d bytes: % x", g.name, n, got)
			}
		}
		wantGood(t, run(u, cdb), 0)
	}
}

// Allocation lengths below the length of the response cut it; 0 is no error.
func TestAllocationLength(t *testing.T) {
	u, _ := newUnit(t, nil)
	field := map[Opcode][2]int{ // the bytes of the allocation length: first and last
		OpInquiry: {3, 4}, OpReportLUNs: {6, 9}, OpServiceActionIn16: {10, 13}, OpRequestSense: {4, 4},
		OpModeSense6: {4, 4}, OpModeSense10: {7, 8}, OpMaintenanceIn: {6, 9},
		OpPersistReserveIn: {7, 8}, OpLogSense: {7, 8}, OpReceiveDiagnostic: {3, 4},
		OpReadDefectData10: {7, 8}, OpReadDefectData12: {6, 9},
	}
	for _, g := range golden {
		cdb := unhex(t, g.cdb)
		at, ok := field[Opcode(cdb[0])]
		if !ok {
			continue
		}
		full := make([]byte, 1024)
		clear(cdb[at[0] : at[1]+1])
		cdb[at[1]] = 0xFF
		full = full[:run(u, cdb, full).Transferred]
		for n := range len(full) + 2 {
			cdb[at[1]] = byte(n)
			want := full[:min(n, len(full))]
			got := make([]byte, 1024)
			wantGood(t, run(u, cdb, got), len(want))
			if !bytes.Equal(got[:len(want)], want) {
				t.Errorf("%s with allocation length %d: % x", g.name, n, got[:len(want)])
			}
		}
	}
}

func TestLargeUnit(t *testing.T) {
	u, _ := newUnit(t, nil)
	for _, c := range []struct {
		size                   int64
		block, physical        uint32
		short, long, exponents string
	}{
		{1 << 41, 512, 512, "ffffffff 00000200", "00000000ffffffff 00000200", "00 00"},
		{1<<41 + 512, 512, 4096, "ffffffff 00000200", "0000000100000000 00000200", "00 03"},
		{1<<63 - 1, 4096, 4096, "ffffffff 00001000", "0007fffffffffffe 00001000", "00 00"},
		{3*4096 - 1, 4096, 8192, "00000001 00001000", "0000000000000001 00001000", "00 01"},
	} {
		cfg := u.config
		cfg.Medium, cfg.BlockSize, cfg.PhysicalBlockSize = sized(c.size), c.block, c.physical
		u, err := NewUnit(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 32)
		run(u, []byte{byte(OpReadCapacity10), 0, 0, 0, 0, 0, 0, 0, 0, 0}, got)
		if want := unhex(t, c.short); !bytes.Equal(got[:8], want) {
			t.Errorf("%d bytes: READ CAPACITY(10) % x, want % x", c.size, got[:8], want)
		}
		run(u, readCapacity16CDB(32), got)
		if want := unhex(t, c.long+c.exponents); !bytes.Equal(got[:14], want) {
			t.Errorf("%d bytes: READ CAPACITY(16) % x, want % x", c.size, got[:14], want)
		}
	}
}

// sized is a Medium of any size without content.
type sized int64

func (s sized) Size() int64                          { return int64(s) }
func (s sized) ReadV([][]byte, int64) error          { return nil }
func (s sized) WriteV([][]byte, int64) error         { return nil }
func (s sized) WriteZeroes(int64, int64, bool) error { return nil }
func (s sized) Discard(int64, int64) error           { return nil }
func (s sized) Flush() error                         { return nil }
func (s sized) ReadOnly() bool                       { return false }
func (s sized) CanDiscard() bool                     { return true }
func (s sized) DiscardZeroes() bool                  { return true }
