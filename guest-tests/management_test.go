package guesttests

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
)

// payload is what a management command has returned; numbers are little endian.
type payload []byte

func (p payload) u16(at int) uint16 { return binary.LittleEndian.Uint16(p[at:]) }
func (p payload) u32(at int) uint32 { return binary.LittleEndian.Uint32(p[at:]) }
func (p payload) u64(at int) uint64 { return binary.LittleEndian.Uint64(p[at:]) }

// request is a management command.
type request struct {
	op   mfi.Opcode
	room int
	box  []byte
	data []byte
}

// manage sends management commands through the driver, in one go.
func (g *guest) manage(list ...request) (statuses []mfi.Status, payloads []payload) {
	g.Helper()
	argv := []string{"/init", "mfi"}
	for _, r := range list {
		argv = append(argv, fmt.Sprintf("%x:%d:%s:%s", uint32(r.op), r.room, hex.EncodeToString(r.box), hex.EncodeToString(r.data)))
	}
	out := json.NewDecoder(strings.NewReader(g.run(argv...)))
	for range list {
		var a struct {
			Status mfi.Status
			Data   []byte
		}
		if err := out.Decode(&a); err != nil {
			g.Fatal(err)
		}
		statuses, payloads = append(statuses, a.Status), append(payloads, a.Data)
	}
	return statuses, payloads
}

// ask is manage of one command that must succeed.
func (g *guest) ask(op mfi.Opcode, room int, box ...byte) payload {
	g.Helper()
	s, p := g.manage(request{op: op, room: room, box: box})
	if s[0] != mfi.StatusOK {
		g.Fatalf("%v: %v", op, s[0])
	}
	return p[0]
}

// everyCommand sends each management command that only asks, and each that the
// card refuses, through the stock driver, as a management tool does.
func everyCommand(g *guest) {
	events := []byte{0, 0, 0, 0, 0xff, 0xff, 0, 0xfe}
	asks := []request{
		{op: mfi.OpCtrlGetInfo, room: 2048}, {op: mfi.OpCtrlGetProperties, room: 64}, {op: mfi.OpCtrlEventGetInfo, room: 20},
		{op: mfi.OpCtrlEventGet, room: 8 + 15*256, box: events}, {op: mfi.OpCtrlEventCount, room: 4, box: events},
		{op: mfi.OpCtrlPRGetStatus, room: 16}, {op: mfi.OpCtrlPRGetProperties, room: 24}, {op: mfi.OpCtrlBIOSDataGet, room: 64},
		{op: mfi.OpCtrlTimeGet, room: 8}, {op: mfi.OpCtrlTimeSecsGet, room: 4}, {op: mfi.OpCtrlCacheFlush, box: []byte{3}},
		{op: mfi.OpPDGetList, room: 1024}, {op: mfi.OpPDListQuery, room: 8192, box: []byte{5}}, {op: mfi.OpPDGetInfo, room: 512},
		{op: mfi.OpPDLocateStart}, {op: mfi.OpPDLocateStop},
		{op: mfi.OpLDGetList, room: 1032}, {op: mfi.OpLDListQuery, room: 268, box: []byte{1}}, {op: mfi.OpLDGetInfo, room: 384},
		{op: mfi.OpLDGetProp, room: 32}, {op: mfi.OpCfgRead, room: 65536},
	}
	statuses, _ := g.manage(asks...)
	for i, s := range statuses {
		if s != mfi.StatusOK {
			g.Errorf("%v: %v", asks[i].op, s)
		}
	}
	refused := map[mfi.Opcode]mfi.Status{
		mfi.OpBBUGetStatus: mfi.StatusNoHWPresent, mfi.OpBBUGetCapacity: mfi.StatusNoHWPresent,
		mfi.OpCtrlAlarmGet: mfi.StatusNoHWPresent, mfi.OpCtrlPRStart: mfi.StatusPRDisabled,
		mfi.OpClusterResetAll: mfi.StatusInvalidDCMD, 0x0fffffff: mfi.StatusInvalidDCMD,
	}
	for op, want := range refused {
		if s, _ := g.manage(request{op: op, room: 64}); s[0] != want {
			g.Errorf("%v: %v, want %v", op, s[0], want)
		}
	}
	agree(g)
}

