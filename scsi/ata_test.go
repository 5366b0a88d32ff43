package scsi

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// newSATA is a unit that is a SATA drive.
func newSATA(t testing.TB, change func(*UnitConfig, *memory)) (*Unit, *memory) {
	return newUnit(t, func(c *UnitConfig, m *memory) {
		c.ATA = &ATA{Model: "GOVMM SATA DISK", Serial: "SN1", Firmware: "1.0",
			Life: Life{BytesRead: 1 << 20, BytesWritten: 2 << 20, PowerCycles: 7}}
		c.Identity.Vendor, c.Identity.NAA = "ATA", []byte{0x50, 0, 0xC5, 0, 0, 0, 0, 1}
		c.WriteBack = true
		if change != nil {
			change(c, m)
		}
	})
}

// ata16 is ATA PASS-THROUGH(16) with everything in place; n blocks of 512 bytes
// are moved in the direction that the protocol has.
func ata16(protocol, command byte, feature uint16, n uint16, lba uint64, check bool) []byte {
	c := make([]byte, 16)
	c[0], c[1], c[14] = byte(OpATAPassThrough16), protocol<<1|1, command
	binary.BigEndian.PutUint16(c[3:], feature)
	binary.BigEndian.PutUint16(c[5:], n)
	for i, at := range []int{8, 10, 12, 7, 9, 11} {
		c[at] = byte(lba >> (8 * i))
	}
	if protocol != ataNonData {
		c[2] = 0x06 // blocks, counted in the count field
	}
	if protocol == ataPIOIn || protocol == ataUDMAIn || protocol == ataDMA {
		c[2] |= 0x08
	}
	if check {
		c[2] |= 0x20
	}
	return c
}

// short makes a 28-bit command of a 48-bit one.
func short(cdb []byte) []byte { cdb[1] &^= 1; return cdb }

// ataRegisters are what comes back with CK_COND, or with an error.
func ataRegisters(t *testing.T, c *Command) (status, fault byte, count uint16, lba uint64) {
	t.Helper()
	if len(c.Sense) < 22 || c.Sense[0] != responseDescriptor || c.Sense[8] != 0x09 || c.Sense[9] != 12 {
		t.Fatalf("%v: sense % x", c, c.Sense)
	}
	d := c.Sense[8:]
	lba = uint64(d[7]) | uint64(d[9])<<8 | uint64(d[11])<<16 | uint64(d[6])<<24 | uint64(d[8])<<32 | uint64(d[10])<<40
	return d[13], d[3], binary.BigEndian.Uint16(d[4:]), lba
}

func TestATAIdentify(t *testing.T) {
	u, _ := newSATA(t, nil)
	got := make([]byte, 512)
	wantGood(t, run(u, short(ata16(ataPIOIn, 0xEC, 0, 1, 0, false)), got), 512)
	sum := byte(0)
	for _, b := range got {
		sum += b
	}
	if sum != 0 || got[510] != 0xA5 {
		t.Errorf("the checksum is wrong")
	}
	wantWords(t, decode(t, got, "sg_sat_identify", "--help"), "IDENTIFY")
	if !bytes.HasPrefix(got[54:], []byte("OGMV MASATD SI K")) {
		t.Errorf("model %q", got[54:94])
	}
	if n := binary.LittleEndian.Uint64(got[200:]); n != testBlocks {
		t.Errorf("%d sectors", n)
	}
	// VPD page 89h has the same, and the 12-byte form gives the same.
	page := make([]byte, 1024)
	c := run(u, []byte{byte(OpInquiry), 1, 0x89, 4, 0, 0}, page)
	wantGood(t, c, 572)
	if !bytes.Equal(page[60:572], got) || page[56] != 0xEC || page[36] != 0x34 {
		t.Error("VPD page 89h has other data")
	}
	wantWords(t, decode(t, page[:572], "sg_vpd", "--raw", "--inhex=FILE"),
		"SAT Vendor identification: LSI", "SAT Product identification: LSI SATL", "GOVMM SATA DISK")
	twelve := make([]byte, 512)
	wantGood(t, run(u, []byte{byte(OpATAPassThrough12), ataPIOIn << 1, 0x0E, 0, 1, 0, 0, 0, 0, 0xEC, 0, 0}, twelve), 512)
	if !bytes.Equal(twelve, got) {
		t.Error("the 12-byte form gives other data")
	}
}

