package megasas

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// manyDrives is a controller with n drives, each with the use that it gives.
func manyDrives(n int, use func(i int, d *DriveConfig, id *raid.DriveIdentity)) Config {
	var cfg Config
	for i := range n {
		id := raid.DriveIdentity{
			Vendor: "GOVMM", Product: "TEST DISK", Revision: "0001", Serial: fmt.Sprintf("SN%03d", i),
			WWN: 0x5000c50000000000 | uint64(i)<<8, Enclosure: raid.NoEnclosure, Slot: uint8(i),
		}
		d := DriveConfig{Name: fmt.Sprintf("volume %d", i), Cache: raid.CachePolicy(i % 3)}
		if use != nil {
			use(i, &d, &id)
		}
		d.Drive = raid.NewDrive(newDisk(1<<20+i<<13), id)
		cfg.Drives = append(cfg.Drives, d)
	}
	return cfg
}

// TestCommandsAgree compares what commands say of one thing, in configurations of
// all kinds, and after each change of one.
func TestCommandsAgree(t *testing.T) {
	mixed := func(i int, d *DriveConfig, id *raid.DriveIdentity) {
		d.System = i%3 == 0
		if i%2 == 1 {
			id.Interface = raid.SATA
		}
		if i%4 == 1 {
			id.Media = raid.SolidState
		}
	}
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		cfg    Config
		change func(g *guest)
	}{
		"nothing":       {manyDrives(0, nil), nil},
		"one volume":    {manyDrives(1, nil), nil},
		"64 volumes":    {manyDrives(64, nil), nil},
		"system drives": {manyDrives(9, func(_ int, d *DriveConfig, _ *raid.DriveIdentity) { d.System = true }), nil},
		"mixed":         {manyDrives(20, mixed), nil},
		"a battery": {manyDrives(6, mixed), func(g *guest) {
			must(g.c.SetBattery(BatteryGood))
		}},
		"drives plugged and pulled": {manyDrives(6, mixed), func(g *guest) {
			must(g.c.RemoveDrive(1)) // under a volume
			must(g.c.RemoveDrive(3)) // a system drive
			_, err := g.c.AddDrive(DriveConfig{Drive: drive(newDisk(5<<20), 40), Name: "late"})
			must(err)
		}},
		"offline, failed, free": {manyDrives(6, nil), func(g *guest) {
			must(g.c.Drives().SetDriveState(0, raid.AnySequence, raid.Offline))
			must(g.c.Drives().SetDriveState(1, raid.AnySequence, raid.Failed))
			must(g.c.DeleteVolume(2))
			must(g.c.DeleteVolume(3))
			must(g.c.Drives().SetDriveState(3, raid.AnySequence, raid.UnconfiguredBad))
			props := g.mustDCMD(mfi.OpLDGetProp, 32, 4)
			copy(props[4:20], "renamed\x00")
			props[20] = 0x60 // write-through
			g.wantStatus("LD_SET_PROP", g.send(mfi.OpLDSetProp, props, g.volumeRef(4)...), mfi.StatusOK)
		}},
		"a volume of a part of its drive": {manyDrives(2, nil), func(g *guest) {
			must(g.c.DeleteVolume(0))
			_, err := g.c.CreateVolume(raid.VolumeConfig{Drives: []uint16{0}, Blocks: 1024, Place: &raid.Place{Target: 17, Array: 5}})
			must(err)
		}},
		"cleared": {manyDrives(5, mixed), func(g *guest) { g.mustDCMD(mfi.OpCfgClear, 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, tt.cfg)
			g.agree()
			if tt.change != nil {
				tt.change(g)
				g.agree()
			}
		})
	}
}

// answers are what the commands say of a configuration as a whole.
type answers struct {
	info, pds, exposed, lds, targets, config memory
}

// rewind makes memory from addr on free again.
func (g *guest) rewind(addr uint64) {
	clear(g.mem[addr:max(addr, g.free)])
	g.free = addr
}