// agree compares what two commands say of one thing.
func agree(g *guest) {
	info, props := g.ask(mfi.OpCtrlGetInfo, 2048), g.ask(mfi.OpCtrlGetProperties, 64)
	pds, lds := g.ask(mfi.OpPDGetList, 1024), g.ask(mfi.OpLDGetList, 1032)
	cfg := g.ask(mfi.OpCfgRead, 65536)
	if !bytes.Equal(props, info[0x600:0x640]) {
		g.Error("properties differ from those in the controller information")
	}
	if uint32(info.u16(0x5c0)) != lds.u32(0) || uint32(info.u16(0x5c8)) != pds.u32(4) || uint32(cfg.u16(8)) != lds.u32(0) {
		g.Errorf("numbers of volumes and drives: %d and %d; %d, %d and %d", info.u16(0x5c0), info.u16(0x5c8), lds.u32(0), pds.u32(4), cfg.u16(8))
	}
	for i := range int(lds.u32(0)) {
		entry := lds[8+16*i:]
		ld := g.ask(mfi.OpLDGetInfo, 384, entry[0])
		config := cfg[32+int(cfg.u16(4))*int(cfg.u16(6))+i*int(cfg.u16(10)):]
		if !bytes.Equal(ld[:256], config[:256]) || ld.u64(0x100) != entry.u64(8) || ld.u16(2) != entry.u16(2) {
			g.Errorf("volume %d: information, list and configuration differ", entry[0])
		}
		if !bytes.Equal(ld[:32], g.ask(mfi.OpLDGetProp, 32, entry[0])) {
			g.Errorf("volume %d: information and properties differ", entry[0])
		}
	}
	for i := range int(pds.u32(4)) {
		entry := pds[8+24*i:]
		pd := g.ask(mfi.OpPDGetInfo, 512, entry[0], entry[1])
		if pd.u16(0) != entry.u16(0) || pd[0x103] != entry[5] || pd.u64(0xc8) != entry.u64(8) {
			g.Errorf("drive %d: information and list differ", entry.u16(0))
		}
	}
}

// comeAndGo deletes the volume of a target id and makes it again by management
// commands: the driver hears of both by its EVENT_WAIT, and the disk is gone and
// back within the time given, without anybody asking for a scan.
func comeAndGo(g *guest, target byte, disk string) {
	g.Helper()
	const within = 2 * time.Second
	cfg := g.ask(mfi.OpCfgRead, 65536)
	arrays, arraySize, volumes, volumeSize := int(cfg.u16(4)), int(cfg.u16(6)), int(cfg.u16(8)), int(cfg.u16(10))
	var volume, array payload
	for i := range volumes {
		if v := cfg[32+arrays*arraySize+i*volumeSize:][:volumeSize]; v[0] == target {
			volume = bytes.Clone(v)
		}
	}
	for i := range arrays {
		if a := cfg[32+i*arraySize:][:arraySize]; volume != nil && a.u16(10) == volume.u16(0x50) {
			array = bytes.Clone(a)
		}
	}
	if array == nil {
		g.Fatalf("volume %d or its array is not in the configuration", target)
	}
	timed := func(what string, r request, done string) {
		g.Helper()
		if s, _ := g.manage(r); s[0] != mfi.StatusOK {
			g.Fatalf("%s: %v", what, s[0])
		}
		// In the guest's time: the host may be busy.
		out := g.sh(`b=$(cut -d' ' -f1 /proc/uptime); i=0
			until ` + done + `; do i=$((i+1)); test $i -lt 3000; sleep 0.02; done
			echo $b $(cut -d' ' -f1 /proc/uptime)`)
		var begin, end float64
		if _, err := fmt.Sscan(out, &begin, &end); err != nil {
			g.Fatalf("%s: %q: %v", what, out, err)
		}
		took := time.Duration((end - begin) * float64(time.Second))
		g.Logf("%s: %s after %v", what, disk, took)
		if took > within {
			g.Errorf("%s took %v", what, took)
		}
	}
	timed("LD_DELETE", request{op: mfi.OpLDDelete, box: []byte{target, 0, volume[2], volume[3]}}, "! test -b "+disk)
	// The drive has another sequence number now.
	pd := g.ask(mfi.OpPDGetInfo, 512, array[32], array[33])
	copy(array[34:36], pd[2:4])
	header := make(payload, 32)
	size := uint32(32 + len(array) + len(volume))
	binary.LittleEndian.PutUint32(header, size)
	for at, v := range map[int]uint16{4: 1, 6: uint16(arraySize), 8: 1, 10: uint16(volumeSize), 12: 0, 14: 40} {
		binary.LittleEndian.PutUint16(header[at:], v)
	}
	timed("CFG_ADD", request{op: mfi.OpCfgAdd, room: int(size), data: bytes.Join([][]byte{header, array, volume}, nil)}, "test -b "+disk)
}