func TestATASmart(t *testing.T) {
	u, m := newSATA(t, nil)
	const key = 0xC24F00
	smart := func(feature uint16, low uint64, n uint16, protocol byte, data ...[]byte) *Command {
		return run(u, short(ata16(protocol, ataSMARTCommand, feature, n, key|low, protocol == ataNonData)), data...)
	}
	read := make([]byte, 8*512)
	wantGood(t, run(u, cdb10(OpRead10, 0, 0, 8), read), len(read))
	m.fail("ReadV", errBroken)
	run(u, cdb10(OpRead10, 0, 0, 8), read)
	m.fail("ReadV", nil)
	data := make([]byte, 512)
	wantGood(t, smart(smartReadData, 0, 1, ataPIOIn, data), 512)
	raw := map[byte]uint64{}
	for e := data[2:362]; e[0] != 0; e = e[12:] {
		raw[e[0]] = binary.LittleEndian.Uint64(e[5:]) & (1<<48 - 1)
	}
	for id, want := range map[byte]uint64{
		1: 1, 5: 0, 9: 100, 12: 7, 187: 1, 194: 37, 241: 2 << 20 / 512, 242: (1<<20 + 4096) / 512,
	} {
		if got, ok := raw[id]; !ok || got != want {
			t.Errorf("attribute %d: %d, want %d", id, got, want)
		}
	}
	thresholds := make([]byte, 512)
	wantGood(t, smart(smartReadThresholds, 0, 1, ataPIOIn, thresholds), 512)
	for at := 2; at < 362; at += 12 {
		if thresholds[at] != data[at] || thresholds[at+1] > data[at+3] {
			t.Errorf("attribute %d has value %d, and attribute %d the threshold %d", data[at], data[at+3], thresholds[at], thresholds[at+1])
		}
	}
	status, fault, _, lba := ataRegisters(t, smart(smartReturnStatus, 0, 0, ataNonData))
	if status != ataReady || fault != 0 || lba != key {
		t.Errorf("status %#x, error %#x, LBA %#x", status, fault, lba)
	}
	// A short self-test, and its log by both commands.
	ataRegisters(t, smart(smartOffline, 1, 0, ataNonData))
	wantGood(t, smart(smartReadLog, logSelfTests, 1, ataPIOIn, data), 512)
	if data[2] != 1 || data[3] != 0 || data[508] != 1 || data[4] != 100 {
		t.Errorf("self-test log % x", data[:26])
	}
	wantGood(t, run(u, ata16(ataPIOIn, 0x2F, 0, 1, logSelfTestsExt, false), data), 512)
	if data[4] != 1 || data[5] != 0 || data[2] != 1 {
		t.Errorf("extended self-test log % x", data[:30])
	}
	// What is not there is aborted, and moves nothing.
	for what, c := range map[string]*Command{
		"wrong key":     run(u, short(ata16(ataPIOIn, ataSMARTCommand, smartReadData, 1, 0, false)), data),
		"unknown log":   smart(smartReadLog, 0x80, 1, ataPIOIn, data),
		"two sectors":   smart(smartReadLog, logSelfTests, 2, ataPIOIn, make([]byte, 1024)),
		"disable":       smart(smartDisable, 0, 0, ataNonData),
		"log page":      run(u, ata16(ataPIOIn, 0x2F, 0, 1, logSelfTestsExt|1<<8, false), data),
		"no command":    run(u, ata16(ataNonData, 0x02, 0, 0, 0, false)),
		"wrong way":     run(u, short(ata16(ataPIOOut, 0xEC, 0, 1, 0, false)), data),
		"without data":  run(u, short(ata16(ataNonData, 0xEC, 0, 0, 0, false))),
		"security":      run(u, short(ata16(ataPIOOut, 0xF1, 0, 1, 0, false)), data),
		"28-bit in 48":  run(u, ata16(ataUDMAIn, 0xC8, 0, 1, 0, false), data),
		"beyond":        run(u, ata16(ataUDMAIn, 0x25, 0, 1, testBlocks, false), data),
		"TRIM of list0": run(u, ata16(ataDMA, 0x06, 1, 0, 0, false)),
	} {
		if status, _, _, _ := ataRegisters(t, c); status&ataError == 0 || c.Transferred != 0 || c.Sense[1] != byte(KeyAbortedCommand) && what != "beyond" {
			t.Errorf("%s: status %#x, sense % x", what, status, c.Sense)
		}
	}
}

func TestATALogs(t *testing.T) {
	u, _ := newSATA(t, nil)
	page := make([]byte, 512)
	readLog := func(address, n uint64) []byte {
		wantGood(t, run(u, ata16(ataPIOIn, 0x2F, 0, 1, address|n<<8, false), page), 512)
		return page
	}
	dir := slices.Clone(readLog(logDirectory, 0))
	for address, n := range logPages48 {
		if address != logDirectory && binary.LittleEndian.Uint16(dir[2*int(address):]) != uint16(n) {
			t.Errorf("log %#x: the directory says % x", address, dir[2*int(address):][:2])
		}
		for i := range n {
			readLog(uint64(address), uint64(i))
		}
	}
	if p := readLog(logStatistics, 5); p[8] != 37 || p[15] != 0xC0 {
		t.Errorf("temperature statistics % x", p[:16])
	}
	if p := readLog(logStatistics, 1); p[8] != 7 || p[16] != 100 {
		t.Errorf("general statistics % x", p[:32])
	}
	identify := slices.Clone(readLog(logIdentify, 1))
	wantGood(t, run(u, short(ata16(ataPIOIn, 0xEC, 0, 1, 0, false)), page), 512)
	if !bytes.Equal(identify, page) {
		t.Error("the IDENTIFY DEVICE data log has other data")
	}
}