// agree asks for everything and compares.
func (g *guest) agree() {
	g.t.Helper()
	g.rewind(0x1000)
	a := answers{
		info:    memory(g.mustDCMD(mfi.OpCtrlGetInfo, 2048)),
		pds:     memory(g.mustDCMD(mfi.OpPDGetList, 8192)),
		exposed: memory(g.mustDCMD(mfi.OpPDListQuery, 8192, byte(mfi.PDQueryExposedToHost))),
		lds:     memory(g.mustDCMD(mfi.OpLDGetList, 4104)),
		targets: memory(g.mustDCMD(mfi.OpLDListQuery, 268, byte(mfi.LDQueryAll))),
		config:  memory(g.mustDCMD(mfi.OpCfgRead, mfi.MaxConfigLen)),
	}
	drives, volumes := int(a.pds.u32(4)), int(a.lds.u32(0))
	if int(a.info.u16(0x5c6)) != drives || int(a.info.u16(0x5c8)) != drives || int(a.pds.u32(0)) != 8+24*drives {
		g.t.Errorf("%d drives in the list of %d bytes, %d and %d in the information", drives, a.pds.u32(0), a.info.u16(0x5c6), a.info.u16(0x5c8))
	}
	if int(a.info.u16(0x5c0)) != volumes || int(a.targets.u32(4)) != volumes || int(a.targets.u32(0)) != 11+volumes || int(a.config.u16(8)) != volumes {
		g.t.Errorf("%d volumes in the list, %d in the information, %d targets, %d in the configuration",
			volumes, a.info.u16(0x5c0), a.targets.u32(4), a.config.u16(8))
	}
	if !bytes.Equal(g.mustDCMD(mfi.OpCtrlGetProperties, 64), a.info[0x600:0x640]) {
		g.t.Error("the controller's properties differ from those in its information")
	}
	var failed, offline, system int
	for i := range drives {
		state := g.agreeDrive(&a, a.pds[8+24*i:][:24])
		switch state {
		case mfi.PDFailed:
			failed++
		case mfi.PDSystem:
			if system++; !bytes.Contains(a.exposed[8:], a.pds[8+24*i:][:24]) {
				g.t.Errorf("system drive %d is not exposed", i)
			}
		}
	}
	for i := range volumes {
		if g.agreeVolume(&a, i) == mfi.LDOffline {
			offline++
		}
	}
	if int(a.info.u16(0x5cc)) != failed || int(a.info.u16(0x5c4)) != offline || int(a.exposed.u32(4)) != system {
		g.t.Errorf("%d drives failed, %d volumes offline, %d system drives; the controller says %d, %d, %d",
			failed, offline, system, a.info.u16(0x5cc), a.info.u16(0x5c4), a.exposed.u32(4))
	}
	if online := len(g.targets()); online != volumes-offline {
		g.t.Errorf("%d volumes are exposed, %d of %d are offline", online, offline, volumes)
	}
}

