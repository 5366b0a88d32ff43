package megasas

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/govmm/govmm/megasas/mfi"
	"github.com/govmm/govmm/megasas/raid"
)

// blockDrive is a drive in slot 0 with blocks of the given sizes.
func blockDrive(logical, physical uint32) (raid.Drive, *disk) {
	d := newDisk(4 << 20)
	id := drive(d, 0).Identity()
	id.BlockSize, id.PhysicalBlockSize = logical, physical
	return raid.NewDrive(d, id), d
}

// TestBlockSizes has a volume and a system drive of each kind of blocks read, write
// and tell of themselves: frames count logical blocks, whatever they are, and the
// controller's own lists blocks of 512 bytes.
func TestBlockSizes(t *testing.T) {
	for _, size := range []struct{ logical, physical uint32 }{{512, 512}, {512, 4096}, {4096, 4096}, {4096, 0}} {
		for _, system := range []bool{false, true} {
			dev, d := blockDrive(size.logical, size.physical)
			g := running(t, Config{Drives: []DriveConfig{{Drive: dev, System: system}}}, 1008)
			cmd := mfi.CmdLDSCSIIO
			if system {
				cmd = mfi.CmdPDSCSIIO
			}
			const readCapacity16 = 0x10
			p, s, _, _ := g.scsi(cmd, 0, 32, 0x9e, readCapacity16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0)
			last, length, exponent := binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[8:]), p[13]&15
			if want := uint64(4<<20)/uint64(size.logical) - 1; s != mfi.StatusOK || last != want || length != size.logical || size.logical<<exponent != max(size.physical, size.logical) {
				t.Errorf("%+v: READ CAPACITY(16): %v, last block %d, %d bytes, exponent %d", size, s, last, length, exponent)
			}
			// Two blocks at block 3, with what they are.
			n := 2 * size.logical
			want := bytes.Repeat([]byte{0xa5, 0x5a}, int(size.logical))
			if system {
				x := mfi.Fields{Cmd: cmd, CDB: []byte{0x2a, 0, 0, 0, 0, 3, 0, 0, 2, 0}, DataLen: n, SenseLen: 96, SenseAddr: g.alloc(128),
					Flags: mfi.FlagIEEE | mfi.FlagSGL64 | mfi.FlagWrite, SGL: []mfi.SGE{{Addr: g.alloc(uint64(n)), Len: n}}}
				copy(g.mem[x.SGL[0].Addr:], want)
				_, s = g.poll(x)
			} else {
				x, bufs := g.blocks(mfi.CmdLDWrite, 3, n)
				x.DataLen = 2
				copy(bufs[0], want)
				_, s = g.poll(x)
			}
			if got := d.data[3*size.logical:][:n]; s != mfi.StatusOK || !bytes.Equal(got, want) || d.data[3*size.logical-1] != 0 || d.data[5*size.logical] != 0 {
				t.Errorf("%+v, system drive %v: write: %v", size, system, s)
			}
			if system {
				p, s, _, _ = g.scsi(cmd, 0, n, 0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0)
			} else {
				x, bufs := g.blocks(mfi.CmdLDRead, 3, n)
				x.DataLen = 2
				_, s = g.poll(x)
				p = bufs[0]
			}
			if s != mfi.StatusOK || !bytes.Equal(p, want) {
				t.Errorf("%+v, system drive %v: read: %v", size, system, s)
			}
			if info := memory(g.mustDCMD(mfi.OpPDGetInfo, 512)); info.u64(0xe8) != 4<<20/512 || uint32(info.u16(0x194)) != size.logical {
				t.Errorf("%+v: PD_GET_INFO has %d blocks, of the user's %d bytes", size, info.u64(0xe8), info.u16(0x194))
			}
			if list := memory(g.mustDCMD(mfi.OpLDGetList, 1032)); !system && list.u64(16) != 4<<20/512 {
				t.Errorf("%+v: LD_GET_LIST has %d blocks", size, list.u64(16))
			}
		}
	}
}

// A frame moves as many bytes as the card takes, not as many blocks.
func TestLargestTransferOf4096ByteBlocks(t *testing.T) {
	dev, _ := blockDrive(4096, 4096)
	cfg := Config{Profile: SAS9260(), Drives: []DriveConfig{{Drive: dev}}}
	cfg.Profile.MaxRequestSectors = 256
	g := running(t, cfg, 1008)
	const vpd, blockLimits = 1, 0xb0
	p, s, _, _ := g.scsi(mfi.CmdLDSCSIIO, 0, 64, 0x12, vpd, blockLimits, 0, 64, 0)
	if n := binary.BigEndian.Uint32(p[8:]); s != mfi.StatusOK || n != 32 {
		t.Errorf("block limits: %v, %d blocks at most, want 32", s, n)
	}
	for blocks, want := range map[uint32]mfi.Status{32: mfi.StatusOK, 33: mfi.StatusInvalidParameter, 256: mfi.StatusInvalidParameter} {
		x, _ := g.blocks(mfi.CmdLDRead, 0, blocks*4096)
		x.DataLen = blocks
		if _, s := g.poll(x); s != want {
			t.Errorf("%d blocks of 4096 bytes: %v, want %v", blocks, s, want)
		}
	}
}

func TestBlockSizesRefused(t *testing.T) {
	for _, size := range []struct{ logical, physical uint32 }{{520, 0}, {1024, 1024}, {512, 8192}, {4096, 512}} {
		dev, _ := blockDrive(size.logical, size.physical)
		if _, err := New(Config{Drives: []DriveConfig{{Drive: dev}}}); err == nil {
			t.Errorf("%+v was taken", size)
		}
	}
}