func TestATAData(t *testing.T) {
	u, m := newSATA(t, nil)
	data := pattern(1024, 3)
	wantGood(t, run(u, ata16(ataUDMAOut, 0x35, 0, 2, 7, false), data), 1024)
	if m.isDurable() {
		t.Fatal("flushed without being asked to")
	}
	wantGood(t, run(u, short(ata16(ataNonData, 0xE7, 0, 0, 0, false))), 0)
	if !m.isDurable() || !bytes.Equal(m.data[7*512:9*512], data) {
		t.Error("FLUSH CACHE: not durable, or not what was written")
	}
	got := make([]byte, 1024)
	wantGood(t, run(u, short(ata16(ataUDMAIn, 0xC8, 0, 2, 7, false)), got), 1024)
	if !bytes.Equal(got, data) {
		t.Error("read something else")
	}
	wantGood(t, run(u, ata16(ataNonData, 0x42, 0, 2, 7, false)), 0)
	list := make([]byte, 512)
	binary.LittleEndian.PutUint64(list, 7|1<<48)
	wantGood(t, run(u, ata16(ataUDMAOut, 0x06, 1, 1, 0, false), list), 512)
	if !bytes.Equal(m.data[7*512:8*512], make([]byte, 512)) || !bytes.Equal(m.data[8*512:9*512], data[512:]) {
		t.Error("TRIM gave back something else")
	}
	power := func() uint16 {
		_, _, count, _ := ataRegisters(t, run(u, short(ata16(ataNonData, 0xE5, 0, 0, 0, true))))
		return count
	}
	if power() != 0xFF {
		t.Error("not active")
	}
	wantGood(t, run(u, short(ata16(ataNonData, 0xE0, 0, 0, 0, false))), 0)
	if power() != 0 {
		t.Error("does not stand by")
	}
	wantGood(t, run(u, cdb10(OpRead10, 0, 7, 2), got), 1024)
	if power() != 0xFF {
		t.Error("stands by although it is used")
	}
	wantGood(t, run(u, short(ata16(ataNonData, 0xEF, 0x82, 0, 0, false))), 0)
	if u.WriteCache() {
		t.Error("SET FEATURES left the write cache on")
	}
}

func TestATAPassThroughRefused(t *testing.T) {
	u, _ := newUnit(t, nil)
	wantSense(t, run(u, ata16(ataPIOIn, 0xEC, 0, 1, 0, false), make([]byte, 512)), illegal(ASCInvalidOpcode))
	u, _ = newSATA(t, nil)
	for protocol := range byte(16) {
		switch protocol {
		case ataNonData, ataPIOIn, ataPIOOut, ataDMA, ataUDMAIn, ataUDMAOut:
		default:
			wantSense(t, run(u, ata16(protocol, 0xEC, 0, 1, 0, false), make([]byte, 512)), inCDB(1, 4))
		}
	}
	cdb := ata16(ataPIOIn, 0xEC, 0, 1, 0, false)
	cdb[2] |= 0x03 // length in the transport's hands
	wantSense(t, run(u, cdb, make([]byte, 512)), inCDB(2, 1))
	for cdb, want := range map[[2]byte]bool{{0x85, 0xEC}: true, {0x85, 0xB0}: true, {0x85, 0x35}: false, {0xA1, 0xEC}: true, {0x28, 0xEC}: false} {
		c := make([]byte, 16)
		c[0], c[9], c[14] = cdb[0], cdb[1], cdb[1]
		if got := ATAReadOnly(c); got != want {
			t.Errorf("% x changes nothing: %v", cdb, got)
		}
	}
}

// await waits for what goes on in the background.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// FuzzATA drives a SATA drive with any CDB: no panic, and nothing out of range.
func FuzzATA(f *testing.F) {
	f.Add(ata16(ataPIOIn, 0xEC, 0, 1, 0, true), 512)
	f.Add(ata16(ataPIOIn, ataSMARTCommand, smartReadData, 1, 0xC24F00, true), 512)
	f.Add(ata16(ataPIOIn, 0x2F, 0, 0, 0xFFFFFFFFFF04, true), 100)
	f.Fuzz(func(t *testing.T, cdb []byte, n int) {
		u, _ := newSATA(t, nil)
		defer u.Close()
		if len(cdb) > 0 {
			cdb[0] = []byte{byte(OpATAPassThrough16), byte(OpATAPassThrough12)}[cdb[0]&1]
		}
		run(u, cdb, make([]byte, uint(n)%(1<<18)))
	})
}