// agreeDrive compares what is said of a drive.
func (g *guest) agreeDrive(a *answers, entry memory) mfi.PDState {
	g.t.Helper()
	g.rewind(1 << 20)
	id := entry.u16(0)
	info := memory(g.mustDCMD(mfi.OpPDGetInfo, 512, byte(id), byte(id>>8)))
	state := mfi.PDState(info.u16(0xb8))
	if info.u16(0) != id || info.u16(0x100) != entry.u16(2) || info[0x102] != entry[4] || info[0x103] != entry[5] ||
		info[0xa5] != entry[6] || info[0xa6] != entry[7] || !bytes.Equal(info[0xc8:0xd8], entry[8:24]) {
		g.t.Errorf("drive %d: information and list differ", id)
	}
	if !bytes.Equal(g.mustDCMD(mfi.OpPDGetProgress, 32, byte(id), byte(id>>8)), info[0x104:0x124]) {
		g.t.Errorf("drive %d: information and progress differ", id)
	}
	if inq, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, byte(id), 96, 0x12, 0, 0, 0, 96, 0); s != mfi.StatusOK || !bytes.Equal(inq, info[4:100]) {
		g.t.Errorf("drive %d: information and INQUIRY differ: %v", id, s)
	}
	vpd, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, byte(id), 64, 0x12, 1, 0x83, 0, 64, 0)
	if s != mfi.StatusOK || !bytes.Equal(vpd, info[0x64:0xa4]) {
		g.t.Errorf("drive %d: information and VPD page 83h differ: %v", id, s)
	}
	capacity, s, _, _ := g.scsi(mfi.CmdPDSCSIIO, byte(id), 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if be := binary.BigEndian; s != mfi.StatusOK || uint64(be.Uint32(capacity))+1 != info.u64(0xe8) || be.Uint32(capacity[4:]) != uint32(info.u16(0x194)) {
		g.t.Errorf("drive %d: information and READ CAPACITY differ: %v, % x", id, s, capacity)
	}
	rows := 0
	for i := range uint64(a.config.u16(4)) {
		array := a.config[32+288*i:]
		if array.u16(32) != id {
			continue
		}
		rows++
		if array.u16(34) != info.u16(2) || array.u16(36) != uint16(state) || array[39] != info[0x103] || array.u64(0) != info.u64(0xf8) {
			g.t.Errorf("drive %d: information and its array differ", id)
		}
	}
	member := state == mfi.PDOnline || state == mfi.PDOffline || state == mfi.PDFailed
	if inVD := info.u16(0xbc)&mfi.DDFInVD != 0; (rows == 1) != member || inVD != member {
		g.t.Errorf("drive %d: state %#x, in %d arrays, DDF type %#x", id, state, rows, info.u16(0xbc))
	}
	return state
}

// agreeVolume compares what is said of the i-th volume.
func (g *guest) agreeVolume(a *answers, i int) mfi.LDState {
	g.t.Helper()
	g.rewind(1 << 20)
	entry := a.lds[8+16*i:]
	target, state := entry[0], mfi.LDState(entry[4])
	info := memory(g.mustDCMD(mfi.OpLDGetInfo, 384, target))
	config := a.config[32+288*int(a.config.u16(4))+256*i:]
	if a.targets[11+i] != target || info[0] != target || info.u16(2) != entry.u16(2) || info[0x26] != entry[4] || info.u64(0x100) != entry.u64(8) {
		g.t.Errorf("volume %d: lists and information differ", target)
	}
	if !bytes.Equal(info[:256], config[:256]) || !bytes.Equal(info[:32], g.mustDCMD(mfi.OpLDGetProp, 32, target)) {
		g.t.Errorf("volume %d: information, configuration and properties differ", target)
	}
	arrays := 0
	for n := range uint64(a.config.u16(4)) {
		if array := a.config[32+288*n:]; array.u16(10) == info.u16(0x50) {
			if arrays++; info.u64(0x40)+info.u64(0x48) > array.u64(0) || info.u64(0x48) != info.u64(0x100) {
				g.t.Errorf("volume %d: %d blocks at %d of an array of %d, size %d", target, info.u64(0x48), info.u64(0x40), array.u64(0), info.u64(0x100))
			}
		}
	}
	if arrays != 1 {
		g.t.Errorf("volume %d lies on %d arrays", target, arrays)
	}
	vpd, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, target, 64, 0x12, 1, 0x83, 0, 64, 0)
	if state == mfi.LDOffline {
		g.wantStatus("a command for an offline volume", s, mfi.StatusLDOffline)
		return state
	}
	if s != mfi.StatusOK || !bytes.Equal(vpd, info[0x130:0x170]) {
		g.t.Errorf("volume %d: information and VPD page 83h differ: %v", target, s)
	}
	capacity, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, target, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if be := binary.BigEndian; s != mfi.StatusOK || uint64(be.Uint32(capacity))+1 != info.u64(0x100) {
		g.t.Errorf("volume %d: information and READ CAPACITY differ: %v, % x", target, s, capacity)
	}
	page, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, target, 24, 0x1a, 0x08, 0x08, 0, 24, 0)
	if wce := page[4+2]&4 != 0; s != mfi.StatusOK || wce != (info[23]&mfi.CacheWriteBack != 0) {
		g.t.Errorf("volume %d: cache policy in force %#x, WCE %v: %v", target, info[23], wce, s)
	}
	return state
}
