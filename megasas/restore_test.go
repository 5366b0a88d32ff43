package megasas

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/pci"
	"github.com/govmm/govmm/scsi"
)

// TestRestoreWithoutDrive saves a controller with a volume whose drive was pulled:
// it stays offline, and can be deleted.
func TestRestoreWithoutDrive(t *testing.T) {
	l := newLab(t)
	if err := l.c.RemoveDrive(0); err != nil {
		t.Fatal(err)
	}
	l.cfg.Drives = l.cfg.Drives[1:]
	l.move(l.cfg)
	x, _ := l.blocks(mfi.CmdLDRead, 0, 512)
	if _, s := l.poll(x); s != mfi.StatusLDOffline {
		t.Errorf("reading a volume without its drive: %v", s)
	}
	l.mustDCMD(mfi.OpLDDelete, 0, l.volumeRef(0)...)
}

// TestRestoreRefuses restores what was saved of another controller, or what nobody
// has saved: there is an error of one line.
func TestRestoreRefuses(t *testing.T) {
	l := newLab(t)
	l.submit(eventWaitFrame(l.guest, newest(l.guest)+1))
	l.await("EVENT_WAIT", func() bool { return len(l.c.heldWaits()) == 1 })
	state := l.saved()
	pack := func(spoil func(x *savedState)) []byte {
		x := l.stateOf(state)
		spoil(x)
		body := must(json.Marshal(x))
		return stateSeal.close(append(make([]byte, sealLen), body...))
	}
	flipped := bytes.Clone(state)
	flipped[len(flipped)/2] ^= 1
	newer := bytes.Clone(state)
	newer[8]++
	raw := func(body string) []byte { return stateSeal.close(append(make([]byte, sealLen), body...)) }
	for want, p := range map[string][]byte{
		"not a controller's saved state": []byte("GOVMMNVR and so on, longer than a header"),
		"not a controller's saved":       nil,
		"the checksum is wrong":          flipped,
		"version 2 of the format":        newer,
		"where the header says":          state[:len(state)-1],
		"unknown field":                  raw(`{"Cart":{}}`),
		"something behind":               raw(`{} {}`),
		"invalid character":              raw(`x`),
		`the state is of a  (0000:0000)`: raw(`{}`),
		"no such state of a battery":     pack(func(x *savedState) { x.Battery = 77 }),
		"pci function megasas":           pack(func(x *savedState) { x.Function.Config = nil }),
		"values of the unlock sequence":  pack(func(x *savedState) { x.Firmware.Unlock = -1 }),
		"65 boot steps":                  pack(func(x *savedState) { x.Firmware.Boot = make([]BootStep, 65) }),
		"reply queue of 2000 entries":    pack(func(x *savedState) { x.Ring.Entries = 2000 }),
		"at entry 64":                    pack(func(x *savedState) { x.Ring.Next = 64 }),
		"9 EVENT_WAIT frames":            pack(func(x *savedState) { x.Waits.Held = make([]savedWait, 9) }),
		"is no EVENT_WAIT":               pack(func(x *savedState) { x.Waits.Held[0].Frame[0] = 1 }),
		"frame at 0x":                    pack(func(x *savedState) { x.Waits.Held[0].Frame = x.Waits.Held[0].Frame[:10] }),
		"NVRAM: not the contents":        pack(func(x *savedState) { x.NVRAM = nil }),
		"a card's that was running": pack(func(x *savedState) {
			x.NVRAM = (&nvramContents{exact: true, log: mfi.EventLogInfo{Oldest: 1}}).marshal()
		}),
		"with 2 drives, not 3":             pack(func(x *savedState) { x.Set.Drives = x.Set.Drives[1:] }),
		"no state of drive 1":              pack(func(x *savedState) { x.Drives = append(x.Drives[:1], x.Drives[2]) }),
		"no state of volume 0":             pack(func(x *savedState) { x.Volumes = nil }),
		"that are not there":               pack(func(x *savedState) { x.Volumes = append(x.Volumes, x.Volumes[0]) }),
		"a record of 0 bytes":              pack(func(x *savedState) { x.Drives[0].Before = nil }),
		"50 degrees":                       pack(func(x *savedState) { x.Drives[0].Heat = 50 }),
		"another write cache":              pack(func(x *savedState) { x.Drives[0].Unit.WriteBack = false }),
		"1025 frames":                      pack(func(x *savedState) { x.Posted = make([]uint64, 1025) }),
		"drive 77":                         pack(func(x *savedState) { x.Works = []savedWork{{Drive: true, ID: 77}} }),
		"work that has done -1 bytes":      pack(func(x *savedState) { x.Works = []savedWork{{Done: -1}} }),
		"no drives and volumes can":        pack(func(x *savedState) { x.Set.Drives[0].State = 77 }),
		`serial number "SN9" is not there`: pack(func(x *savedState) { x.Set.Drives[0].Identity.Serial = "SN9" }),
	} {
		c, err := Restore(l.cfg, bytes.NewReader(p))
		if c != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", want, err)
		}
	}
	other := l.cfg
	other.Profile = PERCH700()
	if _, err := Restore(other, bytes.NewReader(state)); err == nil || !strings.Contains(err.Error(), "this is a PERC H700 Adapter") {
		t.Error(err)
	}
	small := l.cfg
	small.Drives = slices.Clone(small.Drives)
	small.Drives[1].Drive = drive(newDisk(1<<20), 1)
	if _, err := Restore(small, bytes.NewReader(state)); err == nil || !strings.Contains(err.Error(), `drive 1 with serial number "SN1" has 1048576 bytes, and had 4194304`) {
		t.Error(err)
	}
}

// FuzzRestore restores whatever it is given, once as it is and once with a right
// seal around it: an error, or a controller that a guest can use and that can be
// saved again.
func FuzzRestore(f *testing.F) {
	disks := []DriveConfig{{Drive: drive(null{4 << 20}, 0)}, {Drive: drive(null{4 << 20}, 1), System: true}}
	c := must(New(Config{Drives: disks, Battery: BatteryGood}))
	must(0, c.Pause(context.Background()))
	var b bytes.Buffer
	must(0, c.Save(&b))
	f.Add(b.Bytes()[sealLen:])
	x := must(parseState(b.Bytes()))
	x.Works = []savedWork{{Full: true, Done: 1 << 20, Elapsed: time.Second}}
	x.Posted = []uint64{0x1000, 1 << 40}
	x.Firmware = savedFirmware{Word: uint32(mfi.StateFWInit), Settling: true, Boot: []BootStep{{State: mfi.StateDeviceScan}}}
	x.Ring = savedRing{Entries: 16, Base: 0x2000, Producer: 0x3000, Consumer: 1 << 50}
	x.Drives[1].Unit.Sanitize.Erasure = &scsi.Erasure{Pattern: []byte{1}, Passes: 2, Size: 4 << 20}
	f.Add(must(json.Marshal(x)))
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, err := Restore(Config{Drives: disks}, bytes.NewReader(p)); err == nil {
			t.Error("restored without a seal")
		}
		c, err := Restore(Config{Drives: disks}, bytes.NewReader(stateSeal.close(append(make([]byte, sealLen), p...))))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %v", err)
			}
			return
		}
		g := &guest{t: t, c: c, m: newMachine(), mem: newMemory(1 << 20), free: 0x1000}
		if err := pci.NewBus(g.m, func(int, int) int { return 16 }).Attach(5, 0, c.Function()); err != nil {
			t.Fatal(err)
		}
		c.Attach(g.mem)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Pause(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Save(new(bytes.Buffer)); err != nil {
			t.Error(err)
		}
		c.Resume()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
